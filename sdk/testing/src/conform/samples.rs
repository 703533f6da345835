//! The inputs of a language that the kit builds.
//!
//! One valid file is enough; everything else can be derived from it. A directory may hold more:
//! a folder per sample, with a `case.json` (see [`crate::Case`]) where options are needed. Folders
//! that start with `broken` are files with a mistake; folders that start with `build-arg` are built
//! with and without the build arguments of their case.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::{Case, CaseError};

/// Files of a sample that are looked at, at most.
const MAX_FILES: usize = 4096;
/// Bytes of a sample, all files together.
const MAX_BYTES: u64 = 64 << 20;

/// Files of one directory, by their path in it.
pub(crate) type Files = BTreeMap<String, Bytes>;

/// Everything the kit builds.
#[derive(Clone, Debug)]
pub struct Samples {
    pub(crate) list: Vec<Sample>,
}

/// One input of a language.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// How the report calls it.
    pub(crate) name: String,
    pub(crate) kind: SampleKind,
    /// The file to build, as a path in the local `dockerfile`.
    pub(crate) file: String,
    /// Options besides `filename`.
    pub(crate) options: BTreeMap<String, String>,
    /// The client's directories, by the name of the local source.
    pub(crate) locals: BTreeMap<String, Files>,
}

/// What is to come of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SampleKind {
    /// It builds.
    Valid,
    /// It does not, and the error points at the mistake.
    Broken,
    /// It builds, and its build arguments change what is built.
    BuildArgument,
}

/// Why there is nothing to build.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SamplesError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A case is none.
    #[error(transparent)]
    Case(#[from] CaseError),
    /// Nobody says which file is to be built.
    #[error(
        "{}: which file is to be built? Write a case.json beside it: {{\"opts\": {{\"filename\": \"NAME\"}}}}",
        path.display()
    )]
    WhichFile {
        /// The directory.
        path: PathBuf,
    },
    /// No sample is valid.
    #[error("{}: there is no valid sample; one file that builds is needed", path.display())]
    NoneValid {
        /// The directory.
        path: PathBuf,
    },
    /// A sample is out of all proportion.
    #[error("{}: a sample may have {MAX_FILES} files and {} MiB", path.display(), MAX_BYTES >> 20)]
    TooLarge {
        /// The directory.
        path: PathBuf,
    },
}

impl Samples {
    /// One valid file, by name and text.
    pub fn text(name: &str, text: impl Into<Bytes>) -> Self {
        Self::of(name, [(name.to_owned(), text.into())].into())
    }

    /// Adds a file of the build context.
    #[must_use]
    pub fn with_file(mut self, path: &str, content: impl Into<Bytes>) -> Self {
        let content = content.into();
        for sample in &mut self.list {
            let context = sample.locals.entry("context".to_owned()).or_default();
            context.insert(path.to_owned(), content.clone());
        }
        self
    }

    /// Adds a file with a mistake to which the error has to point.
    #[must_use]
    pub fn with_broken(mut self, text: impl Into<Bytes>) -> Self {
        if let Some(valid) = self.list.first() {
            let text = text.into();
            let broken = Sample {
                name: format!("broken-{}", self.list.len()),
                kind: SampleKind::Broken,
                ..valid.with_text(text)
            };
            self.list.push(broken);
        }
        self
    }

    /// Adds the first sample once more, with a build argument that changes what is built.
    #[must_use]
    pub fn with_build_argument(mut self, name: &str, value: &str) -> Self {
        if let Some(valid) = self.list.first() {
            let mut sample = valid.clone();
            sample.name = format!("build-arg-{}", self.list.len());
            sample.kind = SampleKind::BuildArgument;
            sample.options.insert(format!("build-arg:{name}"), value.to_owned());
            self.list.push(sample);
        }
        self
    }

    /// Samples of a file, or of a directory.
    ///
    /// # Errors
    ///
    /// [`SamplesError`] if something cannot be read or no sample is valid.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, SamplesError> {
        let path = path.as_ref();
        if !path.is_dir() {
            let text = std::fs::read(path).map_err(unreadable(path))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let mut files = match path.parent().filter(|parent| parent.is_dir()) {
                // What stands beside the file may be what it copies; if that is too much, it is not.
                Some(parent) => read_files(parent).unwrap_or_default(),
                None => Files::new(),
            };
            files.insert(name.clone().into_owned(), text.into());
            return Ok(Self::of(&name, files));
        }
        let mut folders = Vec::new();
        for entry in std::fs::read_dir(path).map_err(unreadable(path))? {
            let entry = entry.map_err(unreadable(path))?.path();
            if entry.is_dir() {
                folders.push(entry);
            }
        }
        folders.sort();
        let is_one = has_file(path) || folders.is_empty();
        let mut list = match is_one {
            true => vec![sample(path)?],
            false => folders.iter().map(|folder| sample(folder)).collect::<Result<_, _>>()?,
        };
        // What is right comes first: its outcomes say most.
        list.sort_by_key(|sample: &Sample| sample.kind != SampleKind::Valid);
        if !list.iter().any(|sample| sample.kind == SampleKind::Valid) {
            return Err(SamplesError::NoneValid { path: path.to_owned() });
        }
        Ok(Self { list })
    }

    fn of(name: &str, files: Files) -> Self {
        let locals = ["context", "dockerfile"].map(|local| (local.to_owned(), files.clone()));
        let sample = Sample {
            name: name.to_owned(),
            kind: SampleKind::Valid,
            file: name.to_owned(),
            options: BTreeMap::new(),
            locals: locals.into(),
        };
        Self { list: vec![sample] }
    }
}

impl Sample {
    /// The bytes of the file to build.
    pub(crate) fn text(&self) -> Bytes {
        let files = self.locals.get("dockerfile");
        files.and_then(|files| files.get(&self.file)).cloned().unwrap_or_default()
    }

    /// Whether it has this file beside the one to build.
    pub(crate) fn has_file(&self, name: &str, data: &Bytes) -> bool {
        self.locals.get("dockerfile").and_then(|files| files.get(name)) == Some(data)
    }

    /// The same sample with another file to build.
    pub(crate) fn with_text(&self, text: Bytes) -> Self {
        let mut sample = self.clone();
        for files in sample.locals.values_mut() {
            if let Some(old) = files.get_mut(&self.file) {
                *old = text.clone();
            }
        }
        sample
    }

    /// The same sample without the file to build.
    pub(crate) fn without_file(&self) -> Self {
        let mut sample = self.clone();
        for files in sample.locals.values_mut() {
            files.remove(&self.file);
        }
        sample
    }
}

/// Whether a directory has files of its own, which makes it a sample and not a list of some.
fn has_file(directory: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(directory) else { return false };
    let not_about_itself = |name: &Path| name.extension().is_none_or(|extension| extension != "md");
    entries.flatten().any(|entry| entry.path().is_file() && not_about_itself(&entry.path()))
}

fn sample(directory: &Path) -> Result<Sample, SamplesError> {
    let case = match directory.join("case.json").is_file() {
        true => Case::load(directory)?,
        false => Case { dir: directory.to_owned(), ..Case::default() },
    };
    let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let kind = match name.as_str() {
        name if name.starts_with("broken") => SampleKind::Broken,
        name if name.starts_with("build-arg") => SampleKind::BuildArgument,
        _ => SampleKind::Valid,
    };
    let mut locals = BTreeMap::new();
    for (local, place) in &case.locals {
        locals.insert(local.clone(), read_files(&directory.join(place))?);
    }
    let mut options = case.opts;
    let file = match options.remove("filename") {
        Some(file) => file,
        None => {
            let which = || SamplesError::WhichFile { path: directory.to_owned() };
            locals.get("dockerfile").and_then(file_to_build).ok_or_else(which)?
        }
    };
    Ok(Sample { name, kind, file, options, locals })
}

/// The only file at the top, or the `Dockerfile`.
fn file_to_build(files: &Files) -> Option<String> {
    let aside = ["case.json", "expected.json", "README.md"];
    let top = files.keys().filter(|path| !path.contains('/') && !aside.contains(&path.as_str()));
    let top: Vec<&String> = top.filter(|path| !path.starts_with('.')).collect();
    match top.as_slice() {
        [one] => Some((*one).clone()),
        many => many.iter().find(|path| path.as_str() == "Dockerfile").map(|path| (*path).clone()),
    }
}

fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> SamplesError {
    let path = path.to_owned();
    |source| SamplesError::Read { path, source }
}

/// The regular files below a directory. Links are not followed.
fn read_files(directory: &Path) -> Result<Files, SamplesError> {
    let too_large = || SamplesError::TooLarge { path: directory.to_owned() };
    let mut files = Files::new();
    let mut bytes = 0;
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(&next).map_err(unreadable(&next))? {
            let entry = entry.map_err(unreadable(&next))?;
            let path = entry.path();
            let metadata = std::fs::symlink_metadata(&path).map_err(unreadable(&path))?;
            if metadata.is_dir() {
                waiting.push(path);
            } else if metadata.is_file() {
                bytes += metadata.len();
                if bytes > MAX_BYTES || files.len() >= MAX_FILES {
                    return Err(too_large());
                }
                let name = path.strip_prefix(directory).unwrap_or(&path);
                let content = std::fs::read(&path).map_err(unreadable(&path))?;
                files.insert(name.to_string_lossy().into_owned(), content.into());
            }
        }
    }
    Ok(files)
}
