//! Attestations as files beside the files of a result.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use kiln_provenance::Subject;
use tempfile::TempDir;

use crate::claims::{ClaimError, Predicate};
use crate::error::ExportError;
use crate::tree::{self, Tree};

/// How attestations become files.
#[derive(Clone, Debug)]
pub(crate) struct Naming {
    /// What their names begin with.
    pub(crate) prefix: String,
    /// The platform, if files of several are in one directory.
    pub(crate) platform: Option<String>,
}

impl Naming {
    /// The name of the file of a predicate.
    fn name(&self, path: &str) -> String {
        let name = format!("{}{}", self.prefix, path.rsplit('/').next().unwrap_or_default());
        let Some(platform) = &self.platform else { return name };
        match name.rsplit_once('.') {
            Some((stem, extension)) => format!("{stem}.{platform}.{extension}"),
            None => format!("{name}.{platform}"),
        }
    }
}

/// Writes the predicates about the files of a tree into a directory of their own. Blocks.
pub(crate) fn write(
    tree: &Tree,
    predicates: &[Predicate],
    naming: &Naming,
) -> Result<TempDir, ExportError> {
    let files = tree::digests(tree).map_err(ExportError::Read)?;
    let itself: Vec<Subject> =
        files.iter().map(|(path, digest)| Subject::new(path, [digest])).collect();
    let directory = tempfile::Builder::new().prefix("kiln-claims-").tempdir();
    let directory = directory.map_err(ExportError::Read)?;
    let mut names = BTreeSet::new();
    for predicate in predicates {
        let name = naming.name(&predicate.path);
        if name.contains('/') || matches!(name.as_str(), "" | "." | "..") {
            return Err(ClaimError::NoPath.into());
        }
        if !names.insert(name.clone()) {
            return Err(ClaimError::Duplicate(name).into());
        }
        let statement = predicate.statement(&itself)?;
        create(&directory.path().join(name), statement.as_bytes()).map_err(ExportError::Read)?;
    }
    Ok(directory)
}

fn create(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file: File =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_its_prefix_and_the_platform_before_its_extension() {
        let naming = |prefix: &str, platform: Option<&str>| Naming {
            prefix: prefix.into(),
            platform: platform.map(Into::into),
        };
        for (naming, path, name) in [
            (naming("", None), "/a/b.json", "b.json"),
            (naming("x.", None), "b.json", "x.b.json"),
            (naming("", Some("linux_amd64")), "b.spdx.json", "b.spdx.linux_amd64.json"),
            (naming("", Some("linux_amd64")), "b", "b.linux_amd64"),
        ] {
            assert_eq!(naming.name(path), name);
        }
    }
}
