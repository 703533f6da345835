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

/// With how many builds a step is compared of which no earlier one has the name or the place.
const FEW_BUILDS: usize = 10;

/// How many steps that are as near as each other are looked at more closely.
const MOST_ALIKE: usize = 5;

/// The nearest earlier steps: all that are as near as each other, those of the latest build first.
/// `earlier` has the latest build first.
///
/// Names are compared first, since that costs little: what the steps do is looked at only of those that
/// are called the same or stand in the same place, or of a few if there are none.
pub(crate) fn nearest<'a>(
    build: &BuildRecord,
    step: &StepRecord,
    earlier: &'a [Earlier],
    is_wanted: impl Fn(&StepRecord) -> bool,
) -> Vec<Candidate<'a>> {
    let (place, name) = split(&step.name);
    let called = |earlier: &Earlier, other: &StepRecord| {
        let (other_place, other_name) = split(&other.name);
        let is_project = is_same_project(build, &earlier.record);
        name == other_name || (is_project && !place.is_empty() && place == other_place)
    };
    let among = |earlier: &'a [Earlier], is_near: &dyn Fn(&Earlier, &StepRecord) -> bool| {
        let (mut least, mut alike) = (FARTHEST, Vec::new());
        for earlier in earlier {
            for other in earlier.record.steps.iter().filter(|other| other.kind == step.kind) {
                if !is_near(earlier, other) || !is_wanted(other) {
                    continue;
                }
                let distance = distance((build, step), (&earlier.record, other));
                if distance < least {
                    (least, alike) = (distance, Vec::new());
                }
                if distance == least && alike.len() < MOST_ALIKE {
                    alike.push(Candidate { earlier, step: other });
                }
            }
            if least == 0 {
                break;
            }
        }
        alike
    };
    let called = among(earlier, &called);
    if !called.is_empty() {
        return called;
    }
    among(&earlier[..earlier.len().min(FEW_BUILDS)], &|earlier, other| {
        let most = if is_same_project(build, &earlier.record) { 4 } else { 1 };
        difference::distance(other, step) <= most
    })
}

fn is_same_project(build: &BuildRecord, other: &BuildRecord) -> bool {
    !build.project.is_empty() && build.project == other.project
}

/// How unlike two steps are.
fn distance(
    (build, step): (&BuildRecord, &StepRecord),
    (other_build, other): (&BuildRecord, &StepRecord),
) -> u32 {
    let own = difference::distance(other, step);
    let (place, name) = split(&step.name);
    let (other_place, other_name) = split(&other.name);
    let names = u32::from(name != other_name) + u32::from(place != other_place);
    let project = if is_same_project(build, other_build) { 0 } else { OTHER_PROJECT };
    own + inputs((build, step), (other_build, other)) + names + project
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
