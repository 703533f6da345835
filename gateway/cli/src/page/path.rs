//! The critical path: the steps that the build waited for, one after the other.
//!
//! Times and inputs come in, indexes go out. Looked at from the end: a step waited for the input that
//! ended last; one that reads nothing waited for whatever ended last before it began, as an export
//! waits for the result, and a first base image for the frontend.

use std::time::Duration;

/// What is to be known of a step; times since the build began.
#[derive(Clone, Debug)]
pub(super) struct Timed {
    pub(super) began: Duration,
    pub(super) ended: Duration,
    /// Indexes of what it reads, of those that began.
    pub(super) inputs: Vec<usize>,
}

/// A step of the path, and the time for which nothing but it kept the build waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) step: usize,
    pub(super) took: Duration,
}

/// What ends so little before another begins has ended before it: clocks are read one after the other.
const TOLERANCE: Duration = Duration::from_millis(2);

/// The critical path to `last`, or to the step that ended last, in the order of time. Steps that did not
/// begin are `None`.
pub(super) fn critical_path(steps: &[Option<Timed>], last: Option<usize>) -> Vec<Link> {
    let timed = |index: usize| steps.get(index).and_then(Option::as_ref);
    let known = steps.iter().enumerate().filter_map(|(index, step)| Some((index, step.as_ref()?)));
    let latest = known.clone().max_by_key(|(index, step)| (step.ended, step.began, *index));
    let mut current = last.filter(|index| timed(*index).is_some()).or(latest.map(|(n, _)| n));
    let mut seen = vec![false; steps.len()];
    let mut path = Vec::new();
    while let Some(index) = current {
        let Some(step) = timed(index) else { break };
        seen[index] = true;
        let unseen = |index: &usize| !seen[*index];
        let ended = |index: usize| timed(index).map(|step| (step.ended, step.began, index));
        let inputs = step.inputs.iter().copied().filter(unseen).filter_map(ended);
        let before = match inputs.max() {
            Some(input) => Some(input),
            None => {
                let earlier = known.clone().filter(|(other, before)| {
                    !seen[*other]
                        && before.ended <= step.began + TOLERANCE
                        && before.began <= step.began
                });
                earlier.map(|(other, step)| (step.ended, step.began, other)).max()
            }
        };
        let from = before.map_or(step.began, |(ended, ..)| ended.max(step.began));
        path.push(Link { step: index, took: step.ended.saturating_sub(from) });
        current = before.map(|(_, _, index)| index);
    }
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(began: u64, ended: u64, inputs: &[usize]) -> Option<Timed> {
        let seconds = Duration::from_secs;
        Some(Timed { began: seconds(began), ended: seconds(ended), inputs: inputs.to_vec() })
    }

    fn path(steps: &[Option<Timed>], last: Option<usize>) -> Vec<(usize, u64)> {
        let links = critical_path(steps, last);
        links.into_iter().map(|link| (link.step, link.took.as_secs())).collect()
    }

    #[test]
    fn a_step_waited_for_the_input_that_ended_last() {
        let steps = [step(0, 2, &[]), step(0, 5, &[]), step(5, 9, &[0, 1]), step(9, 10, &[])];
        assert_eq!(path(&steps, None), [(1, 5), (2, 4), (3, 1)]);
    }

    #[test]
    fn the_path_of_a_failed_build_ends_where_it_failed() {
        let steps = [step(0, 2, &[]), step(2, 3, &[0]), step(2, 8, &[0])];
        assert_eq!(path(&steps, Some(1)), [(0, 2), (1, 1)]);
        assert_eq!(path(&steps, Some(7)), [(0, 2), (2, 6)]);
    }

    #[test]
    fn graphs_that_make_no_sense_end_all_the_same() {
        let steps = [step(0, 9, &[1]), step(0, 9, &[0]), None];
        assert_eq!(path(&steps, None).len(), 2);
        assert_eq!(path(&[], None), []);
        assert_eq!(path(&[None], Some(0)), []);
    }
}
