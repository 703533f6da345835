//! What a step with devices gets.

use crate::spec::{SpecEdits, SpecHook, SpecMount, SpecNode};

/// What a step with devices gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// Variables, as `NAME=value`.
    pub env: Vec<String>,
    /// Device nodes.
    pub nodes: Vec<DeviceNode>,
    /// Files and directories of the host.
    pub mounts: Vec<Mount>,
    /// Programs of the host that a runtime starts.
    pub hooks: Vec<Hook>,
    /// Groups that the process is in, too.
    pub groups: Vec<u32>,
}

/// What a device node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// A device of characters.
    Character,
    /// A device of blocks.
    Block,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNode {
    /// Where the step sees it.
    pub path: String,
    /// Where it is on the host; what is not said about it is looked up there.
    pub host_path: String,
    /// What it is.
    pub kind: Option<NodeKind>,
    /// Its number: major and minor.
    pub number: Option<(u32, u32)>,
    /// Permissions of the node.
    pub mode: Option<u32>,
    /// What the step may do with it, of `r`, `w` and `m`.
    pub access: String,
    /// Its owner; the step's user, if not said.
    pub uid: Option<u32>,
    /// Its group; the step's, if not said.
    pub gid: Option<u32>,
}

/// A file or directory of the host, or memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is on the host.
    pub host_path: String,
    /// Where the step sees it.
    pub path: String,
    /// It is memory and not `host_path`.
    pub is_memory: bool,
    /// Not writable.
    pub readonly: bool,
    /// Set-user-id bits are ignored.
    pub nosuid: bool,
    /// Device nodes are dead.
    pub nodev: bool,
    /// Nothing can be executed from it.
    pub noexec: bool,
}

/// A program of the host that a runtime starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// When, in the words of the OCI runtime specification: `createContainer` for example.
    pub name: String,
    /// The program.
    pub path: String,
    /// All arguments, with the program's name.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: Vec<String>,
    /// How many seconds it may take.
    pub timeout: Option<i64>,
}

/// The moments at which runtimes start hooks.
const HOOKS: &[&str] =
    &["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
/// Options of a mount that are always so, or make no difference for it.
const COMMON_OPTIONS: &[&str] =
    &["bind", "rbind", "rw", "private", "rprivate", "slave", "rslave", "suid", "dev", "exec"];

impl Edits {
    /// Adds what a specification says.
    pub(crate) fn add(&mut self, spec: &SpecEdits) -> Result<(), String> {
        if !spec.net_devices.is_empty() {
            return Err("it has network devices (netDevices), which steps cannot get".to_owned());
        }
        if spec.intel_rdt.is_some() {
            return Err("it has limits of caches (intelRdt), which steps cannot get".to_owned());
        }
        if let Some(variable) = spec.env.iter().find(|variable| !variable.contains('=')) {
            return Err(format!("variable {variable:?} has no value"));
        }
        self.env.extend(spec.env.iter().cloned());
        for node in &spec.device_nodes {
            self.nodes.push(node_of(node)?);
        }
        for mount in &spec.mounts {
            self.mounts.push(mount_of(mount)?);
        }
        for hook in &spec.hooks {
            self.hooks.push(hook_of(hook)?);
        }
        // The group of root is what a process has without asking.
        self.groups.extend(spec.additional_gids.iter().filter(|group| **group != 0));
        Ok(())
    }
}

fn node_of(node: &SpecNode) -> Result<DeviceNode, String> {
    let path = &node.path;
    if !path.starts_with("/dev/") || path.split('/').any(|part| part == "..") {
        return Err(format!("its node {path:?} is not below /dev"));
    }
    let kind = match node.r#type.as_deref() {
        None | Some("") => None,
        Some("c" | "u") => Some(NodeKind::Character),
        Some("b") => Some(NodeKind::Block),
        Some(other) => return Err(format!("its node {path} is of type {other:?}, not c or b")),
    };
    let access = node.permissions.clone().unwrap_or_default();
    if let Some(letter) = access.chars().find(|letter| !"rwm".contains(*letter)) {
        return Err(format!("its node {path} has a permission {letter:?}, which is none of rwm"));
    }
    Ok(DeviceNode {
        path: path.clone(),
        host_path: node.host_path.clone().filter(|it| !it.is_empty()).unwrap_or(path.clone()),
        kind,
        number: node.major.zip(node.minor).filter(|number| *number != (0, 0)),
        mode: node.file_mode.map(|mode| mode & 0o777),
        access: if access.is_empty() { "rwm".to_owned() } else { access },
        uid: node.uid,
        gid: node.gid,
    })
}

fn mount_of(mount: &SpecMount) -> Result<Mount, String> {
    let path = &mount.container_path;
    if !path.starts_with('/') || path == "/" {
        return Err(format!("its mount at {path:?} has no absolute path below /"));
    }
    let is_memory = match mount.r#type.as_deref() {
        None | Some("" | "bind" | "none") => false,
        Some("tmpfs") => true,
        Some(other) => return Err(format!("its mount at {path} is of type {other:?}")),
    };
    if !is_memory && !mount.host_path.starts_with('/') {
        return Err(format!("its mount at {path} is of {:?}, no absolute path", mount.host_path));
    }
    let known = |option: &&String| {
        COMMON_OPTIONS.contains(&option.as_str())
            || matches!(option.as_str(), "ro" | "nosuid" | "nodev" | "noexec")
    };
    if let Some(option) = mount.options.iter().find(|option| !known(option)) {
        return Err(format!("its mount at {path} has the option {option:?}, which is not known"));
    }
    let has = |option: &str| mount.options.iter().any(|given| given == option);
    Ok(Mount {
        host_path: mount.host_path.clone(),
        path: path.clone(),
        is_memory,
        readonly: has("ro"),
        nosuid: has("nosuid"),
        nodev: has("nodev"),
        noexec: has("noexec"),
    })
}

fn hook_of(hook: &SpecHook) -> Result<Hook, String> {
    if !HOOKS.contains(&hook.hook_name.as_str()) {
        return Err(format!("its hook {:?} is none of {}", hook.hook_name, HOOKS.join(", ")));
    }
    if !hook.path.starts_with('/') {
        return Err(format!("its hook {:?} is no absolute path", hook.path));
    }
    Ok(Hook {
        name: hook.hook_name.clone(),
        path: hook.path.clone(),
        args: hook.args.clone(),
        env: hook.env.clone(),
        timeout: hook.timeout,
    })
}
