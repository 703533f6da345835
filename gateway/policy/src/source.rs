//! A source as policies see it: an identifier and its attributes.

use std::collections::BTreeMap;

use kiln_pb::pb;

/// What a build gets from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Such as `docker-image://docker.io/library/alpine:latest`; image references are normalised
    /// by whoever asks, so that a rule for `docker.io/library/alpine` also covers `alpine`.
    pub identifier: String,
    /// Attributes such as `http.checksum`.
    pub attrs: BTreeMap<String, String>,
}

impl Source {
    /// A source without attributes.
    pub fn new(identifier: impl Into<String>) -> Self {
        Self { identifier: identifier.into(), attrs: BTreeMap::new() }
    }
}

impl From<pb::SourceOp> for Source {
    fn from(op: pb::SourceOp) -> Self {
        Self { identifier: op.identifier, attrs: op.attrs }
    }
}

impl From<Source> for pb::SourceOp {
    fn from(source: Source) -> Self {
        Self { identifier: source.identifier, attrs: source.attrs }
    }
}
