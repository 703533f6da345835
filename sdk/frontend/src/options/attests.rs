//! Which attestations the user asks for: `attest:sbom`, `attest:provenance`.

use std::collections::BTreeMap;

use kiln_oci::{Reference, ReferenceError};

use super::Options;
use super::fields::{FieldsError, fields};
use kiln_oci::quoted;

/// The scanner that is used where the user names none.
const DEFAULT_SCANNER: &str = "docker/buildkit-syft-scanner:stable-1";

/// The version of provenance that is written where the user names none.
const DEFAULT_PROVENANCE: &str = "v1";

/// Attributes of each kind of attestation, by kind.
pub type Attests = BTreeMap<String, BTreeMap<String, String>>;

/// The program that lists what is in an image (`attest:sbom`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SbomScanner {
    /// Its image.
    pub image: String,
    /// What else the user says to it, by name.
    pub parameters: BTreeMap<String, String>,
}

/// Why a request for attestations makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttestError {
    /// The attributes are no list.
    #[error("failed to parse {kind}: {error}")]
    Fields {
        /// The kind of attestation.
        kind: String,
        /// What is wrong.
        error: FieldsError,
    },
    /// Nobody knows such attestations.
    #[error("unknown attestation type {}", quoted(.0))]
    Kind(String),
    /// The scanner is no image.
    #[error("failed to parse sbom scanner {name}: {}", error.docker_text())]
    Scanner {
        /// What the user wrote.
        name: String,
        /// What is wrong.
        error: ReferenceError,
    },
}

/// Reads `attest:*` and their older spelling `build-arg:BUILDKIT_ATTEST_*`.
///
/// # Errors
///
/// If a value is no list, or a kind of attestation is unknown.
pub fn attests(options: &Options) -> Result<Attests, AttestError> {
    let mut all = Attests::new();
    let asked = options.with_prefix("build-arg:BUILDKIT_ATTEST_");
    for (kind, value) in asked.chain(options.with_prefix("attest:")) {
        let kind = kind.to_lowercase();
        let mut attrs = BTreeMap::new();
        match kind.as_str() {
            "sbom" => drop(attrs.insert("generator".into(), DEFAULT_SCANNER.into())),
            "provenance" => drop(attrs.insert("version".into(), DEFAULT_PROVENANCE.into())),
            _ => {}
        }
        if !value.is_empty() {
            let list = fields(value);
            let list = list.map_err(|error| AttestError::Fields { kind: kind.clone(), error })?;
            attrs.extend(list.iter().map(|field| {
                let (name, value) = field.split_once('=').unwrap_or((field, ""));
                (name.to_owned(), value.to_owned())
            }));
        }
        all.insert(kind, attrs);
    }
    match all.keys().find(|kind| !matches!(kind.as_str(), "sbom" | "provenance")) {
        Some(kind) => Err(AttestError::Kind(kind.clone())),
        None => Ok(all),
    }
}

/// The scanner among them.
pub(super) fn scanner(attests: &Attests) -> Result<Option<SbomScanner>, AttestError> {
    let Some(attrs) = attests.get("sbom") else { return Ok(None) };
    let mut parameters = attrs.clone();
    let name = parameters.remove("generator").unwrap_or_default();
    match name.parse::<Reference>() {
        Ok(image) => Ok(Some(SbomScanner { image: image.to_string(), parameters })),
        Err(error) => Err(AttestError::Scanner { name, error }),
    }
}
