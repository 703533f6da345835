//! In-toto statements: a predicate, and what it is about.

use std::collections::BTreeMap;

use kiln_oci::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The media type of statements.
pub const MEDIA_TYPE: &str = "application/vnd.in-toto+json";
/// The annotation that says of what type a predicate is.
pub const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";

/// Why a statement is none.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// Not JSON, or not that of a statement.
    #[error("cannot decode in-toto statement")]
    Decode(#[source] serde_json::Error),
    /// A predicate that is no JSON.
    #[error("the predicate is no JSON")]
    Predicate(#[source] serde_json::Error),
}

/// What a statement is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// What it is.
    #[serde(default)]
    pub digest: BTreeMap<String, String>,
}

impl Subject {
    /// A subject with these digests.
    pub fn new<'a>(name: &str, digests: impl IntoIterator<Item = &'a Digest>) -> Self {
        let digests = digests.into_iter();
        let digest = digests.map(|digest| (digest.algorithm().to_owned(), digest.hex().to_owned()));
        Self { name: name.to_owned(), digest: digest.collect() }
    }

    /// Its digests, as `algorithm:hex`.
    pub fn digests(&self) -> Vec<String> {
        self.digest.iter().map(|(algorithm, hex)| format!("{algorithm}:{hex}")).collect()
    }
}

/// A whole statement, as it is written.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    #[serde(rename = "predicateType")]
    predicate_type: &'a str,
    subject: &'a [Subject],
    predicate: Value,
}

/// A statement, indented. An empty predicate is none.
///
/// # Errors
///
/// If the predicate is no JSON.
pub fn statement(
    predicate_type: &str,
    subject: &[Subject],
    predicate: &[u8],
) -> Result<String, StatementError> {
    let predicate = match predicate {
        [] => Value::Null,
        text => serde_json::from_slice(text).map_err(StatementError::Predicate)?,
    };
    let written = Written { kind: STATEMENT, predicate_type, subject, predicate };
    serde_json::to_string_pretty(&written).map_err(StatementError::Predicate)
}

/// The same without white space.
///
/// # Errors
///
/// If it is no JSON.
pub fn compact(statement: &str) -> Result<String, StatementError> {
    let value: Value = serde_json::from_str(statement).map_err(StatementError::Decode)?;
    Ok(value.to_string())
}

/// A statement that someone else wrote.
#[derive(Deserialize)]
struct Read {
    #[serde(rename = "predicateType", default)]
    predicate_type: String,
    #[serde(default)]
    subject: Option<Vec<Subject>>,
    #[serde(default)]
    predicate: Value,
}

/// The predicate type, the subjects and the predicate of a statement.
///
/// # Errors
///
/// If it is none.
pub fn parse(text: &[u8]) -> Result<(String, Vec<Subject>, Vec<u8>), StatementError> {
    let read: Read = serde_json::from_slice(text).map_err(StatementError::Decode)?;
    let predicate = serde_json::to_vec(&read.predicate).map_err(StatementError::Predicate)?;
    Ok((read.predicate_type, read.subject.unwrap_or_default(), predicate))
}

/// Whether a predicate type is that of provenance, which only the builder may write.
pub fn is_provenance(predicate_type: &str) -> bool {
    predicate_type.starts_with("https://slsa.dev/provenance/")
}
