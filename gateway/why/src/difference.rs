//! What differs between two steps by themselves, whatever they read.

use std::collections::BTreeMap;

use crate::explanation::Difference;
use crate::fact::{Fact, What};
use crate::record::{BuildRecord, StepRecord};

/// A fact that differs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changed<'a> {
    pub(crate) before: Option<&'a Fact>,
    pub(crate) after: Option<&'a Fact>,
}

impl Changed<'_> {
    pub(crate) fn what(&self) -> What {
        self.after.or(self.before).map_or(What::Operation, |fact| fact.what)
    }
}

/// The facts that differ, in the order of the later step. The order of things counts only if nothing
/// else of them differs: a variable that is new changes the order of variables, too.
pub(crate) fn facts<'a>(before: &'a [Fact], after: &'a [Fact]) -> Vec<Changed<'a>> {
    fn by_name(facts: &[Fact]) -> BTreeMap<(What, &str), &Fact> {
        facts.iter().map(|fact| ((fact.what, fact.name.as_str()), fact)).collect()
    }
    let (old, new) = (by_name(before), by_name(after));
    let mut changed = Vec::new();
    for fact in after {
        match old.get(&(fact.what, fact.name.as_str())) {
            Some(earlier) if earlier.value == fact.value => {}
            earlier => {
                changed.push(Changed { before: earlier.copied(), after: Some(fact) });
            }
        }
    }
    let gone = before.iter().filter(|fact| !new.contains_key(&(fact.what, fact.name.as_str())));
    changed.extend(gone.map(|fact| Changed { before: Some(fact), after: None }));
    if changed.iter().any(|changed| changed.what() != What::Order) {
        changed.retain(|changed| changed.what() != What::Order);
    }
    paired(changed)
}

/// A thing that is gone and the only new one of its kind are one that was renamed.
fn paired(mut changed: Vec<Changed<'_>>) -> Vec<Changed<'_>> {
    let kinds: Vec<What> = changed.iter().map(Changed::what).collect();
    for what in kinds {
        if matches!(what, What::Variable | What::Operation) {
            continue;
        }
        let of_kind = |changed: &Changed<'_>| changed.what() == what;
        let gone: Vec<usize> = (0..changed.len())
            .filter(|at| of_kind(&changed[*at]) && changed[*at].after.is_none())
            .collect();
        let new: Vec<usize> = (0..changed.len())
            .filter(|at| of_kind(&changed[*at]) && changed[*at].before.is_none())
            .collect();
        if let ([gone], [new]) = (&gone[..], &new[..]) {
            changed[*new].before = changed[*gone].before;
            changed.remove(*gone);
        }
    }
    changed
}

/// The differences of two steps by themselves, for people. `of` is the name of the step, if it is one
/// beneath the step that is explained.
pub(crate) fn own(
    before: &StepRecord,
    after: &StepRecord,
    builds: (&BuildRecord, &BuildRecord),
    of: Option<&str>,
) -> Vec<Difference> {
    let changed = facts(&before.facts, &after.facts);
    let is_same = before.keys.iter().any(|key| after.keys.contains(key));
    if changed.is_empty() && !is_same && !before.keys.is_empty() && !after.keys.is_empty() {
        return vec![Difference::Fact {
            what: What::Operation,
            name: String::new(),
            before: before.keys.first().cloned(),
            after: after.keys.first().cloned(),
            of: of.map(str::to_owned),
        }];
    }
    changed.into_iter().map(|changed| difference(&changed, builds, of)).collect()
}

fn difference(
    changed: &Changed<'_>,
    (earlier, now): (&BuildRecord, &BuildRecord),
    of: Option<&str>,
) -> Difference {
    let name = |fact: Option<&Fact>| fact.map(|fact| fact.name.clone()).unwrap_or_default();
    let (before_name, after_name) = (name(changed.before), name(changed.after));
    let is_renamed =
        changed.before.is_some() && changed.after.is_some() && before_name != after_name;
    // Where what is shown is the same, what counts is not.
    let texts = changed.before.map(Fact::text) == changed.after.map(Fact::text) && !is_renamed;
    let text = |fact: &Fact| {
        let text = if texts { fact.value.as_str() } else { fact.text() };
        match is_renamed {
            true => [fact.name.as_str(), text].join(" ").trim().to_owned(),
            false => text.to_owned(),
        }
    };
    let what = match changed.what() {
        What::Variable
            if earlier.build_args.contains(&after_name)
                || now.build_args.contains(&after_name)
                || earlier.build_args.contains(&before_name) =>
        {
            What::BuildArgument
        }
        what => what,
    };
    let name = match (is_renamed, changed.after.is_some()) {
        (true, _) => String::new(),
        (false, true) => after_name,
        (false, false) => before_name,
    };
    Difference::Fact {
        what,
        name,
        before: changed.before.map(text),
        after: changed.after.map(text),
        of: of.map(str::to_owned),
    }
}

/// How unlike two steps are by themselves: a weight for each fact that differs.
pub(crate) fn distance(before: &StepRecord, after: &StepRecord) -> u32 {
    let weight = |changed: &Changed<'_>| match changed.what() {
        What::Command | What::Text | What::Path | What::Copy => 4,
        What::Image | What::Download | What::Commit => same_source(changed),
        What::Platform => 3,
        What::Operation => 4,
        _ => 1,
    };
    facts(&before.facts, &after.facts).iter().map(weight).sum()
}

/// The same source with another content is nearer than another one.
fn same_source(changed: &Changed<'_>) -> u32 {
    let address = |fact: Option<&Fact>| {
        let text = fact.map(Fact::text).unwrap_or_default();
        text.split(['@', ' ']).next().unwrap_or_default().to_owned()
    };
    if address(changed.before) == address(changed.after) { 1 } else { 6 }
}
