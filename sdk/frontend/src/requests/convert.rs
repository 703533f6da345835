//! `frontend.convertllb`: the graph that a file becomes, without building it.

use std::collections::BTreeMap;

use kiln_llb::{Definition, DefinitionError};
use kiln_wire::pb;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::answer::result;
use crate::protobuf_json::ProtobufJson as _;
use crate::{BuildResult, FrontendError, Ref};

/// A graph as an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ConvertedLlb {
    def: BTreeMap<String, Value>,
    metadata: BTreeMap<String, Value>,
    source: Value,
}

impl ConvertedLlb {
    /// A graph as an answer.
    ///
    /// # Errors
    ///
    /// If an op of the graph does not decode.
    pub fn new(definition: &Definition) -> Result<Self, FrontendError> {
        let malformed = |error: DefinitionError| FrontendError::internal(error.to_string());
        let mut def = BTreeMap::new();
        for op in kiln_llb::wire::ops(definition) {
            let (digest, op) = op.map_err(malformed)?;
            def.insert(digest.to_string(), op.to_json());
        }
        let message = kiln_llb::wire::to_message(definition.clone());
        let said = message.metadata.iter();
        let metadata = said.map(|(digest, metadata)| (digest.clone(), plain(metadata))).collect();
        let source = message.source.as_ref().map_or_else(|| json!({}), |source| source.to_json());
        Ok(Self { def, metadata, source })
    }

    /// The answer.
    pub fn to_result(&self) -> BuildResult<Ref> {
        result(self, None, "0.1.0")
    }
}

/// What is said about an op, under the names that its fields have in the schema.
fn plain(metadata: &pb::OpMetadata) -> Value {
    let mut plain = Map::new();
    if metadata.ignore_cache {
        plain.insert("ignore_cache".into(), true.into());
    }
    if !metadata.description.is_empty() {
        plain.insert("description".into(), json!(metadata.description));
    }
    if let Some(export) = &metadata.export_cache {
        plain.insert("export_cache".into(), export.to_json());
    }
    if !metadata.caps.is_empty() {
        plain.insert("caps".into(), json!(metadata.caps));
    }
    if let Some(group) = &metadata.progress_group {
        plain.insert("progress_group".into(), group.to_json());
    }
    if let Some(limits) = &metadata.linux_resources {
        let fields = json!({
            "memory": limits.memory,
            "memory_swap": limits.memory_swap,
            "cpu_shares": limits.cpu_shares,
            "cpu_period": limits.cpu_period,
            "cpu_quota": limits.cpu_quota,
            "cpuset_cpus": limits.cpuset_cpus,
            "cpuset_mems": limits.cpuset_mems,
        });
        let set = fields.as_object().into_iter().flatten();
        let set = set.filter(|(_, value)| **value != json!(0) && **value != json!(""));
        let set: Map<String, Value> =
            set.map(|(name, value)| (name.clone(), value.clone())).collect();
        plain.insert("linux_resources".into(), set.into());
    }
    plain.into()
}
