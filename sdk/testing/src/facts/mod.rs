//! What a step says, fact by fact: the one place that turns ops into words.
//!
//! A step and a way to name other steps come in, a [`Facts`] comes out: the kind, and a list of
//! keys with values. The text shows them, the difference compares them, the drawing hangs them on
//! its boxes. Digests of steps never appear; steps are named as the caller likes.

mod about;
mod exec;
mod file;
mod source;

use kiln_wire::pb;
use kiln_wire::pb::op::Op as Kind;

use crate::steps::{Step, StepInput, Steps};
use crate::words::{cut, inline, word};

pub(crate) use source::{kind as source_kind, values as attribute_values};

/// How many characters a name made from an op may have.
const MAX_NAME: usize = 80;

/// A step in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Such as `image` or `exec`.
    pub(crate) kind: &'static str,
    /// In the order in which they are shown.
    pub(crate) list: Vec<Fact>,
}

/// One thing a step says. Lines of the value after the first are shown below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fact {
    /// What it is about.
    pub(crate) key: &'static str,
    /// What is said.
    pub(crate) value: String,
    /// The words before the value if it belongs into the title.
    pub(crate) title: Option<&'static str>,
}

/// How a step is put into words.
pub(crate) struct View<'a> {
    /// All steps.
    pub(crate) steps: &'a Steps,
    /// What an output of another step is called.
    pub(crate) name: &'a dyn Fn(StepInput) -> String,
    /// The whole environment of a command instead of what changed since the command below.
    pub(crate) whole_env: bool,
    /// Capabilities too.
    pub(crate) caps: bool,
    /// Places in the user's files too.
    pub(crate) places: bool,
}

impl Facts {
    fn new(kind: &'static str) -> Self {
        Self { kind, list: Vec::new() }
    }

    fn add(&mut self, key: &'static str, value: impl Into<String>) {
        self.list.push(Fact { key, value: value.into(), title: None });
    }

    fn add_given(&mut self, key: &'static str, value: &str) {
        if !value.is_empty() {
            self.add(key, word(value));
        }
    }

    fn title(&mut self, key: &'static str, before: &'static str, value: impl Into<String>) {
        self.list.push(Fact { key, value: value.into(), title: Some(before) });
    }

    /// The kind and what belongs behind it.
    pub(crate) fn heading(&self) -> String {
        let mut out = self.kind.to_owned();
        for fact in &self.list {
            if let Some(before) = fact.title {
                out.push_str(before);
                out.push_str(&fact.value);
            }
        }
        out
    }
}

impl View<'_> {
    /// Everything a step says.
    pub(crate) fn facts(&self, step: &Step) -> Facts {
        let mut facts = match &step.op.op {
            Some(Kind::Source(op)) => source::facts(op),
            Some(Kind::Exec(op)) => exec::facts(self, step, op),
            Some(Kind::File(op)) => file::facts(self, step, op),
            Some(Kind::Build(op)) => self.build(step, op),
            Some(Kind::Merge(op)) => {
                let mut facts = Facts::new("merge");
                let inputs = op.inputs.iter().map(|input| self.input(step, input.input));
                facts.title("of", " ", inputs.collect::<Vec<_>>().join(", "));
                facts
            }
            Some(Kind::Diff(op)) => {
                let mut facts = Facts::new("diff");
                let lower = op.lower.as_ref().map_or(-1, |lower| lower.input);
                let upper = op.upper.as_ref().map_or(-1, |upper| upper.input);
                facts.title("lower", " ", self.input(step, lower));
                facts.title("upper", " -> ", self.input(step, upper));
                facts
            }
            Some(Kind::Passthrough(op)) => self.passthrough(step, op),
            None => Facts::new("nothing"),
        };
        self.platform(step, &mut facts);
        let does = facts.list.split_off(
            facts.list.iter().position(|f| f.title.is_none()).unwrap_or(facts.list.len()),
        );
        about::name(self, step, &mut facts);
        facts.list.extend(does);
        about::rest(self, step, &mut facts);
        facts
    }

    /// What an input is called, by the number under which the op refers to it.
    fn input(&self, step: &Step, number: i64) -> String {
        match (step.input(number), number) {
            (Some(input), _) => (self.name)(input),
            (None, ..0) => "scratch".into(),
            (None, number) => format!("input {number}, which is not there"),
        }
    }

    /// The platform goes without saying if it is that of the step below.
    fn platform(&self, step: &Step, facts: &mut Facts) {
        let Some(own) = &step.op.platform else { return };
        let below = step.base.and_then(|base| self.steps.get(base.index));
        let below = below.and_then(|below| self.steps.get(below.platform_from?));
        if below.and_then(|below| below.op.platform.as_ref()) != Some(own) {
            facts.title("platform", " ", platform(own));
        }
    }

    fn build(&self, step: &Step, op: &pb::BuildOp) -> Facts {
        let mut facts = Facts::new("build");
        for (name, input) in &op.inputs {
            let input = self.input(step, input.input);
            match name.as_str() {
                "buildkit.llb.definition" => facts.title("of", " of ", input),
                name => facts.add("input", format!("{} = {input}", word(name))),
            }
        }
        for (name, value) in &op.attrs {
            let name = if name == "llbbuild.filename" { "filename" } else { name };
            facts.add("with", format!("{}={}", word(name), word(value)));
        }
        if op.builder != -1 {
            facts.add("builder", self.input(step, op.builder));
        }
        if let Some(definition) = &op.def {
            facts.add("definition", format!("of {} ops inside", definition.def.len()));
        }
        facts
    }

    fn passthrough(&self, step: &Step, op: &pb::PassthroughOp) -> Facts {
        let mut facts = Facts::new("passthrough");
        facts.title("id", " ", word(&op.id));
        let all = (0..step.inputs.len()).map(|n| self.input(step, number(n)));
        facts.title("of", " of ", all.collect::<Vec<_>>().join(", "));
        for output in &op.outputs {
            facts.add("hands on", self.input(step, *output));
        }
        facts
    }
}

fn number(index: usize) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

/// `os/architecture[/variant]`, with what else there is behind it.
fn platform(platform: &pb::Platform) -> String {
    let parts = [&platform.os, &platform.architecture, &platform.variant];
    let parts = parts.iter().filter(|part| !part.is_empty()).map(|part| word(part));
    let mut out = parts.collect::<Vec<_>>().join("/");
    if !platform.os_version.is_empty() {
        out.push_str(&format!(" version {}", word(&platform.os_version)));
    }
    for feature in &platform.os_features {
        out.push_str(&format!(" feature {}", word(feature)));
    }
    out
}

/// What an op is called if nobody gave it a name.
pub(crate) fn short_name(op: &pb::Op) -> String {
    let name = match &op.op {
        Some(Kind::Source(op)) => source::name(op),
        Some(Kind::Exec(op)) => exec::name(op),
        Some(Kind::File(op)) => file::name(op),
        Some(Kind::Build(_)) => "build".into(),
        Some(Kind::Merge(_)) => "merge".into(),
        Some(Kind::Diff(_)) => "diff".into(),
        Some(Kind::Passthrough(op)) => format!("passthrough {}", inline(&op.id)),
        None => "nothing".into(),
    };
    cut(&name, MAX_NAME)
}
