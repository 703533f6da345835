//! [`Steps`]: a definition decoded, checked and numbered.
//!
//! A [`Definition`] comes in, as bytes that refer to each other by digest; steps that refer to each
//! other by position come out. The order follows from the graph alone: from the result up, each
//! step after what it reads, so neither the order of the bytes nor a digest shows in it. Everything
//! else in this crate that looks at a graph looks at it through here.

use std::collections::BTreeMap;

use kiln_llb::{CUSTOM_NAME, Definition, DefinitionError};
use kiln_oci::Digest;
use kiln_wire::pb;
use kiln_wire::pb::op::Op as Kind;

use crate::words::inline;

/// Why a definition has no steps.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepsError {
    /// The bytes of an op do not decode, or the last op does not say which output is meant.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// An op reads one that the definition does not have.
    #[error("op {op} reads {input}, which the definition does not contain")]
    MissingInput {
        /// The op that reads.
        op: Digest,
        /// What it reads.
        input: String,
    },
}

/// The steps of a definition, each after what it reads.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    list: Vec<Step>,
    result: Option<StepInput>,
}

/// One op of a definition with everything that is said about it.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its place in the order, counted from one.
    pub number: usize,
    /// The digest of its bytes.
    pub digest: Digest,
    /// What it does.
    pub op: pb::Op,
    /// What is said about it.
    pub metadata: pb::OpMetadata,
    /// What it reads, in the order of the op.
    pub inputs: Vec<StepInput>,
    /// Where it comes from in the user's files.
    pub places: Vec<Place>,
    /// Whether the result needs it.
    pub used: bool,
    /// The input that it changes: the root of a command, the base of file actions.
    pub(crate) base: Option<StepInput>,
    /// The nearest command on the way down along the bases, itself excluded, by index.
    pub(crate) command_below: Option<usize>,
    /// The nearest step with a platform on the same way, itself included, by index.
    pub(crate) platform_from: Option<usize>,
}

/// An output of a step, as another reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepInput {
    /// The index of the step in [`Steps`], which is its number minus one.
    pub index: usize,
    /// Which of its outputs.
    pub output: i64,
}

/// Lines of one of the user's files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The name of the file, as the user knows it.
    pub file: String,
    /// The first and the last line of each range, counted from one.
    pub lines: Vec<(i32, i32)>,
    /// The first character of the first range, counted from zero.
    pub character: i32,
}

impl Place {
    /// `file:3`, `file:3-5` or `file:3, 7-8`.
    pub fn text(&self) -> String {
        let lines = self.lines.iter().map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        });
        let lines: Vec<String> = lines.collect();
        match lines.is_empty() {
            true => inline(&self.file),
            false => format!("{}:{}", inline(&self.file), lines.join(", ")),
        }
    }
}

impl Steps {
    /// Decodes a definition.
    ///
    /// ```
    /// use kiln_llb::{Exec, Marshal, State, args};
    /// use kiln_testing::Steps;
    ///
    /// let built = State::image("alpine:3.20").run(Exec::default().with_args(args!["make"]));
    /// let steps = Steps::of(&built.root().marshal(&Marshal::default())?)?;
    /// let names: Vec<String> = steps.iter().map(|step| step.name()).collect();
    /// assert_eq!(names, ["image docker.io/library/alpine:3.20", "make"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`StepsError`] if an op does not decode or reads one that is not there.
    pub fn of(definition: &Definition) -> Result<Self, StepsError> {
        let head = definition.head()?;
        let Some((head, output)) = head else { return Ok(Self::default()) };
        let ops = Ops::read(definition)?;
        let result = ops.find(&ops.terminal, &head)?;
        let mut order = Vec::with_capacity(ops.list.len());
        let mut numbers = vec![None; ops.list.len()];
        ops.visit(result, &mut order, &mut numbers);
        let used = order.len();
        for root in ops.unused_roots(&numbers) {
            ops.visit(root, &mut order, &mut numbers);
        }
        let index = numbers[result].unwrap_or_default();
        let list = ops.into_steps(definition, &order, &numbers, used);
        Ok(Self { list, result: Some(StepInput { index, output }) })
    }

    /// All steps, in order; those that the result does not need come last.
    pub fn iter(&self) -> std::slice::Iter<'_, Step> {
        self.list.iter()
    }

    /// A step by index.
    pub fn get(&self, index: usize) -> Option<&Step> {
        self.list.get(index)
    }

    pub(crate) fn list(&self) -> &[Step] {
        &self.list
    }

    /// How many steps there are; the mark at the end that says which output is meant is none.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is nothing to make.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The output that the graph is there for.
    pub fn result(&self) -> Option<StepInput> {
        self.result
    }
}

impl Step {
    /// What people call it: its custom name, or one made from what it does.
    pub fn name(&self) -> String {
        match self.custom_name() {
            Some(name) => inline(name),
            None => crate::facts::short_name(&self.op),
        }
    }

    /// The name that whoever made the graph gave it.
    pub fn custom_name(&self) -> Option<&str> {
        self.metadata.description.get(CUSTOM_NAME).map(String::as_str).filter(|n| !n.is_empty())
    }

    /// An input by the number under which the op refers to it; nothing for scratch.
    pub(crate) fn input(&self, number: i64) -> Option<StepInput> {
        usize::try_from(number).ok().and_then(|number| self.inputs.get(number)).copied()
    }
}

/// The ops of a definition, each with the indexes of what it reads.
struct Ops {
    list: Vec<(Digest, pb::Op, Vec<usize>)>,
    known: BTreeMap<String, usize>,
    terminal: Digest,
}

impl Ops {
    fn read(definition: &Definition) -> Result<Self, StepsError> {
        let mut decoded = definition.ops().collect::<Result<Vec<_>, _>>()?;
        let terminal = decoded.pop().map_or_else(|| Digest::sha256(""), |(digest, _)| digest);
        let mut ops =
            Self { list: Vec::with_capacity(decoded.len()), known: BTreeMap::new(), terminal };
        for (digest, op) in decoded {
            let next = ops.list.len();
            if *ops.known.entry(digest.to_string()).or_insert(next) == next {
                ops.list.push((digest, op, Vec::new()));
            }
        }
        for index in 0..ops.list.len() {
            let (digest, op, _) = &ops.list[index];
            let reads = op.inputs.iter().map(|input| ops.find(digest, &input.digest));
            ops.list[index].2 = reads.collect::<Result<_, _>>()?;
        }
        Ok(ops)
    }

    fn find(&self, reader: &Digest, wanted: &str) -> Result<usize, StepsError> {
        self.known.get(wanted).copied().ok_or_else(|| StepsError::MissingInput {
            op: reader.clone(),
            input: wanted.chars().take(160).collect(),
        })
    }

    /// Lists an op after everything it reads. The stack is our own: a graph may be deep.
    fn visit(&self, root: usize, order: &mut Vec<usize>, numbers: &mut [Option<usize>]) {
        let mut open = vec![(root, 0)];
        while let Some((index, next)) = open.pop() {
            if numbers[index].is_some() {
                continue;
            }
            match self.list[index].2.get(next) {
                Some(input) => open.extend([(index, next + 1), (*input, 0)]),
                None => {
                    numbers[index] = Some(order.len());
                    order.push(index);
                }
            }
        }
    }

    /// Ops that nothing reads, other than the result, by name.
    fn unused_roots(&self, numbers: &[Option<usize>]) -> Vec<usize> {
        let mut read = vec![false; self.list.len()];
        for input in self.list.iter().flat_map(|(_, _, reads)| reads) {
            read[*input] = true;
        }
        let roots = (0..self.list.len()).filter(|index| numbers[*index].is_none() && !read[*index]);
        let mut roots: Vec<usize> = roots.collect();
        // The digest decides only between steps that go by the same name.
        roots.sort_by_cached_key(|index| {
            let (digest, op, _) = &self.list[*index];
            (crate::facts::short_name(op), digest.to_string())
        });
        roots
    }

    fn into_steps(
        self,
        definition: &Definition,
        order: &[usize],
        numbers: &[Option<usize>],
        used: usize,
    ) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::with_capacity(order.len());
        for (at, index) in order.iter().enumerate() {
            let (digest, op, reads) = &self.list[*index];
            let inputs = op.inputs.iter().zip(reads).map(|(input, read)| StepInput {
                index: numbers[*read].unwrap_or_default(),
                output: input.index,
            });
            let inputs: Vec<StepInput> = inputs.collect();
            let base = base(op, &inputs);
            let command_below = base.and_then(|base| {
                let below = steps.get(base.index)?;
                match below.op.op {
                    Some(Kind::Exec(_)) => Some(base.index),
                    _ => below.command_below,
                }
            });
            let below = base.and_then(|base| steps.get(base.index)?.platform_from);
            let platform_from = if op.platform.is_some() { Some(at) } else { below };
            steps.push(Step {
                number: at + 1,
                digest: digest.clone(),
                op: op.clone(),
                metadata: definition.metadata.get(digest.as_str()).cloned().unwrap_or_default(),
                inputs,
                places: places(definition, digest),
                used: at < used,
                base,
                command_below,
                platform_from,
            });
        }
        steps
    }
}

/// The input that an op changes.
fn base(op: &pb::Op, inputs: &[StepInput]) -> Option<StepInput> {
    let at = |number: i64| usize::try_from(number).ok().and_then(|n| inputs.get(n)).copied();
    match op.op.as_ref()? {
        Kind::Exec(exec) => at(exec.mounts.iter().find(|mount| mount.dest == "/")?.input),
        Kind::File(file) => at(file_base(file, inputs.len())),
        Kind::Merge(merge) => at(merge.inputs.first()?.input),
        Kind::Diff(diff) => at(diff.upper.as_ref()?.input),
        Kind::Passthrough(through) => at(*through.outputs.first()?),
        Kind::Source(_) | Kind::Build(_) => None,
    }
}

/// The input below the chain of actions that ends in the first output; -1 is scratch.
pub(crate) fn file_base(file: &pb::FileOp, inputs: usize) -> i64 {
    let first = file.actions.iter().filter(|action| action.output >= 0);
    let Some(mut action) = first.min_by_key(|action| action.output) else { return -1 };
    // An action can only stand on an earlier one, so this ends after as many rounds as there are
    // actions; a definition that says otherwise is not followed in circles.
    for _ in 0..file.actions.len() {
        let Ok(input) = usize::try_from(action.input) else { return -1 };
        let Some(before) = input.checked_sub(inputs) else { return action.input };
        match file.actions.get(before) {
            Some(next) => action = next,
            None => return -1,
        }
    }
    -1
}

fn places(definition: &Definition, digest: &Digest) -> Vec<Place> {
    let Some(source) = &definition.source else { return Vec::new() };
    let Some(locations) = source.locations.get(digest.as_str()) else { return Vec::new() };
    let located = locations.locations.iter().filter_map(|location| {
        let info = source.infos.get(usize::try_from(location.source_index).ok()?)?;
        let line = |at: Option<&pb::Position>| at.map_or(0, |at| at.line);
        let lines = location.ranges.iter().map(|range| {
            let first = line(range.start.as_ref());
            (first, line(range.end.as_ref()).max(first))
        });
        let start = location.ranges.first().and_then(|range| range.start.as_ref());
        let mut lines: Vec<(i32, i32)> = lines.collect();
        lines.dedup();
        let character = start.map_or(0, |at| at.character);
        Some(Place { file: info.filename.clone(), lines, character })
    });
    let mut places: Vec<Place> = located.collect();
    places.dedup();
    places
}
