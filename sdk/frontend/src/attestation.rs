//! Attestations: what a build claims about its own result, next to the file system it is about.
//!
//! The words are in-toto's and BuildKit's (`solver/result`). A frontend says which file of which
//! result is a statement; exporters that know attestations wrap it and put it beside the image.

use std::collections::BTreeMap;

use bytes::Bytes;

/// One claim; `R` is how the holder knows a single file system.
#[derive(Clone, Debug, PartialEq)]
pub struct Attestation<R> {
    /// What is found at `path`.
    pub kind: AttestationKind,
    /// The file system that has the file; `None` is an empty one.
    pub reference: Option<R>,
    /// The file, or for a bundle the directory, below the root of `reference`.
    pub path: String,
    /// The in-toto predicate type, such as `https://spdx.dev/Document`.
    pub predicate_type: String,
    /// What the claim is about.
    pub subjects: Vec<Subject>,
    /// More about the claim, by key, such as `attestation-reason`.
    pub metadata: BTreeMap<String, Bytes>,
}

/// What the file of an attestation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
// Complete, because who writes attestations down has to know every kind.
pub enum AttestationKind {
    /// The predicate of one in-toto statement, as JSON.
    #[default]
    InToto,
    /// A directory of whole in-toto statements.
    Bundle,
}

/// What a claim is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// How the subject is named.
    pub kind: SubjectKind,
    /// Its name; empty if it is the result itself.
    pub name: String,
    /// Its digests, as `algorithm:hex`.
    pub digests: Vec<String>,
}

/// How a subject is named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
// Complete, for the same reason.
pub enum SubjectKind {
    /// It is the result that the attestation stands beside.
    #[default]
    Itself,
    /// By name and digests.
    Raw,
}

impl<R> Attestation<R> {
    /// A predicate in a file of a result, about the result it stands beside.
    pub fn in_toto(
        reference: Option<R>,
        path: impl Into<String>,
        predicate_type: impl Into<String>,
    ) -> Self {
        Self {
            kind: AttestationKind::InToto,
            reference,
            path: path.into(),
            predicate_type: predicate_type.into(),
            subjects: vec![Subject::default()],
            metadata: BTreeMap::new(),
        }
    }

    /// Whole statements in a directory of a result.
    pub fn bundle(reference: Option<R>, path: impl Into<String>) -> Self {
        Self {
            kind: AttestationKind::Bundle,
            reference,
            path: path.into(),
            predicate_type: String::new(),
            subjects: Vec::new(),
            metadata: BTreeMap::new(),
        }
    }

    /// The same claim with its file system turned into something else.
    pub(crate) fn with_reference<S>(self, reference: Option<S>) -> Attestation<S> {
        Attestation {
            kind: self.kind,
            reference,
            path: self.path,
            predicate_type: self.predicate_type,
            subjects: self.subjects,
            metadata: self.metadata,
        }
    }
}
