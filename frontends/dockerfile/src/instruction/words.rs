//! The instructions that are little more than their words: `FROM`, `ARG`, `ENV`, `LABEL`, `HEALTHCHECK`.

use std::time::Duration;

use crate::lines::Lines;

/// `FROM`: where a stage starts from.
#[derive(Clone, Debug)]
pub struct From {
    /// The keyword as it was written (`FROM`, `from`).
    pub keyword: String,
    /// The base: an image, an earlier stage, a named context or `scratch`, before expansion.
    pub base: String,
    /// The stage's name in lower case; `None` if it has none.
    pub name: Option<String>,
    /// The value of `--platform`, before expansion; empty if it was not given.
    pub platform: String,
    /// The text of the instruction, continuations joined, surrounding whitespace removed.
    pub code: String,
    /// Where it stands.
    pub lines: Lines,
    /// The comment lines directly above it.
    pub comments: Vec<String>,
    /// What the comments say of the stage: the line that begins with its name, without the name.
    pub description: String,
}

/// A key and a value of `ENV` or `LABEL`, before expansion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// The old form `KEY VALUE`, without an equals sign.
    pub legacy: bool,
}

/// One variable of `ARG`, before expansion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgDefinition {
    /// The variable's name.
    pub key: String,
    /// Its default; `None` without an equals sign.
    pub value: Option<String>,
    /// What the comments say of it: the line that begins with its name, without the name.
    pub description: String,
}

/// `HEALTHCHECK`: how to tell that a container is well. A zero means that the base's value holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// `["NONE"]`, or `CMD` or `CMD-SHELL` and the command.
    pub test: Vec<String>,
    /// Time between two checks.
    pub interval: Duration,
    /// Time a check may take.
    pub timeout: Duration,
    /// Time a container has to start before failures count.
    pub start_period: Duration,
    /// Time between two checks while it starts.
    pub start_interval: Duration,
    /// How many failures in a row make a container unwell.
    pub retries: u32,
}
