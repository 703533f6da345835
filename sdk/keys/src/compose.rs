//! Operations that count as they stand: merge, diff, build and passthrough.

use kiln_oci::Digest;
use kiln_pb::gojson::{Json, Object};
use kiln_pb::pb;

use crate::map::CacheMap;

pub(crate) fn merge(op: &pb::MergeOp, inputs: usize) -> CacheMap {
    whole("buildkit.merge.v0", "Merge", op, inputs)
}

pub(crate) fn diff(op: &pb::DiffOp, inputs: usize) -> CacheMap {
    whole("buildkit.diff.v0", "Diff", op, inputs)
}

/// The field is called `Exec` in BuildKit, and so it is here.
pub(crate) fn build(op: &pb::BuildOp, inputs: usize) -> CacheMap {
    whole("buildkit.build.v0", "Exec", op, inputs)
}

pub(crate) fn passthrough(op: &pb::PassthroughOp, inputs: usize) -> CacheMap {
    whole("buildkit.passthrough.v0", "Passthrough", op, inputs)
}

fn whole(kind: &str, name: &str, op: &impl Json, inputs: usize) -> CacheMap {
    let mut json = String::new();
    let mut object = Object::open(&mut json);
    object.text("Type", kind);
    object.message(name, op);
    object.close();
    CacheMap::plain(Digest::sha256(json), inputs)
}
