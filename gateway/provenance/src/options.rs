//! What is asked of provenance: the attributes of `attest:provenance`.

use std::collections::BTreeMap;

/// How much provenance says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Materials and the request without build arguments, labels, secrets and agents.
    Min,
    /// All of the request, and the graph with the layers of its steps and the files that it was read from.
    #[default]
    Max,
}

/// Which form provenance has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// SLSA 1.
    #[default]
    V1,
    /// SLSA 0.2.
    V02,
}

impl Version {
    /// The predicate type.
    pub fn predicate_type(self) -> &'static str {
        match self {
            Self::V1 => "https://slsa.dev/provenance/v1",
            Self::V02 => "https://slsa.dev/provenance/v0.2",
        }
    }
}

/// What is asked of provenance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenanceOptions {
    /// `mode`: how much it says.
    pub mode: Mode,
    /// `version`: which form it has.
    pub version: Version,
    /// `builder-id`: who built, as the user says.
    pub builder: String,
    /// `reproducible`: the user says that the same comes out every time.
    pub reproducible: bool,
    /// `inline-only`: only where it can stand beside an image.
    pub inline_only: bool,
    /// `filename`: its name where it is a file.
    pub filename: String,
    /// `capture-usage`: what processor and memory steps took is to be said, of which nothing is known.
    pub capture_usage: bool,
    /// `complete-materials`: a build with something that is not known exactly fails.
    pub complete_materials: bool,
}

impl Default for ProvenanceOptions {
    fn default() -> Self {
        Self {
            mode: Mode::Max,
            version: Version::V1,
            builder: String::new(),
            reproducible: false,
            inline_only: false,
            capture_usage: false,
            filename: "provenance.json".into(),
            complete_materials: false,
        }
    }
}

/// Why attributes of provenance make no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// A mode that there is not.
    #[error("attest:provenance: invalid mode {0:?}, expected min or max")]
    Mode(String),
    /// A version that there is not.
    #[error("invalid provenance SLSA version: {0}, expected v1 or v0.2")]
    Version(String),
    /// Neither true nor false.
    #[error("attest:provenance: failed to parse {name} flag {value:?}, expected true or false")]
    Flag {
        /// The attribute.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// A name that is none.
    #[error("attest:provenance: filename {0:?} is not the name of a file")]
    Filename(String),
    /// An attribute that there is not.
    #[error("attest:provenance has no attribute {0:?}")]
    Unknown(String),
}

/// The attributes there are; `type` is the client's own.
const KNOWN: &[&str] = &[
    "builder-id",
    "capture-usage",
    "complete-materials",
    "disabled",
    "filename",
    "inline-only",
    "mode",
    "reproducible",
    "type",
    "version",
];

impl ProvenanceOptions {
    /// Reads the attributes; `None` if they say that there is to be none.
    ///
    /// # Errors
    ///
    /// What makes no sense among them.
    pub fn parse(attributes: &BTreeMap<String, String>) -> Result<Option<Self>, OptionError> {
        if let Some(unknown) = attributes.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            return Err(OptionError::Unknown(unknown.chars().take(100).collect()));
        }
        if flag(attributes, "disabled")? {
            return Ok(None);
        }
        let text = |name: &str| attributes.get(name).map(String::as_str).unwrap_or_default();
        let mode = match text("mode") {
            "" | "max" | "full" => Mode::Max,
            "min" => Mode::Min,
            other => return Err(OptionError::Mode(other.chars().take(100).collect())),
        };
        let version = match text("version") {
            "" | "v1" => Version::V1,
            "v0.2" => Version::V02,
            other => return Err(OptionError::Version(other.chars().take(100).collect())),
        };
        let filename = match text("filename") {
            "" => "provenance.json",
            name if name.contains(['/', '\0']) || matches!(name, "." | "..") => {
                return Err(OptionError::Filename(name.chars().take(100).collect()));
            }
            name => name,
        };
        Ok(Some(Self {
            mode,
            version,
            builder: text("builder-id").to_owned(),
            reproducible: flag(attributes, "reproducible")?,
            inline_only: flag(attributes, "inline-only")?,
            capture_usage: flag(attributes, "capture-usage")?,
            filename: filename.to_owned(),
            complete_materials: flag(attributes, "complete-materials")?,
        }))
    }
}

fn flag(attributes: &BTreeMap<String, String>, name: &'static str) -> Result<bool, OptionError> {
    match attributes.get(name).map(String::as_str) {
        None => Ok(false),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(value) => Err(OptionError::Flag { name, value: value.chars().take(100).collect() }),
    }
}
