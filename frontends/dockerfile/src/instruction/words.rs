//! The instructions that are little more than their words: `FROM`, `ARG`, `ENV`, `LABEL`, `HEALTHCHECK`.

use std::time::Duration;

use super::read::Request;
use crate::ast::Arguments;
use crate::flags::{Flags, Takes};
use crate::lines::Lines;
use crate::quoting::quote;
use crate::values::{parse_duration, parse_int};

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

impl From {
    /// Reads a `FROM`: a base, perhaps `AS` and a name.
    pub(super) fn read(request: &Request<'_, '_>) -> Result<Self, String> {
        let words = request.node.arguments.strings();
        let (base, name) = match words[..] {
            [base] => (base, None),
            [base, keyword, name] if keyword.eq_ignore_ascii_case("as") => {
                (base, Some(stage_name(name)?))
            }
            _ => return Err("FROM requires either one or three arguments".into()),
        };
        let mut flags = Flags::read(&request.node.flags, &[("platform", Takes::Text)])?;
        Ok(Self {
            keyword: request.node.name.to_string(),
            base: base.to_owned(),
            description: name.as_deref().map(|name| request.description(name)).unwrap_or_default(),
            name,
            platform: flags.text("platform"),
            code: request.code(),
            lines: request.node.lines,
            comments: request.comments(),
        })
    }
}

/// A stage's name in lower case: a letter, then letters, digits, `-`, `_` and `.`.
fn stage_name(text: &str) -> Result<String, String> {
    let name = text.to_lowercase();
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    if name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(rest) {
        return Ok(name);
    }
    Err(format!(
        "invalid name for build stage: {}, name can't start with a number or contain symbols",
        quote(text)
    ))
}

impl Pair {
    /// Reads the pairs of an `ENV` or `LABEL`.
    pub(super) fn read(request: &Request<'_, '_>, instruction: &str) -> Result<Vec<Self>, String> {
        request.no_flags()?;
        let pairs = match &request.node.arguments {
            Arguments::Pairs(pairs) if !pairs.is_empty() => pairs,
            _ => return Err(format!("{instruction} requires at least one argument")),
        };
        if pairs.iter().any(|pair| pair.name.is_empty()) {
            return Err(format!("{instruction} names can not be blank"));
        }
        let owned = |pair: &crate::ast::Pair<'_>| Self {
            key: pair.name.to_string(),
            value: pair.value.to_string(),
            legacy: pair.legacy,
        };
        Ok(pairs.iter().map(owned).collect())
    }
}

impl ArgDefinition {
    /// Reads the variables of an `ARG`, which ignores flags.
    pub(super) fn read(request: &Request<'_, '_>) -> Result<Vec<Self>, String> {
        request.at_least_one("ARG")?;
        let define = |word: &str| {
            let (key, value) = match word.split_once('=') {
                Some(("", _)) => return Err("ARG names can not be blank".to_owned()),
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (word, None),
            };
            Ok(Self { key: key.to_owned(), value, description: request.description(key) })
        };
        request.node.arguments.strings().into_iter().map(define).collect()
    }
}

impl Healthcheck {
    pub(crate) const FLAGS: &[(&str, Takes)] = &[
        ("interval", Takes::Text),
        ("timeout", Takes::Text),
        ("start-period", Takes::Text),
        ("start-interval", Takes::Text),
        ("retries", Takes::Text),
    ];

    /// Reads a `HEALTHCHECK`. `NONE` ignores flags.
    pub(super) fn read(request: &Request<'_, '_>) -> Result<Self, String> {
        let Arguments::Health { kind, command } = &request.node.arguments else {
            return Err("HEALTHCHECK requires at least one argument".into());
        };
        let kind = kind.to_uppercase();
        if kind == "NONE" {
            if !command.strings().is_empty() {
                return Err("HEALTHCHECK NONE takes no arguments".into());
            }
            return Ok(Self { test: vec![kind], ..Self::default() });
        }
        let mut flags = Flags::read(&request.node.flags, Self::FLAGS)?;
        if kind != "CMD" {
            return Err(format!("Unknown type {} in HEALTHCHECK (try CMD)", quote(&kind)));
        }
        let command_words = command.strings();
        if command_words.is_empty() {
            return Err("Missing command after HEALTHCHECK CMD".into());
        }
        let kind = if command.is_json() { "CMD" } else { "CMD-SHELL" };
        let mut time = |name| interval(name, &flags.text(name));
        Ok(Self {
            test: std::iter::once(kind).chain(command_words).map(str::to_owned).collect(),
            interval: time("interval")?,
            timeout: time("timeout")?,
            start_period: time("start-period")?,
            start_interval: time("start-interval")?,
            retries: retries(&flags.text("retries"))?,
        })
    }
}

/// A duration of at least a millisecond, or 0; empty is 0.
fn interval(name: &str, text: &str) -> Result<Duration, String> {
    if text.is_empty() {
        return Ok(Duration::ZERO);
    }
    let nanoseconds = parse_duration(text)?;
    match u64::try_from(nanoseconds) {
        Ok(0) => Ok(Duration::ZERO),
        Ok(nanoseconds @ 1_000_000..) => Ok(Duration::from_nanos(nanoseconds)),
        _ => Err(format!("Interval {} cannot be less than 1ms", quote(name))),
    }
}

fn retries(text: &str) -> Result<u32, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let retries = parse_int(text, 10, 32)?;
    u32::try_from(retries).map_err(|_| format!("--retries cannot be negative ({retries})"))
}
