//! `--export-cache` and `--import-cache`: caches outside the daemon.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kiln_frontend::boolean;

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
    /// Files with keys: one with the private key that signs an export, or those with the public ones of
    /// which one must have signed an import.
    pub keys: Vec<PathBuf>,
}

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
        let flag = direction.flag();
        if !text.is_empty() && !text.contains('=') {
            let mut attrs = BTreeMap::from([("ref".to_owned(), text.to_owned())]);
            complete(direction, &mut attrs);
            return Ok(Self { kind: "registry".to_owned(), attrs, keys: Vec::new() });
        }
        let mut fields = Fields::parse(flag, text)?;
        let kind = fields.require("type")?;
        let (own, other) = (direction.key(), direction.other().key());
        let keys: Vec<PathBuf> = fields.take_all(own).into_iter().map(PathBuf::from).collect();
        if direction == Direction::Export && keys.len() > 1 {
            return Err(fields.error(format!("one {own} signs it, got {}", keys.len())));
        }
        if keys.iter().any(|path| path.as_os_str().is_empty()) {
            return Err(fields.error(format!("{own} is the name of a file")));
        }
        if fields.take(other).is_some() {
            let flag = direction.other().flag();
            return Err(fields.error(format!("{other} is for {flag}; here it is {own}=FILE")));
        }
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
        complete(direction, &mut attrs);
        if kind == "gha" {
            workflow(&mut attrs, environment).map_err(|why| fields.error(why))?;
        }
        Ok(Self { kind, attrs, keys })
    }
}

impl Direction {
    pub(crate) fn flag(self) -> &'static str {
        match self {
            Self::Export => "--export-cache",
            Self::Import => "--import-cache",
        }
    }

    /// The attribute that names files with keys, and has their text once it is sent.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Export => "sign-key",
            Self::Import => "verify-key",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Export => Self::Import,
            Self::Import => Self::Export,
        }
    }
}

fn complete(direction: Direction, attrs: &mut BTreeMap<String, String>) {
    if direction == Direction::Export {
        attrs.entry("mode".to_owned()).or_insert_with(|| "min".to_owned());
    }
}

/// Says where the cache of a workflow is, from what its runner is given; as `buildctl` does.
fn workflow(
    attrs: &mut BTreeMap<String, String>,
    environment: &Environment,
) -> Result<(), &'static str> {
    let is_second = match attrs.get("version") {
        Some(version) => version == "2",
        None => environment.get("ACTIONS_CACHE_SERVICE_V2").and_then(boolean) == Some(true),
    };
    let results = environment.get_nonempty("ACTIONS_RESULTS_URL");
    let url = environment.get_nonempty("ACTIONS_CACHE_URL").or(results);
    let token = environment.get_nonempty("ACTIONS_RUNTIME_TOKEN");
    for (name, value) in [("url_v2", results.filter(|_| is_second)), ("url", url), ("token", token)]
    {
        if let Some(value) = value {
            attrs.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    match (attrs.contains_key("url") || attrs.contains_key("url_v2"), attrs.contains_key("token")) {
        (false, _) => Err("type=gha needs url=… or $ACTIONS_RESULTS_URL"),
        (_, false) => Err("type=gha needs token=… or $ACTIONS_RUNTIME_TOKEN"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(direction: Direction, text: &str) -> String {
        let environment = Environment::with(&[
            ("ACTIONS_CACHE_SERVICE_V2", "True"),
            ("ACTIONS_CACHE_URL", "https://one"),
            ("ACTIONS_RESULTS_URL", "https://two"),
            ("ACTIONS_RUNTIME_TOKEN", "t"),
        ]);
        match CacheOption::parse(direction, text, &environment) {
            Ok(CacheOption { kind, attrs, keys }) if keys.is_empty() => {
                format!("{kind} {attrs:?}")
            }
            Ok(CacheOption { kind, attrs, keys }) => format!("{kind} {attrs:?} {keys:?}"),
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
            (
                Import,
                "type=gha,scope=s",
                r#"gha {"scope": "s", "token": "t", "url": "https://one", "url_v2": "https://two"}"#,
            ),
            (
                Import,
                "type=gha,token=x,version=1",
                r#"gha {"token": "x", "url": "https://one", "version": "1"}"#,
            ),
            (Export, "type=inline,sign-key=k", r#"inline {"mode": "min"} ["k"]"#),
            (
                Import,
                "type=registry,ref=r,verify-key=a,verify-key=b",
                r#"registry {"ref": "r"} ["a", "b"]"#,
            ),
            (
                Export,
                "type=inline,sign-key=a,sign-key=b",
                r#"--export-cache "type=inline,sign-key=a,sign-key=b": one sign-key signs it, got 2"#,
            ),
            (
                Import,
                "type=registry,ref=r,verify-key=",
                r#"--import-cache "type=registry,ref=r,verify-key=": verify-key is the name of a file"#,
            ),
            (
                Import,
                "type=registry,ref=r,sign-key=k",
                r#"--import-cache "type=registry,ref=r,sign-key=k": sign-key is for --export-cache; here it is verify-key=FILE"#,
            ),
            (
                Export,
                "type=inline,verify-key=k",
                r#"--export-cache "type=inline,verify-key=k": verify-key is for --import-cache; here it is sign-key=FILE"#,
            ),
            (Import, "type=local", r#"--import-cache "type=local": type=local needs src=…"#),
            (Export, "ref=x", r#"--export-cache "ref=x": needs type=…"#),
        ] {
            assert_eq!(parsed(direction, text), expected, "{text}");
        }
    }

    #[test]
    fn a_cache_of_a_workflow_is_found_outside_of_one_only_if_all_is_said() {
        let parsed = |text: &str| {
            let parsed = CacheOption::parse(Direction::Import, text, &Environment::default());
            parsed.map(|option| option.attrs.len()).map_err(|error| error.to_string())
        };
        assert!(parsed("type=gha").unwrap_err().contains("needs url=…"));
        assert!(parsed("type=gha,url=https://one").unwrap_err().contains("needs token=…"));
        assert_eq!(parsed("type=gha,url=https://one,token=t"), Ok(2));
    }
}
