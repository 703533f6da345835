//! The mounts of `RUN`: what a value of `--mount` means once its variables are known.

/// A mount of a command, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub kind: MountKind,
    /// `from`: a stage, context or image; empty if not given. Never expanded.
    pub from: String,
    /// `source`; empty if not given.
    pub source: String,
    /// `target`; empty if not given.
    pub target: String,
    /// Whether writing is refused; the kind decides if nothing was said.
    pub readonly: bool,
    /// `size` of a tmpfs in bytes; 0 if not given.
    pub size_bytes: i64,
    /// `id` of a cache, secret or agent; empty if not given.
    pub id: String,
    /// `sharing` of a cache; `None` if not given.
    pub sharing: Option<Sharing>,
    /// `required` of a secret or agent.
    pub required: bool,
    /// `env`: the variable that carries a secret; an empty name means the default one.
    pub env: Option<String>,
    /// `mode` of a secret, agent or cache, at most 32 bits.
    pub mode: Option<u32>,
    /// `uid` of a secret, agent or cache.
    pub uid: Option<u32>,
    /// `gid` of a secret, agent or cache.
    pub gid: Option<u32>,
}

/// What is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MountKind {
    /// Files of the context, a stage or an image.
    #[default]
    Bind,
    /// A directory that outlives the build.
    Cache,
    /// Memory.
    Tmpfs,
    /// A secret of the client.
    Secret,
    /// An agent of the client.
    Ssh,
}

/// Who may use a cache at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Everybody.
    Shared,
    /// One each.
    Private,
    /// One after the other.
    Locked,
}
