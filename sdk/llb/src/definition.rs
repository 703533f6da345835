//! [`Definition`]: a marshalled graph, as it travels.

use std::collections::BTreeMap;

use kiln_oci::Digest;
use kiln_pb::pb;
use prost::Message as _;
use prost::bytes::Bytes;

use crate::DefinitionError;
use crate::encode::Canonical as _;

/// A graph as bytes: each op on its own, the last one saying which output is meant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Definition {
    /// The ops, each after its inputs.
    pub def: Vec<Bytes>,
    /// What is said about an op, by the digest of its bytes.
    pub metadata: BTreeMap<String, pb::OpMetadata>,
    /// Where the ops come from in the user's files.
    pub source: Option<pb::Source>,
}

impl Definition {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        pb::Definition::from(self.clone()).to_canonical()
    }

    /// Reads a definition, in canonical bytes or not.
    ///
    /// # Errors
    ///
    /// [`DefinitionError::Decode`] if the bytes are no definition. The ops are not looked at.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DefinitionError> {
        pb::Definition::decode(bytes).map(Self::from).map_err(DefinitionError::Decode)
    }

    /// Whether there is nothing to make.
    pub fn is_empty(&self) -> bool {
        self.def.is_empty()
    }

    /// The ops with their digests, in order. An op whose bytes do not decode ends up as an error.
    pub fn ops(&self) -> impl Iterator<Item = Result<(Digest, pb::Op), DefinitionError>> {
        self.def.iter().map(|bytes| {
            let digest = Digest::sha256(bytes);
            match pb::Op::decode(bytes.clone()) {
                Ok(op) => Ok((digest, op)),
                Err(source) => Err(DefinitionError::DecodeOp { digest, source }),
            }
        })
    }

    /// The op and output that the graph is there for, by digest and index; nothing if it is empty.
    ///
    /// # Errors
    ///
    /// [`DefinitionError`] if the last op does not decode or has no input.
    pub fn head(&self) -> Result<Option<(String, i64)>, DefinitionError> {
        let Some(last) = self.def.last() else { return Ok(None) };
        let digest = Digest::sha256(last);
        match pb::Op::decode(last.clone()) {
            Err(source) => Err(DefinitionError::DecodeOp { digest, source }),
            Ok(op) => match op.inputs.into_iter().next() {
                Some(input) => Ok(Some((input.digest, input.index))),
                None => Err(DefinitionError::NoTerminal(digest)),
            },
        }
    }
}

impl From<Definition> for pb::Definition {
    fn from(definition: Definition) -> Self {
        let Definition { def, metadata, source } = definition;
        Self { def, metadata, source }
    }
}

impl From<pb::Definition> for Definition {
    fn from(definition: pb::Definition) -> Self {
        let pb::Definition { def, metadata, source } = definition;
        Self { def, metadata, source }
    }
}
