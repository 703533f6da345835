//! Devices of the host that a process was given: what their specifications say, for the executor.

use std::path::PathBuf;

use kiln_cdi::{Edits, NodeKind, Registry};
use kiln_engine::{ErrorKind, OpError};
use kiln_executor::{DeviceNode, Hook, Mount, MountSource, Process};
use kiln_graph::Exec;

use crate::containers::Inner;
use crate::error::blocking;

/// The permissions of a device node whose specification says none, as runtimes set them.
const DEFAULT_MODE: u32 = 0o666;

/// What a process gets with its devices. Specifications are read anew, as they are now.
pub(crate) async fn edits(machine: &Inner, exec: &Exec) -> Result<Edits, OpError> {
    if exec.devices.is_empty() {
        return Ok(Edits::default());
    }
    let (registry, requests) = (machine.devices.clone(), exec.devices.clone());
    blocking(move || {
        let devices = registry.as_ref().map(Registry::read).unwrap_or_default();
        let edits = devices.edits(&requests);
        edits.map_err(|error| OpError::new(ErrorKind::Failed, error.to_string()))
    })
    .await
}

/// The mounts among them.
pub(crate) fn mounts(edits: &Edits) -> impl Iterator<Item = Mount> {
    edits.mounts.iter().map(|mount| {
        let source = match mount.is_memory {
            true => MountSource::Tmpfs { size: None, mode: 0o1777 },
            false => MountSource::Bind(PathBuf::from(&mount.host_path)),
        };
        Mount {
            readonly: mount.readonly,
            nosuid: mount.nosuid,
            nodev: mount.nodev,
            noexec: mount.noexec,
            ..Mount::new(&mount.path, source)
        }
    })
}

/// Everything else, for a process.
pub(crate) fn apply(edits: Edits, process: &mut Process) {
    process.env.extend(edits.env);
    process.groups.extend(edits.groups);
    process.devices.extend(edits.nodes.into_iter().map(|node| DeviceNode {
        path: node.path.into(),
        host_path: node.host_path.into(),
        block: node.kind.map(|kind| kind == NodeKind::Block),
        number: node.number,
        mode: node.mode.unwrap_or(DEFAULT_MODE),
        access: node.access,
        uid: node.uid,
        gid: node.gid,
    }));
    process.hooks.extend(edits.hooks.into_iter().map(|hook| Hook {
        name: hook.name,
        path: hook.path,
        args: hook.args,
        env: hook.env,
        timeout: hook.timeout,
    }));
}
