//! The mounts of `RUN`: directories of the context, of stages and images, caches and memory.

use kiln_sdk::llb::{
    Action, Constraints, Exec, FileActions, Mkdir, Mount, MountKind, Owner, Sharing, State, caps,
};

use super::failure::Failure;
use super::node::{Node, use_path};
use super::paths;
use super::steps::{Scope, values};
use crate::instruction::{Mount as Wanted, MountKind as WantedKind, Run, Sharing as WantedSharing};
use crate::mistake::Mistake;

impl Scope<'_> {
    /// The mounts of a command, their variables known.
    pub(super) fn read_mounts(&mut self, node: &Node, run: &Run) -> Result<Vec<Wanted>, Failure> {
        let mut mounts = Vec::with_capacity(run.mounts.len());
        for flag in &run.mounts {
            let mount = flag.read(&mut |word| {
                self.word(node, word).map_err(|failure| Mistake::new(failure.error.to_string()))
            })?;
            mounts.push(mount);
        }
        Ok(mounts)
    }

    /// Gives a command its mounts.
    pub(super) fn mount(
        &self,
        node: &mut Node,
        mounts: &[Wanted],
        exec: &mut Exec,
    ) -> Result<(), Failure> {
        for (index, mount) in mounts.iter().enumerate() {
            match mount.kind {
                WantedKind::Secret => exec.secrets.push(self.secret(node, mount)?),
                WantedKind::Ssh => exec.ssh.push(self.agent(node, mount)?),
                WantedKind::Bind | WantedKind::Cache | WantedKind::Tmpfs => {
                    let mount = self.directory(node, index, mount)?;
                    exec.mounts.push(mount);
                }
            }
        }
        Ok(())
    }

    fn directory(&self, node: &mut Node, index: usize, wanted: &Wanted) -> Result<Mount, Failure> {
        // A cache without a source starts empty; its source is a node of its own all the same.
        let from_node = !wanted.from.is_empty() || wanted.kind == WantedKind::Cache;
        let taken = self.sources.get(index).filter(|_| from_node);
        if taken.is_some_and(|taken| !taken.lowered) {
            let from = crate::quoting::quote(&wanted.from);
            let target = crate::quoting::quote(&wanted.target);
            return Err(Failure::new(format!(
                "cannot mount from stage {from} to {target}, stage needs to be defined before current command"
            )));
        }
        let mut state = taken.map_or_else(|| self.context.clone(), |taken| taken.state.clone());
        let mut no_output = false;
        let kind = match wanted.kind {
            WantedKind::Tmpfs => {
                state = State::scratch();
                MountKind::Tmpfs { size_bytes: wanted.size_bytes }
            }
            WantedKind::Cache => self.cache(wanted),
            _ => {
                no_output = !wanted.readonly && self.capable(caps::EXEC_MOUNT_BIND_NO_OUTPUT);
                MountKind::Bind
            }
        };
        let target = target(node, &wanted.target)?;
        let source = paths::join(&["/", &wanted.source]);
        let mut source_path = String::new();
        if source != "/" {
            source_path.clone_from(&source);
        } else if wanted.uid.is_some() || wanted.gid.is_some() || wanted.mode.is_some() {
            state = with_owner(&state, wanted);
            source_path = "/cache".into();
        }
        let used = taken.map_or(self.context_paths, |taken| &taken.paths);
        use_path(used, &source);
        let mount = Mount::bind(target, &state)
            .with_readonly(wanted.readonly)
            .with_no_output(no_output)
            .with_kind(kind)
            .with_source_path(source_path);
        Ok(mount)
    }

    fn cache(&self, wanted: &Wanted) -> MountKind {
        let id = match wanted.id.as_str() {
            "" => paths::clean(&wanted.target),
            id => id.to_owned(),
        };
        let sharing = match wanted.sharing {
            Some(WantedSharing::Private) => Sharing::Private,
            Some(WantedSharing::Locked) => Sharing::Locked,
            Some(WantedSharing::Shared) | None => Sharing::Shared,
        };
        MountKind::Cache { id: format!("{}/{id}", self.request.settings.cache_namespace), sharing }
    }
}

/// Where a mount is seen; relative paths start at the working directory.
fn target(node: &Node, target: &str) -> Result<String, Failure> {
    let target = if paths::clean(target).starts_with('/') {
        target.to_owned()
    } else {
        paths::join(&["/", &values(&node.state)?.dir, target])
    };
    if target == "/" {
        return Err(Failure::new(format!(
            "invalid mount target {}",
            crate::quoting::quote(&target)
        )));
    }
    Ok(target)
}

/// A directory in the source that belongs to whom the mount should belong.
fn with_owner(state: &State, wanted: &Wanted) -> State {
    let options = Mkdir::default()
        .with_mode(wanted.mode.unwrap_or(0o755))
        .with_owner(Some(Owner::ids(wanted.uid.unwrap_or(0), wanted.gid.unwrap_or(0))));
    state.file(
        FileActions::from(vec![Action::mkdir("/cache", options)])
            .with_constraints(Constraints::named("[internal] setting cache mount permissions")),
    )
}
