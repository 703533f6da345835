//! [`Definition`]: a marshalled graph, as it travels.

use std::collections::BTreeMap;

use bytes::Bytes;
use kiln_oci::Digest;
use kiln_pb::pb;
use prost::Message as _;

use crate::DefinitionError;
use crate::encode::Canonical as _;

/// A graph as bytes: each op on its own, the last one saying which output is meant.
///
/// With the feature `pb` it also has the messages of the protocol: what is said about each op, and
/// where the ops come from in the user's files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Definition {
    /// The ops, each after its inputs.
    pub def: Vec<Bytes>,
    /// What is said about an op, by the digest of its bytes.
    #[cfg(feature = "pb")]
    pub metadata: BTreeMap<String, pb::OpMetadata>,
    #[cfg(not(feature = "pb"))]
    pub(crate) metadata: BTreeMap<String, pb::OpMetadata>,
    /// Where the ops come from in the user's files.
    #[cfg(feature = "pb")]
    pub source: Option<pb::Source>,
    #[cfg(not(feature = "pb"))]
    pub(crate) source: Option<pb::Source>,
}

impl Definition {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_message().to_canonical()
    }

    /// Reads a definition, in canonical bytes or not.
    ///
    /// # Errors
    ///
    /// [`DefinitionError::Decode`] if the bytes are no definition. The ops are not looked at.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DefinitionError> {
        let message = pb::Definition::decode(bytes);
        message.map(Self::from_message).map_err(|error| DefinitionError::Decode(error.into()))
    }

    /// Lets ops that are in `other`, too, need all that they need there.
    ///
    /// An op is the same in both graphs, but what is said about it may have been said in one only.
    pub fn add_capabilities_of(&mut self, other: &Self) {
        for (op, said) in &mut self.metadata {
            if let Some(there) = other.metadata.get(op) {
                said.caps.extend(there.caps.iter().map(|(name, needed)| (name.clone(), *needed)));
            }
        }
    }

    /// Whether there is nothing to make.
    pub fn is_empty(&self) -> bool {
        self.def.is_empty()
    }

    /// How many ops there are, with the one that says which output is meant.
    pub fn len(&self) -> usize {
        self.def.len()
    }

    /// Whether anything is said about an op.
    pub fn has_metadata(&self) -> bool {
        !self.metadata.is_empty()
    }

    /// The digests of the ops, in order.
    pub fn digests(&self) -> impl Iterator<Item = Digest> {
        self.def.iter().map(Digest::sha256)
    }

    /// The op and output that the graph is there for, by digest and index; nothing if it is empty.
    ///
    /// # Errors
    ///
    /// [`DefinitionError`] if the last op does not decode or has no input.
    pub fn head(&self) -> Result<Option<(String, i64)>, DefinitionError> {
        let Some(last) = self.def.last() else { return Ok(None) };
        let op = decode_op(last)?;
        match op.inputs.into_iter().next() {
            Some(input) => Ok(Some((input.digest, input.index))),
            None => Err(DefinitionError::NoTerminal(Digest::sha256(last))),
        }
    }

    pub(crate) fn from_message(message: pb::Definition) -> Self {
        let pb::Definition { def, metadata, source } = message;
        Self { def, metadata, source }
    }

    pub(crate) fn to_message(&self) -> pb::Definition {
        self.clone().into_message()
    }

    pub(crate) fn into_message(self) -> pb::Definition {
        let Self { def, metadata, source } = self;
        pb::Definition { def, metadata, source }
    }

    pub(crate) fn decoded(
        &self,
    ) -> impl Iterator<Item = Result<(Digest, pb::Op), DefinitionError>> {
        self.def.iter().map(|bytes| Ok((Digest::sha256(bytes), decode_op(bytes)?)))
    }
}

/// An op of its bytes.
pub(crate) fn decode_op(bytes: &Bytes) -> Result<pb::Op, DefinitionError> {
    pb::Op::decode(bytes.clone()).map_err(|error| {
        let digest = Digest::sha256(bytes);
        DefinitionError::DecodeOp { digest, source: error.into() }
    })
}
