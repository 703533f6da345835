//! Where trees and files come from: images, git, http, local directories, OCI layouts.
//!
//! Options come in; an identifier, attributes and the capabilities they need go out. A source that
//! cannot be is remembered as such and fails when the graph is marshalled.

mod blob;
mod git;
mod http;
mod image;
mod local;
mod oci_layout;

use std::collections::BTreeMap;

use kiln_oci::ReferenceError;

use crate::vertex::{Kind, Port, Vertex};
use crate::{Constraints, FileMode, State};

pub use blob::Blob;
pub use git::{Git, GitBundle, GitSignature};
pub use http::{Http, HttpHeader, HttpSignature};
pub use image::{Image, ImageMeta, ResolveMode};
pub use local::{Differ, DifferKind, Local, MetadataOnly};
pub use oci_layout::{OciLayout, OciStore};

/// A source whose identifier is known.
#[derive(Debug, Default)]
pub(crate) struct SourceVertex {
    pub(crate) identifier: String,
    pub(crate) attrs: BTreeMap<String, String>,
    pub(crate) caps: Vec<&'static str>,
}

/// Why a source cannot be.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceError {
    /// The repository of an image has upper-case letters.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    UpperCaseRepository(String),
    /// The reference of an image is not one.
    #[error("invalid reference format")]
    Reference(#[source] ReferenceError),
    /// A blob is named without the digest of its bytes.
    #[error("checksum required in blob reference")]
    BlobWithoutDigest,
    /// A blob is named by tag.
    #[error("tagged image reference not allowed for blob reference")]
    BlobWithTag,
}

impl From<ReferenceError> for SourceError {
    fn from(error: ReferenceError) -> Self {
        match error {
            ReferenceError::Upper(repository) => Self::UpperCaseRepository(repository),
            error => Self::Reference(error),
        }
    }
}

impl SourceVertex {
    fn new(cap: &'static str) -> Self {
        Self { caps: vec![cap], ..Self::default() }
    }

    /// Sets an attribute unless its value is empty, and says whether it did.
    fn set(&mut self, name: &str, value: impl Into<String>) -> bool {
        let value = value.into();
        let there = !value.is_empty();
        if there {
            self.attrs.insert(name.into(), value);
        }
        there
    }

    /// Sets an attribute that needs a capability, unless its value is empty.
    fn set_capable(&mut self, name: &str, value: impl Into<String>, cap: &'static str) {
        if self.set(name, value) {
            self.caps.push(cap);
        }
    }

    /// Sets an attribute to a JSON list, unless the list is empty.
    fn set_list(&mut self, name: &str, values: &[String], cap: &'static str) {
        if !values.is_empty() {
            self.set_capable(name, kiln_pb::gojson::list(values), cap);
        }
    }

    fn state(self, constraints: Constraints) -> State {
        let vertex = Vertex::new(Kind::Source(self), Vec::new(), constraints);
        State::on(vertex.output(Port::Index(0)))
    }
}

/// A state that fails when it is marshalled.
fn invalid(error: SourceError) -> State {
    let vertex = Vertex::new(Kind::InvalidSource(error), Vec::new(), Constraints::default());
    State::on(vertex.output(Port::Index(0)))
}

fn flag(value: bool) -> &'static str {
    if value { "true" } else { "" }
}

/// File permissions as attributes spell them: `0` and octal digits.
fn permissions(mode: Option<FileMode>) -> String {
    mode.map(|mode| FileMode::new(mode.bits() & 0o777).to_string()).unwrap_or_default()
}

/// An owner as attributes spell it; root is left out.
fn owner(id: u32) -> String {
    if id == 0 { String::new() } else { id.to_string() }
}
