//! From an op to how its vertex is keyed.

use kiln_oci::Platform;
use kiln_pb::pb;
use kiln_pb::pb::op::Op as Kind;

use crate::map::{CacheMap, KeyError};
use crate::{compose, exec, file};

/// How the vertex of an op is keyed.
///
/// `platform` is the one the op is for after the worker's default was filled in, normalized. Linear
/// in the size of the op.
///
/// # Errors
///
/// [`KeyError`] for an op that cannot be keyed. A source is not, because its key depends on what is
/// found outside; see [`crate::source`].
pub fn cache_map(op: &pb::Op, platform: &Platform) -> Result<CacheMap, KeyError> {
    let inputs = op.inputs.len();
    match &op.op {
        Some(Kind::Exec(op)) => exec::cache_map(op, platform, inputs),
        Some(Kind::File(op)) => file::cache_map(op, inputs),
        Some(Kind::Merge(op)) => Ok(compose::merge(op, inputs)),
        Some(Kind::Diff(op)) => Ok(compose::diff(op, inputs)),
        Some(Kind::Build(op)) => Ok(compose::build(op, inputs)),
        Some(Kind::Passthrough(op)) => Ok(compose::passthrough(op, inputs)),
        Some(Kind::Source(_)) => Err(KeyError::Missing("what its source holds")),
        None => Err(KeyError::Missing("a kind")),
    }
}
