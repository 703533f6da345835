//! Definitions as JSON, for people and scripts: what `buildctl debug dump-llb` prints.

use kiln_pb::gojson::Object;
use kiln_pb::pb;

use crate::{Definition, DefinitionError};

impl Definition {
    /// One line of JSON per op: the op, its digest and its metadata.
    ///
    /// # Errors
    ///
    /// [`DefinitionError::DecodeOp`] if the bytes of an op are no op.
    pub fn to_json(&self) -> Result<String, DefinitionError> {
        let mut lines = String::new();
        let unsaid = pb::OpMetadata::default();
        for op in self.decoded() {
            let (digest, op) = op?;
            let metadata = self.metadata.get(digest.as_str()).unwrap_or(&unsaid);
            let mut object = Object::open(&mut lines);
            object.message("Op", &op);
            object.text("Digest", digest.as_str());
            object.message("OpMetadata", metadata);
            object.close();
            lines.push('\n');
        }
        Ok(lines)
    }
}
