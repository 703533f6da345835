//! Definitions as JSON, in the shape that recorded answers have.
//!
//! A definition becomes its ops (digest, bytes, protobuf JSON), its terminal and the digest of the
//! whole. Progress groups get ids in the order of their first use before the digest is taken,
//! because frontends draw those ids at random.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_llb::{Definition, DefinitionError};
use kiln_oci::Digest;
use kiln_wire::pb;
use serde_json::{Map, Value, json};

use kiln_frontend::protobuf_json::ProtobufJson as _;

/// An op in the protobuf JSON mapping, keys sorted.
pub fn op(op: &pb::Op) -> Value {
    op.to_json()
}

/// What is said about an op, in the protobuf JSON mapping, keys sorted.
pub fn metadata(metadata: &pb::OpMetadata) -> Value {
    metadata.to_json()
}

/// `ops`, `terminal` and `definition_sha256` of a definition.
///
/// # Errors
///
/// If the bytes of an op are no op.
pub fn definition(definition: &Definition) -> Result<Map<String, Value>, DefinitionError> {
    let definition = with_stable_groups(definition);
    let mut ops = Vec::with_capacity(definition.def.len());
    for (bytes, decoded) in definition.def.iter().zip(definition.ops()) {
        let (digest, decoded) = decoded?;
        let said = definition.metadata.get(digest.as_str()).cloned().unwrap_or_default();
        ops.push(json!({
            "digest": digest.as_str(),
            "op_base64": STANDARD.encode(bytes),
            "op_json": op(&decoded),
            "metadata_json": metadata(&said),
        }));
    }
    let terminal =
        definition.head()?.map(|(digest, index)| json!({"digest": digest, "index": index}));
    let digest = Digest::sha256(definition.to_bytes());
    Ok([
        ("ops".to_owned(), ops.into()),
        ("terminal".to_owned(), terminal.into()),
        ("definition_sha256".to_owned(), digest.as_str().into()),
    ]
    .into_iter()
    .collect())
}

/// The source maps of a definition: files by the digest of their data, and the places of each op.
pub fn source(source: &pb::Source) -> Value {
    let infos: Vec<Value> = source.infos.iter().map(source_info).collect();
    let locations: Map<String, Value> = source
        .locations
        .iter()
        .map(|(digest, places)| {
            let places = places.locations.iter();
            let places = places
                .map(|l| json!({"source_index": l.source_index, "ranges": ranges(&l.ranges)}));
            (digest.clone(), places.collect())
        })
        .collect();
    json!({"infos": infos, "locations": locations})
}

fn source_info(info: &pb::SourceInfo) -> Value {
    let mut rendered = json!({
        "filename": info.filename,
        "language": info.language,
        "data_sha256": Digest::sha256(&info.data).as_str(),
    });
    if let Some(definition) = &info.definition {
        let bytes = Definition::from(definition.clone()).to_bytes();
        rendered["definition_sha256"] = Digest::sha256(bytes).as_str().into();
    }
    rendered
}

/// Ranges of a file with every number written out.
pub fn ranges(ranges: &[pb::Range]) -> Value {
    let position = |position: Option<&pb::Position>| {
        let position = position.copied().unwrap_or_default();
        json!({"line": position.line, "character": position.character})
    };
    ranges
        .iter()
        .map(|r| json!({"start": position(r.start.as_ref()), "end": position(r.end.as_ref())}))
        .collect()
}

/// The same definition with progress groups called `pg0`, `pg1` and so on, by first use.
pub fn with_stable_groups(definition: &Definition) -> Definition {
    let mut definition = definition.clone();
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for bytes in &definition.def {
        let digest = Digest::sha256(bytes);
        let Some(said) = definition.metadata.get_mut(digest.as_str()) else { continue };
        let Some(group) = &mut said.progress_group else { continue };
        let next = format!("pg{}", names.len());
        group.id = names.entry(std::mem::take(&mut group.id)).or_insert(next).clone();
    }
    definition
}
