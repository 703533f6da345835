//! `WORKDIR` and `USER`: where commands run and as whom.

use kiln_sdk::llb::{Action, Constraints, FileActions, Mkdir, Owner};

use super::failure::Failure;
use super::history::Leaves;
use super::node::Node;
use super::steps::Scope;
use super::{names, paths};
use crate::lint::Violation;

impl Scope<'_> {
    pub(super) fn user(&mut self, node: &mut Node, user: &str) -> Result<(), Failure> {
        let user = self.word(node, user)?;
        node.state = node.state.with_user(&user);
        node.image.remember(format!("USER {user}"), Leaves::Config, self.time);
        node.image.config.user = user;
        Ok(())
    }

    pub(super) fn workdir(&mut self, node: &mut Node, path: &str) -> Result<(), Failure> {
        let path = self.word(node, path)?;
        let os = node.os().to_owned();
        // A directory of the base may change, so only the first one of the file must be absolute.
        if !node.workdir_set && !paths::is_absolute(&path, &os) {
            self.report(&Violation::WorkdirRelativePath { path: path.clone() });
        }
        node.workdir_set = true;
        let directory = paths::workdir(&node.image.config.working_dir, &path, &os)
            .map_err(|error| format!("normalizing workdir: {error}"))?;
        let slashes = paths::to_slash(&directory, &os);
        node.image.config.working_dir = directory;
        node.state = node.state.with_dir(&slashes);
        let mut leaves = Leaves::Config;
        if slashes != "/" {
            self.make_directory(node, &slashes);
            leaves = Leaves::Layer;
        }
        node.image.remember(format!("WORKDIR {slashes}"), leaves, self.time);
        Ok(())
    }

    fn make_directory(&mut self, node: &mut Node, path: &str) {
        let user = &node.image.config.user;
        let options = Mkdir::default()
            .with_mode(0o755)
            .with_parents(true)
            .with_owner((!user.is_empty()).then(|| Owner::parse(user)))
            .with_created(self.epoch.map(|seconds| seconds.wrapping_mul(1_000_000_000)));
        let text = names::shown(&self.step.instruction.code, self.expander, &node.variables());
        let platform = self.shown_platform(node);
        let name = names::step(node, &text, platform.as_ref());
        node.state = node.state.file(
            FileActions::from(vec![Action::mkdir(path, options)]).with_constraints(
                Constraints::default()
                    .with_platform(Some(node.runs_on()))
                    .with_custom_name(Some(name))
                    .with_locations(self.location()),
            ),
        );
    }
}
