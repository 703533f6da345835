//! The mounts of `RUN`: what a value of `--mount` means once its variables are known.
//!
//! A value is checked twice: what needs no variables as soon as it is met, all of it when the
//! command is lowered. Both times the first mistake counts, in the order of the fields.

use kiln_sdk::frontend;

use crate::mistake::Mistake;
use crate::quoting::quote;
use crate::suggest;
use crate::values::parse_uint;

/// A value of `--mount` as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountFlag {
    /// The value.
    pub text: String,
    /// The value of its `from`, which holds no variables; empty if it has none.
    pub from: String,
}

/// A mount of a command, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

/// Every key, for guesses.
const KEYS: &[&str] = &[
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

impl MountFlag {
    /// Checks what needs no variables: the commas and quotes, and that `from` has none.
    pub(super) fn check(text: String) -> Result<Self, String> {
        let mut from = String::new();
        for field in split(&text)? {
            let Some((key, value)) = field.split_once('=') else { continue };
            if !key.eq_ignore_ascii_case("from") {
                continue;
            }
            if value.find('$').is_some_and(|at| at + 1 != value.len()) {
                return Err(
                    "'from' doesn't support variable expansion, define alias stage instead".into(),
                );
            }
            value.clone_into(&mut from);
        }
        Ok(Self { text, from })
    }

    /// Reads the mount, expanding the value of every field with `expand`.
    ///
    /// # Errors
    ///
    /// The reference's text for the first mistake: a key that is unknown or does not fit the type,
    /// a value that does not parse, or fields that exclude one another. Errors of `expand` as they are.
    pub fn read(
        &self,
        expand: &mut dyn FnMut(&str) -> Result<String, Mistake>,
    ) -> Result<Mount, Mistake> {
        let mut draft = Draft::default();
        for field in split(&self.text).map_err(Mistake::new)? {
            match field.split_once('=') {
                None => draft.word(&field).map_err(Mistake::new)?,
                Some((key, value)) => {
                    let value = expand(value)?;
                    draft.pair(&field, &key.to_lowercase(), value).map_err(Mistake::new)?;
                }
            }
        }
        draft.finish().map_err(Mistake::new)
    }
}

fn split(text: &str) -> Result<Vec<String>, String> {
    frontend::fields(text).map_err(|error| format!("failed to parse csv mounts: {error}"))
}

/// A mount of which not all fields were read.
#[derive(Default)]
struct Draft {
    mount: Mount,
    /// What was said of writing.
    readonly: Option<bool>,
}

impl Draft {
    /// A field without a value.
    fn word(&mut self, field: &str) -> Result<(), String> {
        match field.to_lowercase().as_str() {
            "readonly" | "ro" => self.readonly = Some(true),
            "readwrite" | "rw" => self.readonly = Some(false),
            key @ "required" => {
                self.only(key, &[MountKind::Secret, MountKind::Ssh])?;
                self.mount.required = true;
            }
            _ => return Err(format!("invalid field '{field}' must be a key=value pair")),
        }
        Ok(())
    }

    /// A field with a value.
    fn pair(&mut self, field: &str, key: &str, value: String) -> Result<(), String> {
        let mount = &mut self.mount;
        match key {
            "type" => mount.kind = MountKind::parse(&value)?,
            "from" => mount.from = value,
            "source" | "src" => mount.source = value,
            "target" | "dst" | "destination" => mount.target = value,
            "readonly" | "ro" => self.readonly = Some(boolean(key, &value)?),
            "readwrite" | "rw" => self.readonly = Some(!boolean(key, &value)?),
            "required" => {
                self.only(key, &[MountKind::Secret, MountKind::Ssh])?;
                self.mount.required = boolean(key, &value)?;
            }
            "size" => {
                self.only(key, &[MountKind::Tmpfs])?;
                self.mount.size_bytes =
                    frontend::size_bytes(&value).map_err(|_| invalid(key, &value))?;
            }
            "id" => mount.id = value,
            "sharing" => mount.sharing = Some(Sharing::parse(&value)?),
            "mode" => mount.mode = Some(number(key, &value, 8)?),
            "uid" => mount.uid = Some(number(key, &value, 10)?),
            "gid" => mount.gid = Some(number(key, &value, 10)?),
            "env" => mount.env = Some(value),
            _ => {
                let message = format!("unexpected key '{key}' in '{field}'");
                return Err(suggest::hint(message, key, KEYS.iter().copied(), true));
            }
        }
        Ok(())
    }

    /// A key that only some kinds know; the type has to stand before it.
    fn only(&self, key: &str, kinds: &[MountKind]) -> Result<(), String> {
        let kind = self.mount.kind;
        if kinds.contains(&kind) {
            return Ok(());
        }
        Err(format!("unexpected key '{key}' for mount type '{}'", kind.name()))
    }

    /// The mount, if its fields go together.
    fn finish(self) -> Result<Mount, String> {
        let Self { mut mount, readonly } = self;
        let kind = mount.kind;
        mount.readonly = readonly.unwrap_or(!matches!(kind, MountKind::Cache | MountKind::Tmpfs));
        if matches!(kind, MountKind::Bind | MountKind::Tmpfs) {
            let owner = [("mode", mount.mode), ("uid", mount.uid), ("gid", mount.gid)];
            if let Some((key, _)) = owner.iter().find(|(_, value)| value.is_some()) {
                return Err(format!("{key} not allowed for {} type mounts", quote(kind.name())));
            }
        }
        if kind == MountKind::Secret {
            mount.check_secret()?;
        }
        if mount.sharing.is_some() && kind != MountKind::Cache {
            return Err(format!("invalid cache sharing set for {} mount", kind.name()));
        }
        Ok(mount)
    }
}

impl Mount {
    fn check_secret(&self) -> Result<(), String> {
        let mistake = if !self.from.is_empty() {
            "secret mount should not have a from"
        } else if self.sharing.is_some() {
            "secret mount should not define sharing"
        } else if self.source.is_empty() && self.target.is_empty() && self.id.is_empty() {
            "invalid secret mount. one of source, target required"
        } else if !self.source.is_empty() && !self.id.is_empty() {
            "both source and id can't be set"
        } else {
            return Ok(());
        };
        Err(mistake.into())
    }
}

impl MountKind {
    const ALL: [Self; 5] = [Self::Bind, Self::Cache, Self::Tmpfs, Self::Secret, Self::Ssh];

    /// The kind's name in a Dockerfile.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }

    fn parse(name: &str) -> Result<Self, String> {
        let lower = name.to_lowercase();
        Self::ALL.into_iter().find(|kind| kind.name() == lower).ok_or_else(|| {
            let message = format!("unsupported mount type {}", quote(name));
            suggest::hint(message, name, Self::ALL.map(Self::name), true)
        })
    }
}

impl Sharing {
    const ALL: [Self; 3] = [Self::Shared, Self::Private, Self::Locked];

    /// The mode's name in a Dockerfile.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Private => "private",
            Self::Locked => "locked",
        }
    }

    fn parse(name: &str) -> Result<Self, String> {
        let lower = name.to_lowercase();
        Self::ALL.into_iter().find(|mode| mode.name() == lower).ok_or_else(|| {
            let message = format!("unsupported sharing value {}", quote(name));
            suggest::hint(message, name, Self::ALL.map(Self::name), true)
        })
    }
}

fn boolean(key: &str, value: &str) -> Result<bool, String> {
    frontend::boolean(value).ok_or_else(|| invalid(key, value))
}

fn invalid(key: &str, value: &str) -> String {
    format!("invalid value for {key}: {value}")
}

fn number(key: &str, value: &str, base: u32) -> Result<u32, String> {
    let value_of = parse_uint(value, base, 32).ok().and_then(|number| u32::try_from(number).ok());
    value_of.ok_or_else(|| format!("invalid value {value} for {key}"))
}
