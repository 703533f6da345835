//! The directories with specifications.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::devices::Devices;
use crate::spec::Spec;

/// A larger file is no specification.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// More files of one directory are not read.
const MAX_FILES: usize = 1000;

/// Where specifications of devices are, and what the operator says about devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    /// Directories; of a device that is described in several, the last one counts.
    pub directories: Vec<PathBuf>,
    /// Names of devices, or their kinds, that every build may use.
    pub auto_allowed: Vec<String>,
}

/// Why a specification is left out.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// It cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is none.
    #[error("{path} is no specification of devices: {reason}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Several files of a directory describe a device.
    #[error("{first} and {second} both describe device {name}, which is left out")]
    Conflict {
        /// The device.
        name: String,
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
}

impl Registry {
    /// Reads what there is now. Files that are no specifications are left out, with a word in the log:
    /// the devices of the others are there all the same.
    pub fn read(&self) -> Devices {
        let (devices, errors) = self.read_all();
        for error in errors {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(%error, cause, "devices");
        }
        devices
    }

    /// Reads what there is now, and says what was left out.
    pub fn read_all(&self) -> (Devices, Vec<SpecError>) {
        let (mut specs, mut errors) = (Vec::new(), Vec::new());
        for (priority, directory) in self.directories.iter().enumerate() {
            for path in files(directory, &mut errors) {
                match spec(&path) {
                    Ok(spec) => specs.push((priority, path, spec)),
                    Err(error) => errors.push(error),
                }
            }
        }
        (Devices::of(specs, &self.auto_allowed, &mut errors), errors)
    }
}

/// The files of a directory, by name; one that is not there is empty.
fn files(directory: &Path, errors: &mut Vec<SpecError>) -> Vec<PathBuf> {
    let failed = |source| SpecError::Read { path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            errors.push(failed(error));
            return Vec::new();
        }
    };
    let paths = entries.filter_map(|entry| entry.map(|entry| entry.path()).ok());
    let is_spec = |path: &PathBuf| {
        let kind = path.extension().and_then(|kind| kind.to_str());
        matches!(kind, Some("yaml" | "json")) && path.is_file()
    };
    let mut paths: Vec<PathBuf> = paths.filter(is_spec).collect();
    paths.sort();
    if paths.len() > MAX_FILES {
        errors.push(failed(io::Error::other(format!("it has more than {MAX_FILES} files"))));
        paths.truncate(MAX_FILES);
    }
    paths
}

fn spec(path: &Path) -> Result<Spec, SpecError> {
    let failed = |source| SpecError::Read { path: path.to_owned(), source };
    let invalid = |reason: String| SpecError::Invalid { path: path.to_owned(), reason };
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(invalid(format!("it has more than {MAX_FILE_BYTES} bytes")));
    }
    Spec::parse(&text).map_err(invalid)
}
