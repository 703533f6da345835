//! `--export-cache` and `--import-cache`: caches outside the daemon.

use std::collections::BTreeMap;

use super::{Fields, OptionError};
use crate::environment::Environment;

/// Which way the cache goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Out of the daemon.
    Export,
    /// Into the daemon.
    Import,
}

/// One cache outside the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CacheOption {
    /// `registry`, `local`, `inline`, `gha`, `s3`, `azblob`.
    pub kind: String,
    /// What the daemon is told about it.
    pub attrs: BTreeMap<String, String>,
}

/// Variables that say where the cache of a workflow is, and the attributes they stand for.
const WORKFLOW_VARIABLES: &[(&str, &str)] = &[
    ("url", "ACTIONS_CACHE_URL"),
    ("url_v2", "ACTIONS_RESULTS_URL"),
    ("token", "ACTIONS_RUNTIME_TOKEN"),
];

impl CacheOption {
    /// Reads one option; a text that is not a list of fields is a reference in a registry.
    ///
    /// # Errors
    ///
    /// If the type is missing, or what this type needs.
    pub(crate) fn parse(
        direction: Direction,
        text: &str,
        environment: &Environment,
    ) -> Result<Self, OptionError> {
        let flag = match direction {
            Direction::Export => "--export-cache",
            Direction::Import => "--import-cache",
        };
        if !text.is_empty() && !text.contains('=') {
            let mut attrs = BTreeMap::from([("ref".to_owned(), text.to_owned())]);
            complete(direction, "registry", &mut attrs, environment);
            return Ok(Self { kind: "registry".to_owned(), attrs });
        }
        let mut fields = Fields::parse(flag, text)?;
        let kind = fields.require("type")?;
        let mut attrs = fields.clone().rest();
        let needed = match (kind.as_str(), direction) {
            ("registry", _) => Some("ref"),
            ("local", Direction::Export) => Some("dest"),
            ("local", Direction::Import) => Some("src"),
            _ => None,
        };
        if let Some(needed) = needed.filter(|key| attrs.get(*key).is_none_or(String::is_empty)) {
            return Err(fields.error(format!("type={kind} needs {needed}=…")));
        }
        complete(direction, &kind, &mut attrs, environment);
        Ok(Self { kind, attrs })
    }
}

fn complete(
    direction: Direction,
    kind: &str,
    attrs: &mut BTreeMap<String, String>,
    environment: &Environment,
) {
    if direction == Direction::Export {
        attrs.entry("mode".to_owned()).or_insert_with(|| "min".to_owned());
    }
    if kind == "gha" {
        for (attr, variable) in WORKFLOW_VARIABLES {
            if let Some(value) = environment.get_nonempty(variable) {
                attrs.entry((*attr).to_owned()).or_insert_with(|| value.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(direction: Direction, text: &str) -> String {
        let environment = Environment::with(&[("ACTIONS_RUNTIME_TOKEN", "t")]);
        match CacheOption::parse(direction, text, &environment) {
            Ok(CacheOption { kind, attrs }) => format!("{kind} {attrs:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn caches_are_complete() {
        use Direction::{Export, Import};
        for (direction, text, expected) in [
            (Import, "host/a:b", r#"registry {"ref": "host/a:b"}"#),
            (Export, "host/a", r#"registry {"mode": "min", "ref": "host/a"}"#),
            (Export, "type=inline", r#"inline {"mode": "min"}"#),
            (Export, "type=local,dest=x,mode=max", r#"local {"dest": "x", "mode": "max"}"#),
            (Import, "type=gha,scope=s", r#"gha {"scope": "s", "token": "t"}"#),
            (Import, "type=local", r#"--import-cache "type=local": type=local needs src=…"#),
            (Export, "ref=x", r#"--export-cache "ref=x": needs type=…"#),
        ] {
            assert_eq!(parsed(direction, text), expected, "{text}");
        }
    }
}
