//! An op as facts: everything that its cache key is taken over, in words.
//!
//! What does not count, such as the addresses of hosts or the id of a cache mount, is left out, as
//! [`kiln_keys::counted`] leaves it out. Two ops have equal facts exactly if they have equal keys;
//! `tests.rs` holds that against recorded ops.

mod exec;
mod file;
mod source;

use kiln_keys::KeyError;
use kiln_oci::Platform;
use kiln_pb::gojson::Json as _;
use kiln_pb::pb;
use kiln_pb::pb::op::Op as Kind;

use crate::fact::{Fact, What};

pub use source::Found;

/// What counts of an op. `platform` is the one it is for, normalized; `found` is what a source was
/// resolved to, if that is known.
///
/// # Errors
///
/// [`KeyError`] for an op that has no key.
pub fn facts(
    op: &pb::Op,
    platform: &Platform,
    found: Option<&Found>,
) -> Result<Vec<Fact>, KeyError> {
    let counted = kiln_keys::counted(op)?;
    let mut facts = match &counted.op {
        Some(Kind::Exec(exec)) => exec::facts(exec, platform),
        Some(Kind::File(file)) => file::facts(file, op),
        Some(Kind::Source(source)) => source::facts(source, platform, found),
        Some(Kind::Merge(merge)) => vec![Fact::named(What::Operation, "merge", merge.to_json())],
        Some(Kind::Diff(diff)) => vec![Fact::named(What::Operation, "diff", diff.to_json())],
        Some(Kind::Build(build)) => vec![Fact::named(What::Operation, "build", build.to_json())],
        Some(Kind::Passthrough(op)) => {
            vec![Fact::named(What::Operation, "passthrough", op.to_json())]
        }
        None => Vec::new(),
    };
    if !matches!(counted.op, Some(Kind::Source(_))) {
        let filters = kiln_keys::own_filters(op).into_iter();
        facts.extend(filters.map(|filter| Fact::named(What::Filter, filter, "set")));
    }
    Ok(facts)
}
