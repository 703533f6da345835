//! Ops for daemons that lack others: what was to be merged is copied instead.
//!
//! An op that the daemon does not know comes in, one that makes the same files goes out, or
//! [`MarshalError::Incapable`]. What is lost is said at [`Marshal::fallback`](crate::Marshal).

use kiln_pb::pb;
use kiln_pb::pb::file_action::Action;
use kiln_pb::pb::op::Op as Kind;

use crate::caps;
use crate::exec::add_input;
use crate::marshal::{MarshalError, Marshaller};

/// An op with its inputs and the capabilities it needs.
type Instead = (Kind, Vec<pb::Input>, Vec<&'static str>);

/// What to send instead of an op that needs `cap`.
pub(crate) fn instead(
    op: Kind,
    inputs: &[pb::Input],
    cap: &'static str,
    marshaller: &Marshaller<'_>,
) -> Result<Instead, MarshalError> {
    match op {
        Kind::Merge(merge) => {
            let layers = merge.inputs.iter().map(|layer| layer.input);
            let layers: Vec<i64> = layers.collect();
            match layers.as_slice() {
                [] => Err(MarshalError::Incapable(cap)),
                // One layer alone, the others having turned out to be scratch.
                [only] => Ok(copies(-1, &[*only], inputs, marshaller)),
                [base, rest @ ..] => Ok(copies(*base, rest, inputs, marshaller)),
            }
        }
        Kind::Diff(diff) => {
            let lower = diff.lower.map_or(-1, |lower| lower.input);
            let upper = diff.upper.map_or(-1, |upper| upper.input);
            // Only what changed since scratch can be copied: it is everything.
            match (lower, upper) {
                (..0, 0..) => Ok(copies(-1, &[upper], inputs, marshaller)),
                _ => Err(MarshalError::Incapable(cap)),
            }
        }
        Kind::Passthrough(_) => Err(MarshalError::Incapable(cap)),
        op => Ok((op, inputs.to_vec(), vec![cap])),
    }
}

/// Copies of everything, one layer after the other onto the base.
fn copies(base: i64, layers: &[i64], inputs: &[pb::Input], marshaller: &Marshaller<'_>) -> Instead {
    let mut kept = Vec::new();
    let mut number = |input: i64| {
        let input = usize::try_from(input).ok().and_then(|input| inputs.get(input));
        input.map_or(-1, |input| add_input(&mut kept, input.clone()))
    };
    let base = number(base);
    let layers: Vec<i64> = layers.iter().map(|layer| number(*layer)).collect();
    let mut caps = vec![caps::FILE_BASE];
    // A merge puts a file in the place of a directory; a copy has to be told.
    let replace = marshaller.may_use(caps::FILE_COPY_ALWAYS_REPLACE);
    caps.extend(replace.then_some(caps::FILE_COPY_ALWAYS_REPLACE));
    let last = layers.len() - 1;
    let mut actions = Vec::with_capacity(layers.len());
    for (n, layer) in layers.into_iter().enumerate() {
        let before = n.checked_sub(1).map(|before| kept.len() + before);
        let before = before.map(|before| i64::try_from(before).unwrap_or(i64::MAX));
        let copy = pb::FileActionCopy {
            src: "/".into(),
            dest: "/".into(),
            mode: -1,
            timestamp: -1,
            dir_copy_contents: true,
            always_replace_existing_dest_paths: replace,
            ..pb::FileActionCopy::default()
        };
        actions.push(pb::FileAction {
            input: before.unwrap_or(base),
            secondary_input: layer,
            output: if n == last { 0 } else { -1 },
            action: Some(Action::Copy(copy)),
        });
    }
    (Kind::File(pb::FileOp { actions }), kept, caps)
}
