//! Definitions as states: ops that are bytes already, with new ops on top.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kiln_oci::Digest;
use kiln_pb::pb;

use crate::constraints::{SourceFile, SourceLocation, SourceMap};
use crate::deferred::BoxError;
use crate::definition::decode_op;
use crate::vertex::{Kind, Output, Port, Vertex};
use crate::wire::range_from_message;
use crate::{Constraints, Definition, State};

/// How many definitions of source files may stand in each other.
const MAX_NESTING: usize = 16;

/// An op that is bytes already.
pub(crate) struct Embedded {
    pub(crate) digest: Digest,
    pub(crate) bytes: Bytes,
    pub(crate) metadata: pb::OpMetadata,
}

/// Why a definition is no state.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DefinitionError {
    /// The bytes are not the message they claim to be.
    #[error("definition does not decode")]
    Decode(#[source] BoxError),
    /// The bytes of an op are not the message they claim to be.
    #[error("op {digest} does not decode")]
    DecodeOp {
        /// The op.
        digest: Digest,
        /// What is wrong.
        source: BoxError,
    },
    /// An op reads one that the definition does not have.
    #[error("op {op} reads {input}, which the definition does not contain")]
    MissingInput {
        /// The op that reads.
        op: Digest,
        /// What it reads.
        input: String,
    },
    /// The last op does not say which output is meant.
    #[error("definition ends with {0}, which has no input")]
    NoTerminal(Digest),
    /// A location names a source file that is not there.
    #[error("location names source file {0}, which the definition does not contain")]
    MissingSource(i32),
    /// Source files with definitions with source files, and so on.
    #[error("definitions of source files are nested more than {MAX_NESTING} deep")]
    Nesting,
}

impl State {
    /// The state a definition makes, to put more ops on. Its ops keep their bytes.
    ///
    /// As with BuildKit, the state does not know its platform, and a definition without ops cannot
    /// be marshalled again.
    ///
    /// # Errors
    ///
    /// [`DefinitionError`] if the definition does not fit together.
    pub fn from_definition(definition: &Definition) -> Result<Self, DefinitionError> {
        state(definition, MAX_NESTING)
    }
}

fn state(definition: &Definition, nesting: usize) -> Result<State, DefinitionError> {
    let Some(last) = definition.def.last() else {
        let vertex = Vertex::new(Kind::EmptyDefinition, Vec::new(), Constraints::default());
        return Ok(State::on(vertex.plain_output(Port::Index(0))));
    };
    let terminal = decode_op(last)?;
    let mut builder = Builder {
        ops: BTreeMap::new(),
        locations: locations(definition, nesting)?,
        definition,
        vertices: BTreeMap::new(),
    };
    for bytes in &definition.def {
        builder.ops.insert(Digest::sha256(bytes).to_string(), bytes.clone());
    }
    let digest = Digest::sha256(last);
    let Some(input) = terminal.inputs.first() else {
        return Err(DefinitionError::NoTerminal(digest));
    };
    let vertex = builder.vertex(&digest, &input.digest)?;
    Ok(State::on(vertex.plain_output(Port::Index(input.index))))
}

/// Makes vertices of ops, inputs first.
struct Builder<'a> {
    ops: BTreeMap<String, Bytes>,
    locations: BTreeMap<String, Vec<SourceLocation>>,
    definition: &'a Definition,
    vertices: BTreeMap<String, Arc<Vertex>>,
}

impl Builder<'_> {
    /// The vertex of an op. A stack of our own: the definition comes from afar and may be deep.
    fn vertex(&mut self, reader: &Digest, wanted: &str) -> Result<Arc<Vertex>, DefinitionError> {
        let mut open: Vec<(String, pb::Op)> = vec![(wanted.into(), self.op(reader, wanted)?)];
        while let Some((digest, op)) = open.pop() {
            if self.vertices.contains_key(&digest) {
                continue;
            }
            let missing = op.inputs.iter().map(|input| &input.digest);
            let missing: Vec<_> =
                missing.filter(|digest| !self.vertices.contains_key(*digest)).cloned().collect();
            if !missing.is_empty() {
                let reader = parsed(&digest);
                open.push((digest, op));
                for input in missing {
                    let op = self.op(&reader, &input)?;
                    open.push((input, op));
                }
                continue;
            }
            let vertex = self.finish(&digest, &op);
            self.vertices.insert(digest, vertex);
        }
        self.vertices.get(wanted).cloned().ok_or_else(|| DefinitionError::MissingInput {
            op: reader.clone(),
            input: wanted.into(),
        })
    }

    fn op(&self, reader: &Digest, wanted: &str) -> Result<pb::Op, DefinitionError> {
        let bytes = self.ops.get(wanted).ok_or_else(|| DefinitionError::MissingInput {
            op: reader.clone(),
            input: wanted.chars().take(160).collect(),
        })?;
        decode_op(bytes)
    }

    fn finish(&mut self, digest: &str, op: &pb::Op) -> Arc<Vertex> {
        let bytes = self.ops.get(digest).cloned().unwrap_or_default();
        let metadata = self.definition.metadata.get(digest).cloned().unwrap_or_default();
        let inputs = op.inputs.iter().filter_map(|input| {
            let vertex = self.vertices.get(&input.digest)?;
            Some(vertex.plain_output(Port::Index(input.index)))
        });
        let inputs: Vec<Output> = inputs.collect();
        let locations = self.locations.remove(digest).unwrap_or_default();
        let embedded = Embedded { digest: parsed(digest), bytes, metadata };
        let constraints = Constraints { locations, ..Constraints::default() };
        Vertex::new(Kind::Embedded(embedded), inputs, constraints)
    }
}

/// A digest that this file computed itself.
fn parsed(digest: &str) -> Digest {
    digest.parse().unwrap_or_else(|_| Digest::sha256(digest))
}

fn locations(
    definition: &Definition,
    nesting: usize,
) -> Result<BTreeMap<String, Vec<SourceLocation>>, DefinitionError> {
    let Some(source) = &definition.source else { return Ok(BTreeMap::new()) };
    let mut maps = Vec::with_capacity(source.infos.len());
    for info in &source.infos {
        let state = match &info.definition {
            Some(definition) => {
                let below = nesting.checked_sub(1).ok_or(DefinitionError::Nesting)?;
                Some(state(&Definition::from_message(definition.clone()), below)?)
            }
            None => None,
        };
        maps.push(SourceMap::from(SourceFile {
            filename: info.filename.clone(),
            language: info.language.clone(),
            data: info.data.to_vec(),
            state,
        }));
    }
    let mut all = BTreeMap::new();
    for (digest, locations) in &source.locations {
        let located = locations.locations.iter().map(|location| {
            let map = usize::try_from(location.source_index).ok().and_then(|index| maps.get(index));
            let map = map.ok_or(DefinitionError::MissingSource(location.source_index))?;
            let ranges = location.ranges.iter().map(range_from_message).collect();
            Ok(SourceLocation { map: map.clone(), ranges })
        });
        all.insert(digest.clone(), located.collect::<Result<_, DefinitionError>>()?);
    }
    Ok(all)
}
