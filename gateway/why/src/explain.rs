//! Explains a build: each step that ran is held against the nearest earlier one.
//!
//! A step ran because something of itself differs, because what it reads differs, or because a step that
//! it reads ran. The last is only named, since that step has an explanation of its own. What it reads and
//! what did *not* run (a base image that another build had pulled, a step that was changed back) is
//! followed down to where the difference is.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_oci::Digest;

use crate::difference;
use crate::explanation::{
    Cause, Compared, Difference, Explained, Explanation, FileChange, InCache, NotReproducible,
};
use crate::listing::{self, Listing};
use crate::nearest::{Candidate, nearest};
use crate::record::{BuildRecord, InputRecord, ListingRecord, Outcome, StepKind, StepRecord};
use crate::same::{Comparison, Same};

/// The record of an earlier build.
#[derive(Clone, Debug, Default)]
pub struct Earlier {
    /// The build.
    pub build: String,
    /// When it began, in nanoseconds since 1970.
    pub started: i64,
    /// Its steps.
    pub record: BuildRecord,
}

/// Reads blobs of the history: lists of files.
pub type Listings<'a> = &'a dyn Fn(&Digest) -> Option<Vec<u8>>;

/// The most files that are named of one input.
const MOST_FILES: usize = 20;

/// Why the steps of a build ran. `earlier` are the builds before, the latest first.
///
/// Costs a comparison of each step that ran with each step of the earlier builds.
pub fn explain(
    build: &str,
    started: i64,
    record: &BuildRecord,
    earlier: &[Earlier],
    listings: Listings<'_>,
) -> Explanation {
    let mut explaining = Explaining { record, earlier, listings, found: BTreeMap::new() };
    let mut steps = Vec::new();
    for (number, step) in record.steps.iter().enumerate() {
        if step.is_run() && !is_local(step) {
            steps.push(explaining.step(number, step));
        }
    }
    // What was found out about a step by those that read it.
    for (number, reproducible) in std::mem::take(&mut explaining.found) {
        let name = &record.steps[number].name;
        let digest = &record.steps[number].digest;
        let of = steps.iter_mut().find(|step| step.name == *name && step.digest == *digest);
        if let Some(step) = of {
            step.not_reproducible.get_or_insert(reproducible);
        }
    }
    let unread = record.caches.iter().filter(|cache| cache.unread);
    Explanation {
        build: build.to_owned(),
        started,
        total: 0,
        cached: 0,
        steps,
        unread_caches: unread.map(|cache| cache.name.clone()).collect(),
    }
}

/// A directory of the client is asked for every time, and says nothing by that.
fn is_local(step: &StepRecord) -> bool {
    step.kind == StepKind::Local
}

struct Explaining<'a> {
    record: &'a BuildRecord,
    earlier: &'a [Earlier],
    listings: Listings<'a>,
    /// Steps of this build whose results differ from earlier ones although they did the same.
    found: BTreeMap<usize, NotReproducible>,
}

/// What comes of a comparison.
#[derive(Default)]
struct Outcomes {
    differences: Vec<Difference>,
    because: BTreeSet<usize>,
    /// Something could not be compared.
    is_unknown: bool,
    /// Steps of this build whose results differ from earlier ones although they did the same.
    found: BTreeMap<usize, NotReproducible>,
}

impl Outcomes {
    /// How much differs.
    fn count(&self) -> usize {
        let count = |difference: &Difference| match difference {
            Difference::File { change, .. } => change.changed.len(),
            Difference::MoreFiles { count, .. } => *count,
            _ => 1,
        };
        self.differences.iter().map(count).sum::<usize>() + self.because.len()
    }
}

/// How far down it is followed what differs.
const DEEPEST: usize = 64;

/// Where a comparison is.
struct Way<'a, 'b> {
    comparison: &'a mut Comparison<'b>,
    /// Pairs of steps beneath that were looked at: what two steps share is told once.
    seen: BTreeSet<(usize, usize)>,
    depth: usize,
}

impl<'a, 'b> Way<'a, 'b> {
    fn new(comparison: &'a mut Comparison<'b>) -> Self {
        Self { comparison, seen: BTreeSet::new(), depth: 0 }
    }
}

impl Explaining<'_> {
    /// The nearest of some earlier steps and what differs from it: of those that are as near as each other,
    /// the one with the fewest differences.
    fn closest<'c>(
        &mut self,
        number: usize,
        candidates: Vec<Candidate<'c>>,
    ) -> Option<(Candidate<'c>, Outcomes)> {
        let mut best: Option<(usize, Candidate<'c>, Outcomes)> = None;
        for candidate in candidates {
            let mut comparison = Comparison::new(&candidate.earlier.record, self.record);
            let mut way = Way::new(&mut comparison);
            let outcomes = self.compare(candidate.step, number, None, &mut way);
            let count = outcomes.count();
            if best.as_ref().is_none_or(|(least, _, _)| count < *least) {
                best = Some((count, candidate, outcomes));
            }
        }
        best.map(|(_, candidate, outcomes)| (candidate, outcomes))
    }

    fn step(&mut self, number: usize, step: &StepRecord) -> Explained {
        let candidates = nearest(self.record, step, self.earlier, |_| true);
        let (candidate, mut outcomes) = match self.closest(number, candidates) {
            Some((candidate, outcomes)) => (Some(candidate), outcomes),
            None => (None, Outcomes::default()),
        };
        let found = std::mem::take(&mut outcomes.found);
        for (step, reproducible) in found {
            self.found.entry(step).or_insert(reproducible);
        }
        if step.lost && !step.ignores_cache {
            // The cache knew it, so whatever else differs is not why.
            outcomes = Outcomes::default();
        }
        let cause = match &candidate {
            _ if step.ignores_cache => Cause::NoCache,
            _ if !outcomes.differences.is_empty() => Cause::Changed,
            _ if !outcomes.because.is_empty() => Cause::Because,
            None if step.lost => Cause::Gone,
            None => Cause::New,
            Some(_) if outcomes.is_unknown && self.reads_session(step) => Cause::Session,
            Some(_) if outcomes.is_unknown => Cause::Unknown,
            Some(candidate) if candidate.step.outcome == Outcome::Failed => Cause::FailedBefore,
            Some(_) => Cause::Gone,
        };
        if cause == Cause::NoCache {
            // It would have run with all the same; what is different is not why.
            outcomes.because.clear();
        }
        let because = outcomes.because.iter().map(|number| self.record.steps[*number].name.clone());
        let rerun = step.rerun.as_ref().filter(|rerun| !rerun.files.is_empty());
        Explained {
            name: step.name.clone(),
            digest: step.digest.clone(),
            failed: step.outcome == Outcome::Failed,
            place: step.place.clone(),
            cause,
            because: because.collect(),
            differences: outcomes.differences,
            compared_with: candidate.map(|candidate| compared(&candidate, step)),
            not_reproducible: rerun
                .map(|rerun| NotReproducible { files: rerun.files.clone(), more: rerun.more }),
            caches: self.in_caches(number, step),
        }
    }

    /// Whether a step reads a directory of the client otherwise than by what is in it.
    fn reads_session(&self, step: &StepRecord) -> bool {
        step.inputs.iter().any(|input| {
            input.content.is_none()
                && self.record.steps.get(input.step).is_some_and(|step| step.session)
        })
    }

    /// Compares a step of this build with an earlier one, and all that they read.
    fn compare(
        &mut self,
        before: &StepRecord,
        number: usize,
        of: Option<&str>,
        way: &mut Way<'_, '_>,
    ) -> Outcomes {
        let step = &self.record.steps[number];
        let (earlier, now) = (way.comparison.before, way.comparison.after);
        let mut outcomes = Outcomes {
            differences: difference::own(before, step, (earlier, now), of),
            ..Outcomes::default()
        };
        for (was, is) in before.inputs.iter().zip(&step.inputs) {
            self.input(was, is, way, &mut outcomes);
        }
        let name = |record: &BuildRecord, input: &InputRecord| {
            record.steps.get(input.step).map(|step| step.name.clone())
        };
        for is in step.inputs.iter().skip(before.inputs.len()) {
            let after = name(now, is);
            outcomes.differences.push(Difference::Input { before: None, after });
        }
        for was in before.inputs.iter().skip(step.inputs.len()) {
            let before = name(earlier, was);
            outcomes.differences.push(Difference::Input { before, after: None });
        }
        outcomes
    }

    /// Compares one input.
    fn input(
        &mut self,
        was: &InputRecord,
        is: &InputRecord,
        way: &mut Way<'_, '_>,
        outcomes: &mut Outcomes,
    ) {
        let Some(producer) = self.record.steps.get(is.step) else { return };
        let Some(earlier) = way.comparison.before.steps.get(was.step) else { return };
        if let (Some(old), Some(new)) = (&was.content, &is.content) {
            if old == new {
                return;
            }
            let is_same = !producer.session && way.comparison.same(was.step, is.step) == Same::Yes;
            let files = self.files(was, is, &producer.name);
            if is_same {
                note(&mut outcomes.found, is.step, files.as_deref().unwrap_or_default());
            }
            if producer.is_run() {
                outcomes.because.insert(is.step);
                return;
            }
            match files {
                Some(files) => outcomes.differences.extend(files),
                None => outcomes.differences.push(Difference::Content {
                    of: producer.name.clone(),
                    before: old.clone(),
                    after: new.clone(),
                }),
            }
            return;
        }
        match way.comparison.same(was.step, is.step) {
            Same::Yes if was.output == is.output && was.paths == is.paths => {
                // It is the same, but its result was not there and had to be made again.
                if producer.is_run() && producer.ignores_cache {
                    outcomes.because.insert(is.step);
                }
            }
            Same::Yes => outcomes.differences.push(reads(was, is, &producer.name)),
            _ if producer.is_run() => drop(outcomes.because.insert(is.step)),
            same => {
                if !way.seen.insert((was.step, is.step)) {
                    return;
                }
                let name = producer.name.clone();
                let beneath = match earlier.kind == producer.kind {
                    true if way.depth < DEEPEST => {
                        way.depth += 1;
                        let beneath = self.compare(earlier, is.step, Some(&name), way);
                        way.depth -= 1;
                        beneath
                    }
                    true => Outcomes { is_unknown: true, ..Outcomes::default() },
                    false => Outcomes {
                        differences: vec![Difference::Input {
                            before: Some(earlier.name.clone()),
                            after: Some(name),
                        }],
                        ..Outcomes::default()
                    },
                };
                let is_nothing = beneath.differences.is_empty() && beneath.because.is_empty();
                outcomes.is_unknown |= beneath.is_unknown || (is_nothing && same == Same::Unknown);
                outcomes.differences.extend(beneath.differences);
                outcomes.because.extend(beneath.because);
                outcomes.found.extend(beneath.found);
            }
        }
    }

    /// The files of an input that differ, if both lists are there and say so.
    fn files(&self, was: &InputRecord, is: &InputRecord, of: &str) -> Option<Vec<Difference>> {
        let (before, after) = (self.listing(was)?, self.listing(is)?);
        let changes = without_parents(listing::changes(&before, &after));
        if changes.is_empty() {
            return None;
        }
        let more = changes.len().saturating_sub(MOST_FILES);
        let named = changes.into_iter().take(MOST_FILES);
        let mut files: Vec<Difference> =
            named.map(|change| Difference::File { change, of: of.to_owned() }).collect();
        if more > 0 {
            files.push(Difference::MoreFiles { count: more, of: of.to_owned() });
        }
        Some(files)
    }

    fn listing(&self, input: &InputRecord) -> Option<Listing> {
        let bytes = match input.listing.as_ref()? {
            ListingRecord::Here(text) => STANDARD.decode(text).ok()?,
            ListingRecord::Blob(digest) => (self.listings)(digest)?,
        };
        listing::read(&bytes).ok()
    }

    /// What the imported caches have of a step.
    fn in_caches(&mut self, number: usize, step: &StepRecord) -> Vec<InCache> {
        let mut caches = Vec::new();
        for (cache, view) in self.record.caches.iter().zip(&step.caches) {
            if cache.unread {
                continue;
            }
            let is_there = |other: &StepRecord| {
                other.keys.iter().any(|key| cache.operations.contains(&operation(key)))
            };
            let unknown = step.inputs.iter().zip(&view.linked).filter(|(_, linked)| !**linked);
            let unknown = unknown.filter_map(|(input, _)| self.record.steps.get(input.step));
            let unknown: Vec<String> = unknown.map(|step| step.name.clone()).collect();
            let candidates = nearest(self.record, step, self.earlier, is_there);
            let (candidate, differences) = match self.closest(number, candidates) {
                Some((candidate, outcomes)) => (Some(candidate), outcomes.differences),
                None => (None, Vec::new()),
            };
            caches.push(InCache {
                cache: cache.name.clone(),
                operation: view.operation,
                unknown_inputs: if view.operation { unknown } else { Vec::new() },
                nearest: candidate.map(|candidate| compared(&candidate, step)),
                differences,
            });
        }
        caches
    }
}

/// A step did the same as before, and what was read of its result was something else.
fn note(found: &mut BTreeMap<usize, NotReproducible>, step: usize, files: &[Difference]) {
    let mut not = NotReproducible::default();
    for difference in files {
        match difference {
            Difference::File { change, .. } => not.files.push(change.clone()),
            Difference::MoreFiles { count, .. } => not.more += count,
            _ => {}
        }
    }
    found.entry(step).or_insert(not);
}

/// The key that records of an operation have in a cache, for its first output.
fn operation(key: &str) -> String {
    Digest::sha256(format!("{key}@0")).to_string()
}

fn reads(was: &InputRecord, is: &InputRecord, of: &str) -> Difference {
    let text = |input: &InputRecord| match (input.output, input.paths.join(" ")) {
        (0, paths) => paths,
        (output, paths) => format!("output {output} {paths}").trim().to_owned(),
    };
    Difference::Fact {
        what: crate::What::Reads,
        name: of.to_owned(),
        before: Some(text(was)),
        after: Some(text(is)),
        of: None,
    }
}

fn compared(candidate: &Candidate<'_>, step: &StepRecord) -> Compared {
    let name = &candidate.step.name;
    Compared {
        build: candidate.earlier.build.clone(),
        started: candidate.earlier.started,
        name: (*name != step.name).then(|| name.clone()),
    }
}

/// A directory that is new or gone stands for what is in it.
fn without_parents(changes: Vec<FileChange>) -> Vec<FileChange> {
    fn is_whole(change: &FileChange) -> bool {
        matches!(&change.changed[..], [word] if word == "new" || word == "gone")
    }
    let whole: BTreeSet<String> = changes
        .iter()
        .filter(|change| is_whole(change))
        .map(|change| change.path.clone())
        .collect();
    let is_below = |change: &FileChange| {
        let ends = change.path.char_indices().filter(|(_, letter)| *letter == '/');
        ends.into_iter().any(|(end, _)| whole.contains(&change.path[..end]))
    };
    changes.into_iter().filter(|change| !(is_whole(change) && is_below(change))).collect()
}
