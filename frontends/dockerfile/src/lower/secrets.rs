//! Secrets and agents of the client that a command sees.

use kiln_sdk::llb::{Secret, Ssh};

use super::failure::Failure;
use super::node::Node;
use super::outline::Needed;
use super::paths;
use super::steps::Scope;
use crate::instruction::{Mount, MountKind};

impl Scope<'_> {
    /// A secret, as a file or a variable.
    pub(super) fn secret(&self, node: &mut Node, mount: &Mount) -> Result<Secret, Failure> {
        let mut id = if mount.source.is_empty() { &mount.id } else { &mount.source };
        let last = paths::base(&mount.target).to_owned();
        if id.is_empty() {
            if mount.target.is_empty() {
                return Err(Failure::new("one of source, target required"));
            }
            id = &last;
        }
        let target = match (mount.target.as_str(), &mount.env) {
            ("", None) => Some(format!("/run/secrets/{}", paths::base(id))),
            ("", Some(_)) => None,
            (target, _) => Some(target.to_owned()),
        };
        let needed = Needed { required: mount.required, lines: self.lines() };
        node.outline.need_secret(id, needed);
        Ok(Secret::env(id.clone(), "")
            .with_target(target)
            .with_env(mount.env.clone())
            .with_uid(mount.uid.unwrap_or(0))
            .with_gid(mount.gid.unwrap_or(0))
            .with_mode(mount.mode.unwrap_or(0o400))
            .with_optional(!mount.required))
    }

    /// An agent, as a socket.
    pub(super) fn agent(&self, node: &mut Node, mount: &Mount) -> Result<Ssh, Failure> {
        if !mount.source.is_empty() {
            return Err(Failure::new("ssh does not support source"));
        }
        let id = if mount.id.is_empty() { "default" } else { &mount.id };
        node.outline.need_agent(id, Needed { required: mount.required, lines: self.lines() });
        Ok(Ssh::default()
            .with_id(mount.id.clone())
            .with_target(mount.target.clone())
            .with_uid(mount.uid.unwrap_or(0))
            .with_gid(mount.gid.unwrap_or(0))
            .with_mode(mount.mode.unwrap_or(0o600))
            .with_optional(!mount.required))
    }
}

/// The variables of a command that hold secrets.
pub(super) fn secret_names(mounts: &[Mount]) -> Vec<String> {
    let secrets = mounts.iter().filter(|mount| mount.kind == MountKind::Secret);
    secrets.filter_map(|mount| mount.env.clone()).collect()
}
