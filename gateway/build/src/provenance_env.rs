//! What the operator adds to provenance: a directory of JSON files, one object each.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// What is said about the machine already.
const OWN: &[&str] = &["buildConfig", "builderPlatform", "platform", "emulated"];

/// Why a directory of provenance cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProvenanceEnvError {
    /// It cannot be read.
    #[error("cannot read {path}, which is to be part of provenance")]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no JSON object.
    #[error("failed to parse {path}, which is to be part of provenance")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// It says something that only the builder can.
    #[error("key {0:?} is builtin and not allowed to be modified in provenance config")]
    Builtin(String),
}

/// Reads all files of a directory; one that is not there is empty. Where several say something under the
/// same key, the last one by name counts.
///
/// # Errors
///
/// What cannot be read, or says something that only the builder can.
pub fn read(directory: &Path) -> Result<BTreeMap<String, Value>, ProvenanceEnvError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ProvenanceEnvError::Read { path, source }
    };
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries.map_err(failed(directory))?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = paths.collect::<Result<_, _>>().map_err(failed(directory))?;
    paths.retain(|path| path.extension().is_some_and(|end| end == "json") && !path.is_dir());
    paths.sort();
    let mut all = BTreeMap::new();
    for path in paths {
        let text = std::fs::read(&path).map_err(failed(&path))?;
        let said: BTreeMap<String, Value> = serde_json::from_slice(&text)
            .map_err(|source| ProvenanceEnvError::Parse { path, source })?;
        all.extend(said);
    }
    match all.keys().find(|key| OWN.contains(&key.as_str())) {
        Some(key) => Err(ProvenanceEnvError::Builtin(key.clone())),
        None => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_directory_are_read_by_name_and_replace_nothing_of_the_builders() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert!(read(&path.join("missing")).unwrap().is_empty());
        std::fs::write(path.join("a.json"), r#"{"a": 1, "b": [1]}"#).unwrap();
        std::fs::write(path.join("b.json"), r#"{"b": 2}"#).unwrap();
        std::fs::write(path.join("notes.txt"), "no JSON").unwrap();
        let said = read(path).unwrap();
        assert_eq!(said, [("a".to_owned(), 1.into()), ("b".to_owned(), 2.into())].into());
        std::fs::write(path.join("c.json"), r#"{"platform": "x"}"#).unwrap();
        assert!(read(path).unwrap_err().to_string().contains("\"platform\" is builtin"));
        std::fs::write(path.join("c.json"), "[]").unwrap();
        assert!(read(path).unwrap_err().to_string().contains("c.json"));
    }
}
