//! The earlier step that is nearest to a step that ran.

use crate::difference;
use crate::explain::Earlier;
use crate::record::{BuildRecord, StepRecord};

/// An earlier step.
#[derive(Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) earlier: &'a Earlier,
    pub(crate) step: &'a StepRecord,
}

/// How unlike a candidate may be, in weights of differences, and still be the same step.
const FARTHEST: u32 = 24;

/// What it costs that a step is of another project.
const OTHER_PROJECT: u32 = 5;

/// The nearest earlier step; of several that are as near, that of the latest build. `earlier` has the
/// latest build first.
pub(crate) fn nearest<'a>(
    build: &BuildRecord,
    step: &StepRecord,
    earlier: impl IntoIterator<Item = &'a Earlier>,
    is_wanted: impl Fn(&StepRecord) -> bool,
) -> Option<Candidate<'a>> {
    let mut best: Option<(u32, Candidate<'a>)> = None;
    for earlier in earlier {
        for other in earlier.record.steps.iter().filter(|other| other.kind == step.kind) {
            if !is_wanted(other) {
                continue;
            }
            let Some(distance) = distance((build, step), (&earlier.record, other)) else { continue };
            if best.as_ref().is_none_or(|(least, _)| distance < *least) {
                best = Some((distance, Candidate { earlier, step: other }));
            }
        }
        if best.as_ref().is_some_and(|(least, _)| *least == 0) {
            break;
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// How unlike two steps are; `None` if they have nothing to do with each other.
fn distance(
    (build, step): (&BuildRecord, &StepRecord),
    (other_build, other): (&BuildRecord, &StepRecord),
) -> Option<u32> {
    let own = difference::distance(other, step);
    let (place, name) = split(&step.name);
    let (other_place, other_name) = split(&other.name);
    let is_project = !build.project.is_empty() && build.project == other_build.project;
    let is_position = !place.is_empty() && place == other_place;
    let is_named = name == other_name;
    let is_alike = match is_project {
        true => is_named || is_position || own <= 4,
        false => is_named || own <= 1,
    };
    if !is_alike {
        return None;
    }
    let names = u32::from(!is_named) + u32::from(!is_position);
    let project = if is_project { 0 } else { OTHER_PROJECT };
    let distance = own + inputs((build, step), (other_build, other)) + names + project;
    (distance <= FARTHEST).then_some(distance)
}

/// How many inputs differ, as far as that can be seen without looking further down.
fn inputs(
    (build, step): (&BuildRecord, &StepRecord),
    (other_build, other): (&BuildRecord, &StepRecord),
) -> u32 {
    let pairs = step.inputs.iter().zip(&other.inputs);
    let differs = pairs.filter(|(now, before)| match (&now.content, &before.content) {
        (Some(now), Some(before)) => now != before,
        _ => {
            let keys = |build: &BuildRecord, step: usize| {
                build.steps.get(step).map(|step| step.keys.clone()).unwrap_or_default()
            };
            let (now, before) = (keys(build, now.step), keys(other_build, before.step));
            !now.iter().any(|key| before.contains(key))
        }
    });
    let more = step.inputs.len().abs_diff(other.inputs.len());
    u32::try_from(2 * (differs.count() + more)).unwrap_or(u32::MAX)
}

/// A name as its place, such as `[build 2/4]`, and the rest, in which numbers of steps do not matter.
pub(crate) fn split(name: &str) -> (&str, &str) {
    match name.strip_prefix('[').and_then(|rest| rest.find("] ").map(|end| end + 2)) {
        Some(end) => (&name[..end], &name[end + 1..]),
        None => ("", name),
    }
}
