//! A recorded build without a daemon: `case.json` and the files beside it.
//!
//! A case says what the client and the daemon of a build would say: options, workers, directories,
//! image configs, files of remote sources. [`Case::load`] reads one from its directory and refuses
//! what it does not know, so that a misspelt field cannot change what a test means; [`Case::write`]
//! writes one. Its files are only read when a frontend asks for them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The sub-requests of a case that does not name any.
pub const DEFAULT_REQUESTS: [&str; 3] = ["frontend.lint", "frontend.outline", "frontend.targets"];

/// The name of the file that describes a case.
pub(crate) const CASE_FILE: &str = "case.json";

/// The name of the file that says what a frontend must answer.
const EXPECTED_FILE: &str = "expected.json";

/// A build for a frontend to do, with everything it may ask for.
///
/// The fields are those of `case.json`; all but the directory may be left out there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Case {
    /// Where the case was read from; directories of the case are relative to it.
    #[serde(skip)]
    pub dir: PathBuf,
    /// What the case is called; the name of its directory if it does not say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What it shows, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What it is about, for people; the first is its group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// The release channel of the language the case is written in; empty is the stable one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub channel: String,
    /// The options, exactly as the frontend gets them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub opts: BTreeMap<String, String>,
    /// The client's session.
    pub session_id: String,
    /// The platforms of each worker, the default worker first.
    pub worker_platforms: Vec<Vec<String>>,
    /// LLB features the daemon lacks; it has all others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disabled_llb_caps: Vec<String>,
    /// Gateway features the daemon lacks; it has all others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disabled_frontend_caps: Vec<String>,
    /// The client's directories: name of the local source, and the path relative to [`Case::dir`].
    pub locals: BTreeMap<String, String>,
    /// Files of git and HTTP sources: by source identifier, then by path.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub remote_files_base64: BTreeMap<String, BTreeMap<String, Base64>>,
    /// The graphs handed to the frontend, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, CaseInput>,
    /// What is known about git and HTTP sources without fetching them, by source identifier.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub source_metadata: BTreeMap<String, CaseMetadata>,
    /// The images there are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<CaseImage>,
    /// The sub-requests to make; [`DEFAULT_REQUESTS`] if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<Vec<String>>,
    /// Whether the answers to sub-requests keep their copy of the user's file.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub full_subrequest_sources: bool,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            dir: PathBuf::new(),
            name: String::new(),
            description: String::new(),
            features: Vec::new(),
            channel: String::new(),
            opts: BTreeMap::new(),
            session_id: "session-0".into(),
            worker_platforms: vec![vec!["linux/amd64".into()]],
            disabled_llb_caps: Vec::new(),
            disabled_frontend_caps: Vec::new(),
            locals: ["context", "dockerfile"].map(|name| (name.into(), ".".into())).into(),
            remote_files_base64: BTreeMap::new(),
            inputs: BTreeMap::new(),
            source_metadata: BTreeMap::new(),
            images: Vec::new(),
            requests: None,
            full_subrequest_sources: false,
        }
    }
}

/// A graph of [`Case::inputs`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseInput {
    /// The bytes of the definition.
    pub definition_base64: Base64,
}

/// What is known of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaseMetadata {
    /// For git.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git: Option<CaseGit>,
    /// For HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<CaseHttp>,
}

/// What is known of a git reference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaseGit {
    /// The commit, or the object of an annotated tag.
    pub checksum: String,
    /// The commit that an annotated tag names.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub commit_checksum: String,
    /// The full name, such as `refs/heads/main`.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The commit object, as git stores it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub commit_object: String,
    /// The tag object, as git stores it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tag_object: String,
}

/// What is known of a download.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaseHttp {
    /// The digest of the body.
    pub digest: String,
    /// The name of the file.
    pub filename: String,
    /// When it changed, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

/// The answer to a question for one image on one platform.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaseImage {
    /// Where it is: in a registry or in a layout at the client.
    pub kind: ImageKind,
    /// The full reference that is asked for.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The platform that is asked for; absent where none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The layout it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store_id: Option<String>,
    /// The digest of its manifest or index; absent if the resolver does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Its config.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
    /// The reference that is answered, if not the asked one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_ref: Option<String>,
    /// The answer is this error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// A source policy turned the image into this source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub non_image: Option<String>,
}

/// Where an image is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageKind {
    /// In a registry.
    #[default]
    Image,
    /// In an OCI layout that the client has.
    OciLayout,
}

/// Bytes that JSON has as base64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base64(pub Bytes);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes.into()))
    }
}

/// Why a case cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaseError {
    /// A file of the case cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file of the case cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not JSON, or not what a case is made of; the reason names field and line.
    #[error("{}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// A value is of the right type and still makes no sense.
    #[error("{}: {field}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The field, such as `worker_platforms`.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Case {
    /// Reads the case in a directory.
    ///
    /// # Errors
    ///
    /// If `case.json` cannot be read, is not JSON, or has a field that is unknown or malformed.
    pub fn load(dir: impl AsRef<Path>) -> Result<Self, CaseError> {
        let dir = dir.as_ref();
        let path = dir.join(CASE_FILE);
        let mut case: Self = parse(&path)?;
        case.dir = dir.to_owned();
        if case.name.is_empty() {
            case.name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        }
        case.check(&path)?;
        Ok(case)
    }

    /// What a frontend must answer, if the case says so.
    ///
    /// # Errors
    ///
    /// If there is an `expected.json` that cannot be read or is not JSON.
    pub fn expected(&self) -> Result<Option<Value>, CaseError> {
        let path = self.dir.join(EXPECTED_FILE);
        match parse(&path) {
            Err(CaseError::Read { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// Writes `case.json` into [`Case::dir`], which is made if it is not there.
    ///
    /// # Errors
    ///
    /// If the directory cannot be made or the file not be written.
    pub fn write(&self) -> Result<(), CaseError> {
        let path = self.dir.join(CASE_FILE);
        let case = serde_json::to_value(self)
            .map_err(|source| CaseError::Parse { path: path.clone(), source })?;
        write(&path, &case)
    }

    /// Writes an answer as the one to expect, `expected.json`.
    ///
    /// # Errors
    ///
    /// If the directory cannot be made or the file not be written.
    pub fn write_expected(&self, expected: &Value) -> Result<(), CaseError> {
        write(&self.dir.join(EXPECTED_FILE), expected)
    }

    /// The sub-requests to make.
    pub fn requests(&self) -> Vec<&str> {
        match &self.requests {
            Some(requests) => requests.iter().map(String::as_str).collect(),
            None => DEFAULT_REQUESTS.to_vec(),
        }
    }

    fn check(&self, path: &Path) -> Result<(), CaseError> {
        let invalid = |field: String, reason: String| {
            Err(CaseError::Invalid { path: path.to_owned(), field, reason })
        };
        if self.worker_platforms.iter().all(Vec::is_empty) {
            return invalid("worker_platforms".into(), "no worker has a platform".into());
        }
        for platform in self.worker_platforms.iter().flatten() {
            if let Err(error) = platform.parse::<kiln_oci::Platform>() {
                return invalid("worker_platforms".into(), error.to_string());
            }
        }
        for (name, directory) in &self.locals {
            let plain = |part| {
                matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir)
            };
            if !Path::new(directory).components().all(plain) {
                return invalid(
                    format!("locals.{name}"),
                    format!("`{directory}` is not a path below the directory of the case"),
                );
            }
        }
        for (n, image) in self.images.iter().enumerate() {
            let answers =
                [image.config.is_some(), image.error.is_some(), image.non_image.is_some()];
            if answers.iter().filter(|given| **given).count() != 1 {
                return invalid(
                    format!("images[{n}] ({})", image.reference),
                    "expected one of config, error and non_image".into(),
                );
            }
        }
        Ok(())
    }
}

fn parse<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, CaseError> {
    let bytes =
        std::fs::read(path).map_err(|source| CaseError::Read { path: path.to_owned(), source })?;
    serde_json::from_slice(&bytes)
        .map_err(|source| CaseError::Parse { path: path.to_owned(), source })
}

fn write(path: &Path, value: &Value) -> Result<(), CaseError> {
    let failed = |source| CaseError::Write { path: path.to_owned(), source };
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
    std::fs::write(path, format!("{value:#}\n")).map_err(failed)
}
