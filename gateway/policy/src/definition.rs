//! The sources of a definition, and a definition with other sources in their place.
//!
//! An op is known by the digest of its bytes. When a source changes, its digest does, and with it those
//! of all that is built on it; [`replace`] renames all of them, in the metadata and the places
//! in the user's files too. It takes time in proportion to the ops and their inputs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use kiln_oci::Digest;
use kiln_pb::pb;
use prost::Message;

use crate::Source;

/// A source op of a definition.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceVertex {
    /// The digest of the op.
    pub digest: String,
    /// What it gets.
    pub source: Source,
    /// For which platform, if it says.
    pub platform: Option<pb::Platform>,
}

/// All source ops of a definition, in its order. Ops that cannot be read are none; whoever loads the
/// definition complains about them.
pub fn sources(definition: &pb::Definition) -> Vec<SourceVertex> {
    let ops = definition.def.iter().filter_map(|bytes| Some((bytes, decode(bytes)?)));
    ops.filter_map(|(bytes, op)| {
        let Some(pb::op::Op::Source(source)) = op.op else { return None };
        let digest = Digest::sha256(bytes).to_string();
        Some(SourceVertex { digest, source: source.into(), platform: op.platform })
    })
    .collect()
}

/// The definition with some of its source ops replaced; `replacements` are by digest of the op.
pub fn replace(
    definition: &pb::Definition,
    replacements: &BTreeMap<String, Source>,
) -> pb::Definition {
    let renaming = Renaming::of(definition, replacements);
    let renamed = |digest: &String| renaming.names.get(digest).unwrap_or(digest).clone();
    let mut seen = BTreeSet::new();
    let mut def: Vec<Bytes> = renaming.def.into_iter().rev().collect();
    // Two sources may have become one. The last op is the one that counts, so it stays last.
    def.retain(|bytes| seen.insert(bytes.clone()));
    def.reverse();
    let metadata = definition.metadata.iter();
    let metadata = metadata.map(|(digest, of)| (renamed(digest), of.clone())).collect();
    let source = definition.source.as_ref().map(|source| {
        let locations = source.locations.iter();
        let locations = locations.map(|(digest, of)| (renamed(digest), of.clone())).collect();
        pb::Source { locations, infos: source.infos.clone() }
    });
    pb::Definition { def, metadata, source }
}

/// The ops of a definition while they get new names.
struct Renaming {
    def: Vec<Bytes>,
    /// New digests by old ones, where they differ.
    names: BTreeMap<String, String>,
}

impl Renaming {
    /// Goes from the sources upwards, whatever order the ops came in.
    fn of(definition: &pb::Definition, replacements: &BTreeMap<String, Source>) -> Self {
        let digests: Vec<String> =
            definition.def.iter().map(|bytes| Digest::sha256(bytes).to_string()).collect();
        let places: BTreeMap<&str, usize> =
            digests.iter().enumerate().map(|(place, digest)| (digest.as_str(), place)).collect();
        let ops: Vec<Option<pb::Op>> = definition.def.iter().map(decode).collect();
        let mut users = vec![Vec::new(); ops.len()];
        let mut waits = vec![0_usize; ops.len()];
        for (user, op) in ops.iter().enumerate() {
            let inputs = op.iter().flat_map(|op| &op.inputs);
            for input in inputs.filter_map(|input| places.get(input.digest.as_str())) {
                users[*input].push(user);
                waits[user] += 1;
            }
        }
        let mut ready: VecDeque<usize> = (0..ops.len()).filter(|op| waits[*op] == 0).collect();
        let mut renaming = Self { def: definition.def.clone(), names: BTreeMap::new() };
        while let Some(place) = ready.pop_front() {
            if let Some(op) = &ops[place] {
                renaming.visit(place, &digests[place], op, replacements);
            }
            for user in &users[place] {
                waits[*user] -= 1;
                if waits[*user] == 0 {
                    ready.push_back(*user);
                }
            }
        }
        renaming
    }

    /// Writes an op anew if it, or something below it, changed.
    fn visit(
        &mut self,
        place: usize,
        digest: &str,
        op: &pb::Op,
        replacements: &BTreeMap<String, Source>,
    ) {
        let replacement = replacements.get(digest);
        let is_moved = |input: &pb::Input| self.names.contains_key(&input.digest);
        if replacement.is_none() && !op.inputs.iter().any(is_moved) {
            return;
        }
        let mut op = op.clone();
        for input in &mut op.inputs {
            if let Some(name) = self.names.get(&input.digest) {
                input.digest.clone_from(name);
            }
        }
        if let Some(source) = replacement {
            op.op = Some(pb::op::Op::Source(source.clone().into()));
        }
        self.def[place] = op.encode_to_vec().into();
        let name = Digest::sha256(&self.def[place]).to_string();
        if name != digest {
            self.names.insert(digest.to_owned(), name);
        }
    }
}

fn decode(bytes: &Bytes) -> Option<pb::Op> {
    pb::Op::decode(bytes.clone()).ok()
}
