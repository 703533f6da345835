//! The nodes of a graph under construction, and what points at them.
//!
//! A [`Vertex`] is an op that is not yet bytes: its inputs are other vertices, shared by reference
//! counting. An [`Output`] is one result of a vertex. Both are private; users hold a `State`.

use std::fmt;
use std::sync::Arc;

use kiln_oci::Platform;

use crate::deferred::Deferred;
use crate::embedded::Embedded;
use crate::exec::ExecVertex;
use crate::file::FileVertex;
use crate::marshal::MarshalError;
use crate::source::{SourceError, SourceVertex};
use crate::{Constraints, State};

/// An op, its inputs, and what is said about it.
pub(crate) struct Vertex {
    pub(crate) kind: Kind,
    /// In the order in which they are emitted; kinds refer to them by index.
    pub(crate) inputs: Vec<Output>,
    pub(crate) constraints: Constraints,
}

/// What a vertex does.
pub(crate) enum Kind {
    Source(SourceVertex),
    InvalidSource(SourceError),
    Exec(Box<ExecVertex>),
    File(FileVertex),
    Build { filename: String },
    Merge,
    Diff { lower: Option<usize>, upper: Option<usize> },
    Passthrough { id: String, outputs: Vec<usize> },
    Embedded(Embedded),
    EmptyDefinition,
}

impl Vertex {
    pub(crate) fn new(kind: Kind, inputs: Vec<Output>, constraints: Constraints) -> Arc<Self> {
        Arc::new(Self { kind, inputs, constraints })
    }

    /// One of the results of this vertex, which carries the platform the vertex was given.
    pub(crate) fn output(self: &Arc<Self>, port: Port) -> Output {
        let platform = self.constraints.platform.clone().map(Arc::new);
        Output::Of { vertex: Arc::clone(self), port, platform }
    }

    /// One of the results of this vertex, without a platform of its own.
    pub(crate) fn plain_output(self: &Arc<Self>, port: Port) -> Output {
        Output::Of { vertex: Arc::clone(self), port, platform: None }
    }
}

impl Drop for Vertex {
    /// Takes a graph apart with a list instead of the call stack: chains may be of any length.
    fn drop(&mut self) {
        let mut pending = std::mem::take(&mut self.inputs);
        while let Some(output) = pending.pop() {
            let Output::Of { vertex, .. } = output else { continue };
            if let Some(mut vertex) = Arc::into_inner(vertex) {
                pending.append(&mut vertex.inputs);
            }
        }
    }
}

impl fmt::Debug for Vertex {
    /// Shows this vertex only: a graph may be deep.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match &self.kind {
            Kind::Source(source) => return write!(f, "{}", source.identifier),
            Kind::InvalidSource(error) => return write!(f, "invalid source ({error})"),
            Kind::Exec(_) => "exec",
            Kind::File(_) => "file",
            Kind::Build { .. } => "build",
            Kind::Merge => "merge",
            Kind::Diff { .. } => "diff",
            Kind::Passthrough { .. } => "passthrough",
            Kind::Embedded(embedded) => return write!(f, "op {}", embedded.digest),
            Kind::EmptyDefinition => "empty definition",
        };
        write!(f, "{name} of {} inputs", self.inputs.len())
    }
}

/// One result of a vertex.
#[derive(Clone, Debug)]
pub(crate) enum Output {
    Of { vertex: Arc<Vertex>, port: Port, platform: Option<Arc<Platform>> },
    Deferred(Arc<Deferred>),
}

impl Output {
    /// The platform a state on this output has, before it is told otherwise.
    pub(crate) fn platform(&self) -> Option<&Platform> {
        match self {
            Self::Of { platform, .. } => platform.as_deref(),
            Self::Deferred(_) => None,
        }
    }

    /// Whether both are the same result of the same vertex.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Of { vertex: a, port: p, .. }, Self::Of { vertex: b, port: q, .. }) => {
                Arc::ptr_eq(a, b) && p == q
            }
            (Self::Deferred(a), Self::Deferred(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// Which result of a vertex, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Port {
    Index(i64),
    Tmpfs(String),
    NoOutput(String),
    Cache(String),
    Missing(usize),
}

impl Port {
    pub(crate) fn index(&self) -> Result<i64, MarshalError> {
        match self {
            Self::Index(index) => Ok(*index),
            Self::Tmpfs(target) => Err(MarshalError::TmpfsOutput(target.clone())),
            Self::NoOutput(target) => Err(MarshalError::NoOutput(target.clone())),
            Self::Cache(target) => Err(MarshalError::CacheOutput(target.clone())),
            Self::Missing(index) => Err(MarshalError::PassthroughOutput(*index)),
        }
    }
}

/// The outputs of states, for vertices that name their inputs by index.
#[derive(Default)]
pub(crate) struct InputList(pub(crate) Vec<Output>);

impl InputList {
    /// Adds the output of a state and returns its index; scratch has none.
    pub(crate) fn add(&mut self, state: &State) -> Option<usize> {
        state.output.as_ref().map(|output| {
            self.0.push(output.clone());
            self.0.len() - 1
        })
    }
}
