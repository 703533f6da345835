//! From an op to how its vertex is keyed.

use kiln_oci::{Digest, Platform};
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
    let map = plain(op, platform)?;
    Ok(CacheMap { digest: with_own_filters(op, map.digest), ..map })
}

/// An op as far as it counts for its key: two ops that are equal in this are keyed the same, up to the
/// platform of a process, the worker filters, and what is read of the inputs. A source comes back as it
/// is, because what counts of it is what was found; see [`crate::source`].
///
/// # Errors
///
/// [`KeyError`] for a process without a command.
pub fn counted(op: &pb::Op) -> Result<pb::Op, KeyError> {
    let kind = match &op.op {
        Some(Kind::Exec(exec)) => Some(Kind::Exec(exec::counted(exec)?)),
        Some(Kind::File(file)) => Some(Kind::File(file::counted(file, op.inputs.len()))),
        other => other.clone(),
    };
    Ok(pb::Op { op: kind, ..op.clone() })
}

/// The prefix of worker filters that ask for behaviour which BuildKit does not have.
const OWN_FILTERS: &str = "kiln.";

/// Where a worker may do an op is not part of its key, but a filter of Kiln's own changes what the op
/// makes, so that BuildKit's key must not be its key.
fn with_own_filters(op: &pb::Op, digest: Digest) -> Digest {
    let own = own_filters(op);
    match own.is_empty() {
        true => digest,
        false => Digest::sha256(format!("{digest}\n{}", own.join("\n"))),
    }
}

/// The worker filters that are part of a key, each once, in order.
pub fn own_filters(op: &pb::Op) -> Vec<&str> {
    let filters = op.constraints.iter().flat_map(|constraints| &constraints.filter);
    let mut own: Vec<&str> =
        filters.map(String::as_str).filter(|text| text.starts_with(OWN_FILTERS)).collect();
    own.sort_unstable();
    own.dedup();
    own
}

fn plain(op: &pb::Op, platform: &Platform) -> Result<CacheMap, KeyError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_filters_do_not_count_but_those_that_change_the_work() {
        let key = |filters: &[&str]| {
            let filter = filters.iter().map(|filter| (*filter).to_owned()).collect();
            let op = pb::Op {
                op: Some(Kind::Merge(pb::MergeOp::default())),
                constraints: Some(pb::WorkerConstraints { filter }),
                ..pb::Op::default()
            };
            cache_map(&op, &Platform::default()).unwrap().digest
        };
        assert_eq!(key(&["gpu==true"]), key(&[]));
        assert_ne!(key(&["kiln.unpack==zip"]), key(&[]));
        assert_eq!(key(&["kiln.unpack==zip", "gpu==true"]), key(&["kiln.unpack==zip"]));
    }
}
