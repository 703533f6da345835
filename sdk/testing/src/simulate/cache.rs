//! The cache of a daemon, in small: builds fill it, later ones look into it.

use std::collections::BTreeMap;

use kiln_filesync::{Patterns, glob::Glob};
use kiln_keys::Selector;
use kiln_oci::Digest;
use kiln_wire::pb;
use kiln_wire::pb::file_action::Action;
use kiln_wire::pb::op::Op as Kind;

use super::keys::{how, keyed, selector_of};
use super::value::{CopyTo, Selection, Value, clean, full_path, has_wildcard};
use super::world::World;
use super::{Reason, StepName};
use crate::facts::{attribute_values, source_kind};
use crate::steps::{Step, Steps};

/// One output of one cached result.
type Class = (usize, i64);

/// What a build finds in the cache for a step.
pub(super) enum Found {
    /// A result.
    Hit,
    /// Nothing is looked up: a directory of the user's.
    Local,
    /// Nothing is looked up: the step ignores the cache.
    Ignored,
    /// No step like it.
    Unknown,
    /// A step like it that read something else.
    Missed(Vec<Missed>),
}

/// An input that is not what it was.
pub(super) enum Missed {
    File { path: String, before: bool, now: bool },
    Input(usize),
}

impl Missed {
    pub(super) fn reason(self, steps: &Steps, name: &dyn Fn(usize) -> StepName) -> Reason {
        match self {
            Self::File { path, before: true, now: true } => Reason::FileChanged(path),
            Self::File { path, before: false, .. } => Reason::FileAdded(path),
            Self::File { path, .. } => Reason::FileRemoved(path),
            Self::Input(index) => match steps.get(index) {
                Some(step) if local_name(step).is_some() => Reason::Local(name(index)),
                _ => Reason::Input(name(index)),
            },
        }
    }
}

/// What a step of the build at hand made.
struct Simulated {
    record: usize,
    forced: bool,
}

/// All results so far.
#[derive(Default)]
pub(super) struct Cache {
    /// By the digest of the step's cache map.
    known: BTreeMap<Digest, Vec<Known>>,
    records: usize,
    values: BTreeMap<Class, Value>,
}

/// How a result can be found.
struct Known {
    deps: Vec<Dep>,
    record: usize,
}

/// What a step read of one input.
struct Dep {
    class: Class,
    /// The input ignored the cache, so nothing is found by what it is.
    forced: bool,
    /// Which part of it was read.
    selector: Option<Digest>,
    /// The content of that, where it may stand for the input.
    content: Option<Content>,
}

/// The content of a part of an input.
struct Content {
    digest: Digest,
    /// The same by name, to tell what changed.
    files: Vec<(Selector, Selection)>,
}

impl Dep {
    fn serves(&self, wanted: &Self) -> bool {
        let same = |content: &Content| {
            wanted.content.as_ref().is_some_and(|wanted| wanted.digest == content.digest)
        };
        !wanted.forced && self.is(wanted) || self.content.as_ref().is_some_and(same)
    }

    /// Whether it is the same part of the same result, found by whatever means.
    fn is(&self, other: &Self) -> bool {
        self.class == other.class && self.selector == other.selector
    }
}

impl Cache {
    /// Builds a graph and says what was found for each step that the result needs.
    pub(super) fn build(&mut self, steps: &Steps, world: &World) -> Vec<(usize, Found)> {
        let mut made: Vec<Simulated> = Vec::with_capacity(steps.len());
        let mut found = Vec::with_capacity(steps.len());
        for (index, step) in steps.iter().enumerate() {
            if !step.used {
                made.push(Simulated { record: self.record(), forced: false });
                continue;
            }
            let (record, what) = self.step(step, world, &made);
            made.push(Simulated { record, forced: step.metadata.ignore_cache });
            found.push((index, what));
        }
        found
    }

    fn record(&mut self) -> usize {
        self.records += 1;
        self.records
    }

    fn step(&mut self, step: &Step, world: &World, made: &[Simulated]) -> (usize, Found) {
        if let Some(name) = local_name(step) {
            let record = self.record();
            let value = local(step, world.locals.get(name).map(|files| &files.0));
            self.values.insert((record, 0), value);
            return (record, Found::Local);
        }
        let inputs = step.inputs.iter();
        let inputs: Vec<(Class, bool)> = inputs
            .map(|input| ((made[input.index].record, input.output), made[input.index].forced))
            .collect();
        let map = keyed(step, world);
        let deps = map.deps.into_iter().zip(&inputs);
        let deps: Vec<Dep> = deps.map(|(dep, input)| self.dep(dep, *input)).collect();
        let own = map.digest;
        let like = self.known.get(&own).map_or(&[][..], Vec::as_slice);
        let find = |serves: &dyn Fn(&Dep, &Dep) -> bool| {
            let known = like.iter().rev().find(|known| {
                known.deps.len() == deps.len()
                    && known.deps.iter().zip(&deps).all(|(known, dep)| serves(known, dep))
            });
            known.map(|known| known.record)
        };
        let hit = find(&Dep::serves).filter(|_| !step.metadata.ignore_cache);
        let what = match (hit, like.last()) {
            (Some(_), _) => Found::Hit,
            _ if step.metadata.ignore_cache => Found::Ignored,
            (None, Some(known)) => Found::Missed(missed(step, &known.deps, &deps)),
            (None, None) => Found::Unknown,
        };
        // What only ran because the cache was ignored goes by the name of what is cached, so that
        // what stands on it is found again.
        let again = || find(&|known, dep| known.serves(dep) || known.is(dep));
        let record = hit.or_else(again).unwrap_or_else(|| {
            let record = self.records + 1;
            self.records = record;
            let classes: Vec<Class> = inputs.iter().map(|(class, _)| *class).collect();
            self.make(step, &classes, record);
            record
        });
        self.known.entry(own).or_default().push(Known { deps, record });
        (record, what)
    }

    fn dep(&self, dep: kiln_keys::Dep, (class, forced): (Class, bool)) -> Dep {
        let content = dep.content.map(|query| {
            let value = self.value(class);
            let digest = value.content(&query);
            let files = query.selectors.into_iter().map(|selector| {
                let read = value.select(&selector);
                (selector, read)
            });
            Content { digest, files: files.collect() }
        });
        Dep { class, forced, selector: dep.selector.map(|selector| selector.digest), content }
    }

    fn value(&self, class: Class) -> Value {
        let known = self.values.get(&class).cloned();
        known.unwrap_or_else(|| Value::whole(format!("{}.{}", class.0, class.1)))
    }

    /// Remembers what is known of what a step makes.
    fn make(&mut self, step: &Step, inputs: &[Class], record: usize) {
        let at = |number: i64| {
            let class = usize::try_from(number).ok().and_then(|number| inputs.get(number));
            class.map_or_else(Value::default, |class| self.value(*class))
        };
        let made: Vec<(i64, Value)> = match &step.op.op {
            Some(Kind::File(file)) => file_values(file, inputs.len(), &at),
            Some(Kind::Merge(merge)) => {
                let mut all = Value::default();
                merge.inputs.iter().for_each(|input| all.lay(&at(input.input)));
                vec![(0, all)]
            }
            Some(Kind::Passthrough(through)) => {
                (0..).zip(&through.outputs).map(|(output, input)| (output, at(*input))).collect()
            }
            _ => Vec::new(),
        };
        for (output, value) in made {
            self.values.insert((record, output), value);
        }
    }
}

/// What the outputs of file actions hold.
fn file_values(file: &pb::FileOp, inputs: usize, at: &dyn Fn(i64) -> Value) -> Vec<(i64, Value)> {
    let mut results: Vec<Value> = Vec::with_capacity(file.actions.len());
    let mut made = Vec::new();
    for action in &file.actions {
        let of =
            |number: i64| match usize::try_from(number).ok().and_then(|n| n.checked_sub(inputs)) {
                Some(earlier) => results.get(earlier).cloned().unwrap_or_default(),
                None => at(number),
            };
        let mut value = of(action.input);
        match &action.action {
            Some(Action::Copy(copy)) => {
                let to =
                    CopyTo { path: &copy.dest, contents: copy.dir_copy_contents, how: &how(copy) };
                value.copy(&of(action.secondary_input), &selector_of(copy), &to);
            }
            Some(Action::Mkfile(file)) => value.write(&file.path, format!("{file:?}")),
            Some(Action::Mkdir(dir)) => value.make_directory(&dir.path, &format!("{dir:?}")),
            Some(Action::Symlink(link)) => value.write(&link.newpath, format!("{link:?}")),
            Some(Action::Rm(rm)) if rm.allow_wildcard && has_wildcard(&rm.path) => {
                let glob = Glob::parse(&clean(&rm.path)).ok();
                value.remove_all(&rm.path, &|path| glob.as_ref().is_some_and(|g| g.matches(path)));
            }
            Some(Action::Rm(rm)) => value.remove(&rm.path),
            None => {}
        }
        if action.output >= 0 {
            made.push((action.output, value.clone()));
        }
        results.push(value);
    }
    made
}

/// The name of a local source.
fn local_name(step: &Step) -> Option<&str> {
    match &step.op.op {
        Some(Kind::Source(source)) => match source_kind(&source.identifier) {
            ("local", name) => Some(name),
            _ => None,
        },
        _ => None,
    }
}

/// What of a directory of the user's is transferred.
fn local(step: &Step, files: Option<&BTreeMap<String, Digest>>) -> Value {
    let (Some(files), Some(Kind::Source(source))) = (files, &step.op.op) else {
        return Value::default();
    };
    let list = |name: &str| source.attrs.get(name).map_or_else(Vec::new, |v| attribute_values(v));
    let mut include = list("local.includepattern");
    include.extend(list("local.followpaths").iter().map(|path| clean(path)));
    if include.iter().any(|pattern| pattern.is_empty() || pattern == ".") {
        include.clear();
    }
    let parse = |list: &[String]| match list {
        [] => None,
        list => Some(Patterns::parse(list).unwrap_or_default()),
    };
    let (include, exclude) = (parse(&include), parse(&list("local.excludepatterns")));
    let passes = |path: &str| {
        include.as_ref().is_none_or(|patterns| patterns.matches(path))
            && !exclude.as_ref().is_some_and(|patterns| patterns.matches(path))
    };
    let passing = files.iter().filter(|(path, _)| passes(path));
    Value::of_files(passing.map(|(path, digest)| (path.clone(), digest.to_string())).collect())
}

/// What a step reads that a step like it did not.
fn missed(step: &Step, before: &[Dep], now: &[Dep]) -> Vec<Missed> {
    let mut missed = Vec::new();
    for (input, (old, new)) in before.iter().zip(now).enumerate() {
        if old.serves(new) {
            continue;
        }
        let mut files = Vec::new();
        if let (Some(before), Some(now)) = (&old.content, &new.content) {
            for ((_, before), (selector, now)) in before.files.iter().zip(&now.files) {
                changed_files(selector, before, now, &mut files);
            }
        }
        if files.is_empty() {
            missed.extend(step.inputs.get(input).map(|input| Missed::Input(input.index)));
        }
        missed.append(&mut files);
    }
    missed
}

fn changed_files(selector: &Selector, before: &Selection, now: &Selection, out: &mut Vec<Missed>) {
    let mut names: Vec<&String> = before.keys().chain(now.keys()).collect();
    names.sort_unstable();
    names.dedup();
    // What is not known by name cannot be told by name.
    for name in names.into_iter().filter(|name| !name.starts_with('\0')) {
        let (old, new) = (before.get(name), now.get(name));
        if old != new {
            let path = full_path(selector, name);
            out.push(Missed::File { path, before: old.is_some(), now: new.is_some() });
        }
    }
}
