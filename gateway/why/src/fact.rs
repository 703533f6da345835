//! A fact: one thing that counts for the key of a step, in words.

use serde::{Deserialize, Serialize};

/// One thing that counts for the key of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// What kind of thing.
    pub what: What,
    /// Which one, where there are several: the name of a variable, the place of a mount.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What counts. Two facts with the same kind and name are equal if this is.
    pub value: String,
    /// What people are shown, if that is something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
}

/// The kinds of facts, and of whatever else may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The command of a process.
    Command,
    /// A variable of its environment.
    Variable,
    /// A variable that the client gave a value as a build argument.
    BuildArgument,
    /// Where a process runs.
    WorkingDirectory,
    /// As whom.
    User,
    /// A mount.
    Mount,
    /// A secret that is mounted or in the environment.
    Secret,
    /// An SSH agent that is mounted.
    Ssh,
    /// How a process reaches the network.
    Network,
    /// Its confinement.
    Security,
    /// A limit of the process.
    Limit,
    /// A host that it knows by name.
    Host,
    /// The platform it runs on.
    Platform,
    /// Another setting of a process.
    Setting,
    /// What is copied, and where to.
    Copy,
    /// The owner of what is copied or made.
    Owner,
    /// The permissions of what is copied or made.
    Mode,
    /// The time of what is copied or made.
    Time,
    /// Patterns of what is copied.
    Patterns,
    /// A file, directory or link that is made, or what is removed.
    Path,
    /// The text of a file that is made.
    Text,
    /// An image.
    Image,
    /// A file by URL.
    Download,
    /// A commit of a git repository.
    Commit,
    /// Which part of an input is read.
    Reads,
    /// Worker filters that change what is done.
    Filter,
    /// The order of things that are the same otherwise.
    Order,
    /// The operation as a whole.
    Operation,
}

/// The longest value that is recorded as it is, in bytes.
const LONGEST: usize = 2 << 10;
/// How much of a longer value is recorded.
const HEAD: usize = 512;

impl Fact {
    /// A fact of which there is one in a step.
    pub(crate) fn new(what: What, value: impl Into<String>) -> Self {
        Self::named(what, "", value)
    }

    /// A fact of which there may be several.
    pub(crate) fn named(what: What, name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { what, name: name.into(), value: bounded(value.into()), shown: None }
    }

    /// The same, shown in another way.
    #[must_use]
    pub(crate) fn shown(self, shown: impl Into<String>) -> Self {
        Self { shown: Some(bounded(shown.into())), ..self }
    }

    /// What people are shown.
    pub fn text(&self) -> &str {
        self.shown.as_deref().unwrap_or(&self.value)
    }
}

/// A long value as its beginning and its digest, so that records stay small and still differ.
fn bounded(value: String) -> String {
    let value = kiln_provenance::without_credentials(value);
    if value.len() <= LONGEST {
        return value;
    }
    let mut end = HEAD;
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    let digest = kiln_oci::Digest::sha256(&value);
    format!("{}… ({} bytes, {digest})", &value[..end], value.len())
}
