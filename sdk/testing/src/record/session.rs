//! The session of a graph, under another name.
//!
//! A client's session has a random id, and graphs may carry it in their local sources. In a
//! recording it has one fixed name, so the id has to be put back before a daemon sees the graph.
//! That changes the digests of ops, and everything that refers to them follows.

use std::collections::BTreeMap;

use kiln_oci::Digest;
use kiln_wire::pb;
use kiln_wire::pb::op::Op as Kind;
use prost::Message as _;

/// What the session is called in recordings.
pub(crate) const SESSION: &str = "recorded-session";

/// The same graph with a session renamed, and the new digests by the old ones.
///
/// What does not decode stays as it is: whoever solves the graph will say so better.
pub(crate) fn renamed(
    definition: pb::Definition,
    from: &str,
    to: &str,
) -> (pb::Definition, BTreeMap<String, String>) {
    let mut digests = BTreeMap::new();
    if from == to || from.is_empty() {
        return (definition, digests);
    }
    let mut def = Vec::with_capacity(definition.def.len());
    for bytes in definition.def {
        let before = Digest::sha256(&bytes).to_string();
        let bytes = match pb::Op::decode(bytes.clone()) {
            Ok(op) => changed(op, from, to, &digests).map_or(bytes, |op| {
                use kiln_llb::encode::Canonical as _;
                op.to_canonical().into()
            }),
            Err(_) => bytes,
        };
        let after = Digest::sha256(&bytes).to_string();
        if before != after {
            digests.insert(before, after);
        }
        def.push(bytes);
    }
    let name = |digest: String| digests.get(&digest).cloned().unwrap_or(digest);
    let metadata = definition.metadata.into_iter().map(|(digest, said)| (name(digest), said));
    let metadata = metadata.collect();
    let source = definition.source.map(|source| pb::Source {
        locations: source.locations.into_iter().map(|(d, places)| (name(d), places)).collect(),
        infos: source.infos.into_iter().map(|info| file_renamed(info, from, to)).collect(),
    });
    (pb::Definition { def, metadata, source }, digests)
}

/// A file of a source map, which may say by which graph it was read.
fn file_renamed(mut info: pb::SourceInfo, from: &str, to: &str) -> pb::SourceInfo {
    info.definition = info.definition.map(|definition| renamed(definition, from, to).0);
    info
}

/// The op with its inputs and its session renamed; nothing if there is nothing to rename.
fn changed(
    mut op: pb::Op,
    from: &str,
    to: &str,
    digests: &BTreeMap<String, String>,
) -> Option<pb::Op> {
    let mut is_changed = false;
    for input in &mut op.inputs {
        if let Some(after) = digests.get(&input.digest) {
            input.digest.clone_from(after);
            is_changed = true;
        }
    }
    if let Some(Kind::Source(source)) = &mut op.op {
        for value in source.attrs.values_mut().filter(|value| *value == from) {
            to.clone_into(value);
            is_changed = true;
        }
    }
    is_changed.then_some(op)
}
