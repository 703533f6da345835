//! Ops that put states together: merge, diff, nested build, pass-through.

use std::sync::Arc;

use kiln_pb::pb;

use crate::marshal::{Lowered, MarshalError, Marshaller};
use crate::vertex::{InputList, Kind, Port, Vertex};
use crate::{Constraints, State, caps, fallback};

impl State {
    /// Lays states over each other, the later on top; scratch adds nothing.
    ///
    /// The result has the values of the first state that is not scratch.
    pub fn merge(inputs: &[Self]) -> Self {
        Self::merge_with(inputs, Constraints::default())
    }

    /// As [`State::merge`], with constraints.
    pub fn merge_with(inputs: &[Self], constraints: Constraints) -> Self {
        let layers: Vec<&Self> = inputs.iter().filter(|state| !state.is_scratch()).collect();
        match layers.as_slice() {
            [] => Self::scratch(),
            [only] => (*only).clone(),
            [first, ..] => {
                let inputs = layers.iter().filter_map(|state| state.output.clone()).collect();
                let vertex = Vertex::new(Kind::Merge, inputs, constraints);
                first.with_output(Some(vertex.plain_output(Port::Index(0))))
            }
        }
    }

    /// What `upper` changed since `lower`, with the values of `upper`.
    pub fn diff(lower: &Self, upper: &Self) -> Self {
        Self::diff_with(lower, upper, Constraints::default())
    }

    /// As [`State::diff`], with constraints.
    pub fn diff_with(lower: &Self, upper: &Self, constraints: Constraints) -> Self {
        match (&lower.output, &upper.output) {
            (None, None) => return Self::scratch(),
            (None, Some(_)) => return upper.clone(),
            (Some(lower), Some(upper)) if lower.same(upper) => return Self::scratch(),
            _ => {}
        }
        let mut inputs = InputList::default();
        let kind = Kind::Diff { lower: inputs.add(lower), upper: inputs.add(upper) };
        let vertex = Vertex::new(kind, inputs.0, constraints);
        upper.with_output(Some(vertex.plain_output(Port::Index(0))))
    }

    /// Builds the definition that is a file of this state; `filename` is the daemon's default if
    /// empty.
    pub fn build(&self, filename: &str, constraints: Constraints) -> Self {
        let mut inputs = InputList::default();
        inputs.add(self);
        let kind = Kind::Build { filename: filename.into() };
        let vertex = Vertex::new(kind, inputs.0, constraints);
        self.with_output(Some(vertex.plain_output(Port::Index(0))))
    }

    /// This state, but only after `others` have been made. `marker` names the vertex.
    pub fn requires(&self, marker: &str, others: &[Self]) -> Self {
        if others.iter().all(Self::is_scratch) {
            return self.clone();
        }
        let mut inputs = vec![PassthroughInput { state: self.clone(), output: true }];
        let others = others.iter().cloned();
        inputs.extend(others.map(|state| PassthroughInput { state, output: false }));
        let through = Passthrough::new(marker, &inputs, Constraints::default());
        self.with_output(through.state(0).output)
    }
}

/// An input of a [`Passthrough`].
#[derive(Clone, Debug)]
pub struct PassthroughInput {
    /// The state; scratch is left out.
    pub state: State,
    /// Whether it is also an output.
    pub output: bool,
}

/// A vertex that waits for its inputs and hands some of them on.
#[derive(Clone, Debug)]
pub struct Passthrough {
    vertex: Arc<Vertex>,
    outputs: usize,
}

impl Passthrough {
    /// A vertex with this id.
    pub fn new(id: &str, inputs: &[PassthroughInput], constraints: Constraints) -> Self {
        let mut list = InputList::default();
        let mut outputs = Vec::new();
        for input in inputs {
            let index = list.add(&input.state);
            outputs.extend(index.filter(|_| input.output));
        }
        let count = outputs.len();
        let kind = Kind::Passthrough { id: id.into(), outputs };
        Self { vertex: Vertex::new(kind, list.0, constraints), outputs: count }
    }

    /// One of the outputs, counted from zero. One that does not exist cannot be marshalled.
    pub fn state(&self, index: usize) -> State {
        let port = match i64::try_from(index) {
            Ok(port) if index < self.outputs => Port::Index(port),
            _ => Port::Missing(index),
        };
        State::on(self.vertex.plain_output(port))
    }
}

/// Lowers the kinds of this file.
pub(crate) fn lower(
    vertex: &Vertex,
    marshaller: &mut Marshaller<'_>,
) -> Result<Lowered, MarshalError> {
    let mut inputs = Vec::with_capacity(vertex.inputs.len());
    let mut numbers = Vec::with_capacity(vertex.inputs.len());
    for output in &vertex.inputs {
        let input = marshaller.input(output)?;
        numbers.push(if input.is_some() { number(inputs.len()) } else { -1 });
        inputs.extend(input);
    }
    let at = |index: &Option<usize>| index.map_or(-1, |index| numbers[index]);
    let (op, cap) = match &vertex.kind {
        Kind::Merge => {
            let inputs = numbers.iter().filter(|n| **n >= 0);
            let inputs = inputs.map(|&input| pb::MergeInput { input }).collect();
            (pb::op::Op::Merge(pb::MergeOp { inputs }), caps::MERGE_OP)
        }
        Kind::Diff { lower, upper } => {
            let lower = Some(pb::LowerDiffInput { input: at(lower) });
            let upper = Some(pb::UpperDiffInput { input: at(upper) });
            (pb::op::Op::Diff(pb::DiffOp { lower, upper }), caps::DIFF_OP)
        }
        Kind::Passthrough { id, outputs } => {
            (passthrough(id, outputs, &numbers)?, caps::PASSTHROUGH_OP)
        }
        Kind::Build { filename } => (build(filename, &numbers)?, caps::BUILD_OP_FILENAME),
        _ => return Err(MarshalError::Internal),
    };
    let platform = vertex.constraints.platform.clone();
    if marshaller.must_do_without(cap) {
        let (op, inputs, caps) = fallback::instead(op, &inputs, cap, marshaller)?;
        return Ok(Lowered { op, inputs, caps, platform, with_platform: false });
    }
    // Only a nested build runs anything, so only it keeps a platform.
    let with_platform = matches!(vertex.kind, Kind::Build { .. });
    Ok(Lowered { op, inputs, caps: vec![cap], platform, with_platform })
}

fn passthrough(id: &str, outputs: &[usize], numbers: &[i64]) -> Result<pb::op::Op, MarshalError> {
    if id.is_empty() {
        return Err(MarshalError::PassthroughId);
    }
    let outputs: Vec<i64> =
        outputs.iter().map(|index| numbers[*index]).filter(|n| *n >= 0).collect();
    if outputs.is_empty() {
        return Err(MarshalError::PassthroughEmpty);
    }
    Ok(pb::op::Op::Passthrough(pb::PassthroughOp { id: id.into(), outputs }))
}

fn build(filename: &str, numbers: &[i64]) -> Result<pb::op::Op, MarshalError> {
    if numbers.iter().all(|n| *n < 0) {
        return Err(MarshalError::BuildScratch);
    }
    let attrs = if filename.is_empty() {
        [].into()
    } else {
        [("llbbuild.filename".to_owned(), filename.to_owned())].into()
    };
    Ok(pb::op::Op::Build(pb::BuildOp {
        builder: -1,
        inputs: [("buildkit.llb.definition".to_owned(), pb::BuildInput { input: 0 })].into(),
        def: None,
        attrs,
    }))
}

fn number(index: usize) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}
