//! Two steps that are one: what each says that the other does not.

use similar::{ChangeTag, TextDiff};

use super::align::{Matches, unnumbered};
use super::{Change, StepName};
use crate::facts::{Fact, Facts, View};
use crate::steps::{Step, StepInput, Steps};
use crate::text::reference;
use crate::words::shortened;

/// What facts are called in a sentence, where their key is no noun.
const NOUNS: &[(&str, &str)] = &[
    ("run", "command"),
    ("cwd", "working directory"),
    ("env", "environment"),
    ("on", "base"),
    ("of", "inputs"),
    ("says", "description"),
    ("with", "attribute"),
    ("worker", "worker filter"),
    ("at", "place"),
    ("lower", "lower input"),
    ("upper", "upper input"),
];

/// Facts that only speak of a step and do not make it run again.
const TALK: &[&str] = &["name", "says", "group", "cache", "at"];

/// Keys whose first word says which of several is meant, such as the target of a mount.
const NAMED: &[&str] = &["env", "mount", "secret", "host", "ulimit", "proxy", "with", "says"];

pub(super) struct Compare<'a> {
    pub(super) before: &'a Steps,
    pub(super) after: &'a Steps,
    pub(super) matches: &'a Matches,
}

impl Compare<'_> {
    /// A step that is in both graphs. `rerun` knows which steps before it run again.
    pub(super) fn matched(
        &self,
        before: usize,
        after: usize,
        rerun: &[Option<StepInput>],
    ) -> Option<Change> {
        let (old, new) = (self.before.get(before)?, self.after.get(after)?);
        let mut what = changes(&self.facts_before(old), &self.facts_after(new));
        let deed = what.iter().any(|(key, _)| !TALK.contains(key));
        // A name that follows what changed, or counts steps, says nothing new.
        let counted = unnumbered(&old.name()) == unnumbered(&new.name());
        what.retain(|(key, _)| *key != "name" || !deed && !counted);
        let name = |step: &Step| StepName { number: step.number, name: step.name() };
        let because = new.inputs.iter().find(|input| rerun[input.index].is_some());
        let because = because.and_then(|input| self.after.get(input.index));
        // It may read what it read before, but for a step in between that is gone.
        let gone = old.inputs.iter().find(|input| self.matches.after(input.index).is_none());
        let gone = gone.and_then(|input| self.before.get(input.index));
        if !what.is_empty() {
            let ignores = new.metadata.ignore_cache && !old.metadata.ignore_cache;
            return Some(Change::Changed {
                before: name(old),
                after: name(new),
                what: what.into_iter().map(|(_, what)| what).collect(),
                reruns: deed || ignores || because.is_some() || gone.is_some(),
            });
        }
        match (because, gone) {
            (Some(step), _) => {
                Some(Change::Rerun { after: name(new), because: name(step), gone: false })
            }
            (None, Some(step)) => {
                Some(Change::Rerun { after: name(new), because: name(step), gone: true })
            }
            (None, None) => None,
        }
    }

    /// A step that is new.
    pub(super) fn added(&self, step: &Step) -> Change {
        let name = |input: StepInput| reference(input);
        let view =
            View { steps: self.after, name: &name, whole_env: false, caps: false, places: false };
        let facts = view.facts(step);
        let mut out = String::new();
        crate::text::lines(&facts, "", &mut out);
        let what = shortened(&out)
            .lines()
            .map(|line| line.strip_prefix("    ").unwrap_or(line).to_owned())
            .collect();
        Change::Added { after: StepName { number: step.number, name: step.name() }, what }
    }

    /// A step that is gone, unless it is still there.
    pub(super) fn removed(&self, before: usize) -> Option<Change> {
        if self.matches.after(before).is_some() {
            return None;
        }
        let step = self.before.get(before)?;
        let name = StepName { number: step.number, name: step.name() };
        Some(Change::Removed { before: name })
    }

    /// The facts of an old step with the names that things have in the graph after. What is gone
    /// goes by the name of what it stood on, so that only the removal itself is told.
    fn facts_before(&self, step: &Step) -> Facts {
        let name = |input: StepInput| {
            let mut at = Some(input);
            while let Some(input) = at {
                if let Some(index) = self.matches.after(input.index) {
                    return reference(StepInput { index, ..input });
                }
                at = self.before.get(input.index).and_then(|step| step.base);
            }
            "scratch".to_owned()
        };
        whole(self.before, &name).facts(step)
    }

    /// The facts of a new step. What is new goes by the name of what it stands on.
    fn facts_after(&self, step: &Step) -> Facts {
        let name = |input: StepInput| {
            let mut at = Some(input);
            while let Some(input) = at {
                if self.matches.before(input.index).is_some() {
                    return reference(input);
                }
                at = self.after.get(input.index).and_then(|step| step.base);
            }
            "scratch".to_owned()
        };
        whole(self.after, &name).facts(step)
    }
}

fn whole<'a>(steps: &'a Steps, name: &'a dyn Fn(StepInput) -> String) -> View<'a> {
    View { steps, name, whole_env: true, caps: false, places: false }
}

/// What two lists of facts do not share, as keys and sentences.
fn changes(old: &Facts, new: &Facts) -> Vec<(&'static str, String)> {
    let mut keys: Vec<&'static str> = Vec::new();
    for fact in new.list.iter().chain(&old.list) {
        if !keys.contains(&fact.key) {
            keys.push(fact.key);
        }
    }
    let of = |facts: &Facts, key: &str| -> Vec<Fact> {
        facts.list.iter().filter(|fact| fact.key == key).cloned().collect()
    };
    let mut out = Vec::new();
    for key in keys {
        let (old, new) = (of(old, key), of(new, key));
        if old != new {
            let noun = NOUNS.iter().find(|(known, _)| *known == key).map_or(key, |(_, noun)| noun);
            out.extend(sentences(key, noun, &old, &new).into_iter().map(|text| (key, text)));
        }
    }
    out
}

/// How one key's facts changed.
fn sentences(key: &str, noun: &str, old: &[Fact], new: &[Fact]) -> Vec<String> {
    let mut gone: Vec<&str> = values(old);
    let mut here: Vec<&str> = Vec::new();
    for value in values(new) {
        match gone.iter().position(|other| *other == value) {
            Some(at) => drop(gone.remove(at)),
            None => here.push(value),
        }
    }
    if gone.is_empty() && here.is_empty() {
        return vec![format!("{noun}: other order")];
    }
    let mut out = Vec::new();
    let one_of_one = old.len() == 1 && new.len() == 1;
    for value in here {
        let same =
            |other: &&str| one_of_one || !NAMED.contains(&key) || subject(other) == subject(value);
        match gone.iter().position(same) {
            Some(at) => out.push(changed(noun, gone.remove(at), value)),
            None => out.push(format!("{noun} added: {}", block(value))),
        }
    }
    out.extend(gone.into_iter().map(|value| format!("{noun} removed: {}", block(value))));
    out.iter().map(|text| shortened(text)).collect()
}

fn values(facts: &[Fact]) -> Vec<&str> {
    facts.iter().map(|fact| fact.value.as_str()).collect()
}

/// What a value is about: the part before `=` or the first space.
fn subject(value: &str) -> &str {
    value.split(['=', ' ']).next().unwrap_or_default()
}

fn changed(noun: &str, old: &str, new: &str) -> String {
    if !old.contains('\n') && !new.contains('\n') {
        return format!("{noun} changed: {old} -> {new}");
    }
    let mut out = format!("{noun} changed:");
    for change in TextDiff::from_lines(old, new).iter_all_changes() {
        let sign = match change.tag() {
            ChangeTag::Equal => continue,
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
        };
        out.push_str(&format!("\n    {sign} {}", change.value().trim_end_matches('\n')));
    }
    out
}

/// Lines after the first, indented.
fn block(value: &str) -> String {
    value.replace('\n', "\n    ")
}
