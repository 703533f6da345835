//! One stage: what it takes from its base, its instructions one after the other, and what is noted
//! when it is done.

use super::failure::Failure;
use super::image::default_path;
use super::node::{NodeId, use_path};
use super::steps::values;
use super::{Lowering, paths};
use crate::dockerignore::Dockerignore;
use crate::words::Environment as _;

/// Variables that say what is scanned; they are nobody's environment.
pub(crate) const SCAN_CONTEXT: &str = "BUILDKIT_SBOM_SCAN_CONTEXT";
/// See [`SCAN_CONTEXT`].
pub(crate) const SCAN_STAGE: &str = "BUILDKIT_SBOM_SCAN_STAGE";

impl Lowering<'_> {
    /// Lowers every stage that is needed.
    ///
    /// # Errors
    ///
    /// The first instruction that cannot be, with its place.
    pub(crate) fn lower_stages(&mut self, ignored: Option<&Dockerignore>) -> Result<(), Failure> {
        let all = self.request.all_stages;
        for id in self.graph.ids() {
            let done = self.graph.node(id).progress.lowered;
            if all || (self.reachable.contains(&id) && !done) {
                self.lower_stage(id, ignored)?;
            }
        }
        // Everything of the target is used.
        use_path(&self.graph.node(self.target).used_paths, "/");
        Ok(())
    }

    fn lower_stage(&mut self, id: NodeId, ignored: Option<&Dockerignore>) -> Result<(), Failure> {
        self.inherit(id);
        let lines = {
            let node = self.graph.node_mut(id);
            node.progress.lowered = true;
            node.platform.get_or_insert_default();
            node.origin.lines
        };
        self.begin(id).map_err(|failure| failure.at(lines))?;
        for step in self.graph.node(id).steps.clone() {
            let lines = step.instruction.lines;
            self.lower_step(id, &step, ignored).map_err(|failure| failure.at(lines))?;
        }
        self.note_scans(id);
        Ok(())
    }

    /// Makes the state what the config of the base says.
    fn begin(&mut self, id: NodeId) -> Result<(), Failure> {
        let settings = self.request.settings;
        let node = self.graph.node_mut(id);
        let os = node.os().to_owned();
        // Windows finds its commands by itself.
        if !node.image.config.env.contains("PATH") && os != "windows" {
            node.image.config.env.set("PATH", default_path(&os));
        }
        let mut state = node.state.clone();
        if !settings.hostname.is_empty() {
            state = state.with_hostname(&settings.hostname);
        }
        let config = &mut node.image.config;
        if !config.working_dir.is_empty() {
            let directory = paths::workdir(&config.working_dir, &config.working_dir, &os)
                .map_err(|error| format!("normalizing workdir: {error}"))?;
            state = state.with_dir(paths::to_slash(&directory, &os));
            config.working_dir = directory;
        }
        if !config.user.is_empty() {
            state = state.with_user(&config.user);
        }
        node.state = state.with_network(settings.network);
        // What commands inherit must be known.
        values(&node.state).map(drop)
    }

    /// Notes what of this stage is scanned: the last word of its variables, else the global one.
    fn note_scans(&mut self, id: NodeId) {
        for name in [SCAN_CONTEXT, SCAN_STAGE] {
            let node = self.graph.node(id);
            let global = self.globals.variables.get(name);
            let own = node.scans.get(name).map(String::as_str);
            if !own.or(global).is_some_and(|value| enabled(&node.label, value)) {
                continue;
            }
            let node = self.graph.node_mut(id);
            if name == SCAN_CONTEXT {
                node.scan_context = true;
            } else {
                node.scan_stage = true;
            }
        }
    }
}

/// Whether a value says yes, or names the stage.
fn enabled(stage: &str, value: &str) -> bool {
    match kiln_sdk::frontend::boolean(value) {
        Some(enabled) => enabled,
        None => value.split(',').any(|name| name == stage),
    }
}
