//! Which step of one graph is which step of the other.
//!
//! Steps with the same bytes are the same. Of the rest, those that do the same are matched in their
//! order, preferring those that stand on matched steps; what is left is aligned by kind and
//! likeness, as the lines of two texts are.

use std::collections::{BTreeMap, VecDeque};

use crate::facts::{Facts, View};
use crate::steps::{Step, Steps};

/// Beyond so many pairs of unlike steps they are taken in order instead of compared with each other.
const MAX_PAIRS: usize = 1 << 20;

/// Which step is which, by index, both ways.
pub(super) struct Matches {
    after: Vec<Option<usize>>,
    before: Vec<Option<usize>>,
}

impl Matches {
    /// The step of the graph before that became a step of the graph after.
    pub(super) fn before(&self, after: usize) -> Option<usize> {
        self.before.get(after).copied().flatten()
    }

    /// The step of the graph after that a step of the graph before became.
    pub(super) fn after(&self, before: usize) -> Option<usize> {
        self.after.get(before).copied().flatten()
    }

    pub(super) fn find(before: &Steps, after: &Steps) -> Self {
        let mut matches = Self { after: vec![None; before.len()], before: vec![None; after.len()] };
        matches.by_digest(before, after);
        if matches.before.iter().all(Option::is_some) {
            return matches;
        }
        matches.by_deed(before, after);
        matches.by_likeness(before, after);
        matches
    }

    fn pair(&mut self, before: usize, after: usize) {
        self.after[before] = Some(after);
        self.before[after] = Some(before);
    }

    fn by_digest(&mut self, before: &Steps, after: &Steps) {
        let known: BTreeMap<&str, usize> =
            before.iter().enumerate().map(|(n, step)| (step.digest.as_str(), n)).collect();
        for (n, step) in after.iter().enumerate() {
            if let Some(old) = known.get(step.digest.as_str()) {
                self.pair(*old, n);
            }
        }
    }

    /// Matches steps that do the same with whatever they read.
    fn by_deed(&mut self, before: &Steps, after: &Steps) {
        let mut known: BTreeMap<String, VecDeque<usize>> = BTreeMap::new();
        for (n, step) in before.iter().enumerate().filter(|(n, _)| self.after[*n].is_none()) {
            known.entry(deed(before, step)).or_default().push_back(n);
        }
        for (n, step) in after.iter().enumerate() {
            if self.before[n].is_some() {
                continue;
            }
            let Some(waiting) = known.get_mut(&deed(after, step)) else { continue };
            let on = step.base.and_then(|base| self.before(base.index));
            let stands = |old: &usize| {
                let old = before.get(*old).and_then(|old| old.base);
                old.map(|base| base.index) == on
            };
            let at = waiting.iter().position(stands).unwrap_or(0);
            if let Some(old) = waiting.remove(at) {
                self.pair(old, n);
            }
        }
    }

    /// Aligns what is left so that the sum of likenesses is largest and the order is kept.
    fn by_likeness(&mut self, before: &Steps, after: &Steps) {
        let left: Vec<usize> = (0..before.len()).filter(|n| self.after[*n].is_none()).collect();
        let right: Vec<usize> = (0..after.len()).filter(|n| self.before[*n].is_none()).collect();
        if left.is_empty() || right.is_empty() {
            return;
        }
        let olds: Vec<Look<'_>> = left.iter().map(|n| Look::at(before, *n)).collect();
        let news: Vec<Look<'_>> = right.iter().map(|n| Look::at(after, *n)).collect();
        if left.len().saturating_mul(right.len()) > MAX_PAIRS {
            return self.in_order(&left, &right, &olds, &news);
        }
        let width = right.len() + 1;
        let mut best = vec![0_u32; (left.len() + 1) * width];
        let mut likeness = vec![0_u32; left.len() * right.len()];
        for i in (0..left.len()).rev() {
            for j in (0..right.len()).rev() {
                let like = self.likeness(&olds[i], &news[j]);
                likeness[i * right.len() + j] = like;
                let pair = if like > 0 { best[(i + 1) * width + j + 1] + like } else { 0 };
                let skip = best[(i + 1) * width + j].max(best[i * width + j + 1]);
                best[i * width + j] = pair.max(skip);
            }
        }
        let (mut i, mut j) = (0, 0);
        while i < left.len() && j < right.len() {
            let like = likeness[i * right.len() + j];
            let here = best[i * width + j];
            if like > 0 && here == best[(i + 1) * width + j + 1] + like {
                self.pair(left[i], right[j]);
                (i, j) = (i + 1, j + 1);
            } else if here == best[(i + 1) * width + j] {
                i += 1;
            } else {
                j += 1;
            }
        }
    }

    /// The first unlike step of a kind is the first unlike step of that kind.
    fn in_order(&mut self, left: &[usize], right: &[usize], olds: &[Look<'_>], news: &[Look<'_>]) {
        let mut waiting: BTreeMap<&str, VecDeque<usize>> = BTreeMap::new();
        for (n, old) in left.iter().zip(olds) {
            waiting.entry(old.facts.kind).or_default().push_back(*n);
        }
        for (n, new) in right.iter().zip(news) {
            if let Some(old) = waiting.get_mut(new.facts.kind).and_then(VecDeque::pop_front) {
                self.pair(old, *n);
            }
        }
    }

    /// How alike two steps are; 0 is not at all.
    fn likeness(&self, old: &Look<'_>, new: &Look<'_>) -> u32 {
        if old.facts.kind != new.facts.kind {
            return 0;
        }
        let shared = old.facts.list.iter().filter(|fact| new.facts.list.contains(fact)).count();
        let all = old.facts.list.len().max(new.facts.list.len()).max(1);
        let shared = u32::try_from(shared * 8 / all).unwrap_or(8);
        let on = |look: &Look<'_>| look.step.base.map(|base| base.index);
        let stands = match (on(old), on(new)) {
            (None, None) => 0,
            (Some(old), Some(new)) if self.after(old) == Some(new) => 4,
            _ => 0,
        };
        let named = match (old.step.custom_name(), new.step.custom_name()) {
            (Some(old), Some(new)) if unnumbered(old) == unnumbered(new) => 12,
            (Some(old), Some(new)) if verb(old) == verb(new) => 2,
            (None, None) => 2,
            _ => 0,
        };
        let subject = if old.subject == new.subject { 6 } else { 0 };
        // Unlike in all but their kind, they are two different steps; sources alone may stay one,
        // because there the kind says most of what there is to say.
        let score = shared + stands + named + subject;
        match old.step.inputs.is_empty() && new.step.inputs.is_empty() {
            true => score + 1,
            false if score < 3 => 0,
            false => score,
        }
    }
}

/// A step as far as likeness looks at it.
struct Look<'a> {
    step: &'a Step,
    facts: Facts,
    /// What it is mainly about: a repository, a program, a destination.
    subject: String,
}

impl<'a> Look<'a> {
    fn at(steps: &'a Steps, index: usize) -> Self {
        let step = &steps.list()[index];
        let facts = bare(steps, step);
        let value = |key: &str| facts.list.iter().find(|fact| fact.key == key).map(|f| &f.value);
        let subject = match (value("source"), value("run")) {
            (Some(source), _) => source
                .split('@')
                .next()
                .and_then(|s| s.rsplit_once(':'))
                .map_or(source.clone(), |(repository, _)| repository.to_owned()),
            (_, Some(run)) => run.split([' ', '\n']).take(4).collect::<Vec<_>>().join(" "),
            _ => facts.list.iter().map(|fact| fact.key).collect::<Vec<_>>().join(" "),
        };
        Self { step, facts, subject }
    }
}

/// The facts of a step without names of other steps, its own name and its places.
fn bare(steps: &Steps, step: &Step) -> Facts {
    let name = |_| "*".to_owned();
    let view = View { steps, name: &name, whole_env: true, caps: false, places: false };
    let mut facts = view.facts(step);
    facts.list.retain(|fact| !matches!(fact.key, "name" | "says" | "group" | "cache"));
    facts
}

/// What a step does, as one text.
fn deed(steps: &Steps, step: &Step) -> String {
    let facts = bare(steps, step);
    let mut out = facts.kind.to_owned();
    for fact in &facts.list {
        out.push('\0');
        out.push_str(fact.key);
        out.push(' ');
        out.push_str(&fact.value);
    }
    out
}

/// A name without `[2/3] ` or `[stage 2/3] `, which change with every step that is added.
pub(super) fn unnumbered(name: &str) -> &str {
    let rest = name.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    rest.filter(|(counter, _)| counter.contains('/')).map_or(name, |(_, rest)| rest)
}

/// The first word of a name.
fn verb(name: &str) -> &str {
    unnumbered(name).split(' ').next().unwrap_or_default()
}
