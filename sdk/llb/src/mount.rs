//! What a command sees besides its root: mounts, secrets, SSH agents, devices.

use crate::{FileMode, State};

/// A directory mounted for a command.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Mount {
    /// Where it is seen.
    pub target: String,
    /// What is seen there.
    pub source: State,
    /// The path inside the source; all of it if empty.
    pub source_path: String,
    /// The command may not write.
    pub readonly: bool,
    /// What the command writes is thrown away.
    pub no_output: bool,
    /// Whether the command's cache key is made of the contents.
    pub content_cache: ContentCache,
    /// What kind of mount it is.
    pub kind: MountKind,
}

crate::setters!(Mount {
    with_target(target: impl Into<String>),
    with_source(source: State),
    with_source_path(source_path: impl Into<String>),
    with_readonly(readonly: bool),
    with_no_output(no_output: bool),
    with_content_cache(content_cache: ContentCache),
    with_kind(kind: MountKind),
});

/// Kinds of mounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MountKind {
    /// The source itself.
    #[default]
    Bind,
    /// A directory that outlives the build.
    Cache {
        /// Equal ids are one directory.
        id: String,
        /// Who may use it at once.
        sharing: Sharing,
    },
    /// A directory in memory.
    Tmpfs {
        /// The most it may hold; no limit if zero.
        size_bytes: i64,
    },
}

/// Who may use a cache directory at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sharing {
    /// Everybody.
    #[default]
    Shared,
    /// One; the next gets another directory.
    Private,
    /// One; the next waits.
    Locked,
}

/// Whether a cache key is made of a mount's contents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ContentCache {
    /// If the mount cannot be written back.
    #[default]
    Default,
    /// Always; an error if that is unsafe.
    On,
    /// Never.
    Off,
}

impl Mount {
    /// A state, writable; what the command writes is an output of the run.
    pub fn bind(target: impl Into<String>, source: &State) -> Self {
        Self {
            target: target.into(),
            source: source.clone(),
            source_path: String::new(),
            readonly: false,
            no_output: false,
            content_cache: ContentCache::Default,
            kind: MountKind::Bind,
        }
    }

    /// An empty directory that outlives the build; its id is its target.
    pub fn cache(target: impl Into<String>) -> Self {
        let target = target.into();
        let kind = MountKind::Cache { id: target.clone(), sharing: Sharing::Shared };
        Self { kind, ..Self::bind(target, &State::scratch()) }
    }

    /// A directory in memory, of any size.
    pub fn tmpfs(target: impl Into<String>) -> Self {
        let kind = MountKind::Tmpfs { size_bytes: 0 };
        Self { kind, ..Self::bind(target, &State::scratch()) }
    }

    /// The same mount, not writable.
    #[must_use]
    pub fn readonly(self) -> Self {
        Self { readonly: true, ..self }
    }

    /// The same mount of a path inside the source.
    #[must_use]
    pub fn path(self, source_path: impl Into<String>) -> Self {
        Self { source_path: source_path.into(), ..self }
    }

    /// The same cache mount under another id.
    #[must_use]
    pub fn id(mut self, cache_id: impl Into<String>) -> Self {
        if let MountKind::Cache { id, .. } = &mut self.kind {
            *id = cache_id.into();
        }
        self
    }

    /// The same cache mount, shared in this way.
    #[must_use]
    pub fn shared(mut self, mode: Sharing) -> Self {
        if let MountKind::Cache { sharing, .. } = &mut self.kind {
            *sharing = mode;
        }
        self
    }
}

/// A secret of the client's, as a file, an environment variable, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Secret {
    /// The name the client knows it by.
    pub id: String,
    /// The path of the file, if there is one.
    pub target: Option<String>,
    /// The name of the variable, if there is one.
    pub env: Option<String>,
    /// Owner of the file.
    pub uid: u32,
    /// Group of the file.
    pub gid: u32,
    /// Permissions of the file.
    pub mode: FileMode,
    /// The command runs without it if the client has none.
    pub optional: bool,
}

crate::setters!(Secret {
    with_id(id: impl Into<String>),
    with_target(target: impl Into<Option<String>>),
    with_env(env: impl Into<Option<String>>),
    with_uid(uid: u32),
    with_gid(gid: u32),
    with_mode(mode: impl Into<FileMode>),
    with_optional(optional: bool),
});

impl Secret {
    /// A file that only root may read.
    pub fn file(id: impl Into<String>, target: impl Into<String>) -> Self {
        Self { target: Some(target.into()), env: None, ..Self::env(id, "") }
    }

    /// An environment variable.
    pub fn env(id: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            target: None,
            env: Some(name.into()),
            uid: 0,
            gid: 0,
            mode: FileMode::new(0o400),
            optional: false,
        }
    }
}

/// An SSH agent of the client's, as a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ssh {
    /// The name the client knows it by; `default` if empty.
    pub id: String,
    /// The path of the socket; `/run/buildkit/ssh_agent.<n>` if empty.
    pub target: String,
    /// Owner of the socket.
    pub uid: u32,
    /// Group of the socket.
    pub gid: u32,
    /// Permissions of the socket.
    pub mode: FileMode,
    /// The command runs without it if the client has none.
    pub optional: bool,
}

crate::setters!(Ssh {
    with_id(id: impl Into<String>),
    with_target(target: impl Into<String>),
    with_uid(uid: u32),
    with_gid(gid: u32),
    with_mode(mode: impl Into<FileMode>),
    with_optional(optional: bool),
});

impl Default for Ssh {
    fn default() -> Self {
        Self {
            id: String::new(),
            target: String::new(),
            uid: 0,
            gid: 0,
            mode: FileMode::new(0o600),
            optional: false,
        }
    }
}

/// A device of the host, by its CDI name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Device {
    /// Such as `vendor.com/gpu=0`.
    pub name: String,
    /// The command runs without it if the host has none.
    pub optional: bool,
}

crate::setters!(Device {
    with_name(name: impl Into<String>),
    with_optional(optional: bool),
});

/// Proxies for a command. They are not part of its cache key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proxy {
    /// `HTTP_PROXY`
    pub http: String,
    /// `HTTPS_PROXY`
    pub https: String,
    /// `FTP_PROXY`
    pub ftp: String,
    /// `NO_PROXY`
    pub no_proxy: String,
    /// `ALL_PROXY`
    pub all: String,
}

crate::setters!(Proxy {
    with_http(http: impl Into<String>),
    with_https(https: impl Into<String>),
    with_ftp(ftp: impl Into<String>),
    with_no_proxy(no_proxy: impl Into<String>),
    with_all(all: impl Into<String>),
});
