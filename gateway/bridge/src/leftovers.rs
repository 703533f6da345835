//! What failed operations were done on and what they left, under names that the client can use: it
//! may look into them, or start a container on them.

use std::collections::{BTreeMap, VecDeque};

use kiln_engine::{Output, SolveError, Subject};
use kiln_graph::{Op, Vertex};
use kiln_wire::proto::errdefs;
use kiln_worker::Ref;

/// Failures of one build whose results stay; those of older ones are let go.
const FAILURES: usize = 16;
/// Content in an operation above this many bytes does not travel with its error.
const CONTENT: usize = 64 << 10;

/// The results of a build's failed operations, by their names.
#[derive(Default)]
pub(crate) struct Leftovers {
    refs: BTreeMap<String, Ref>,
    failures: VecDeque<Vec<String>>,
    next: u64,
}

impl Leftovers {
    /// The result of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&Ref> {
        self.refs.get(name)
    }

    /// Takes in what an error holds, and says what there is by which name; `None` if no operation
    /// failed.
    pub(crate) fn add(&mut self, error: &SolveError<Ref>) -> Option<errdefs::Solve> {
        let vertex = error.vertex.as_deref()?;
        let mut names = Vec::new();
        let input_ids = inputs(vertex, error).into_iter().map(|r| self.name(r, &mut names));
        let input_ids = input_ids.collect();
        let mount_ids = error.mounts.iter().map(|r| self.name(r.as_ref(), &mut names)).collect();
        self.failures.push_back(names);
        if self.failures.len() > FAILURES {
            for name in self.failures.pop_front().into_iter().flatten() {
                self.refs.remove(&name);
            }
        }
        Some(errdefs::Solve {
            input_i_ds: input_ids,
            mount_i_ds: mount_ids,
            op: Some(without_content(vertex)),
            description: vertex.metadata.description.clone(),
            subject: error.error.subject.map(subject),
        })
    }

    /// A new name for a result; none for an empty one.
    fn name(&mut self, result: Option<&Ref>, names: &mut Vec<String>) -> String {
        let Some(result) = result else { return String::new() };
        self.next += 1;
        let name = format!("failed-{}", self.next);
        self.refs.insert(name.clone(), result.clone());
        names.push(name.clone());
        name
    }
}

/// The inputs as clients expect them: those of a process once for each of its mounts.
fn inputs<'a>(vertex: &Vertex, error: &'a SolveError<Ref>) -> Vec<Option<&'a Ref>> {
    let of = |number: usize| error.inputs.get(number).and_then(Output::as_ref);
    match (&vertex.op, error.error.subject) {
        (Op::Exec(exec), None) if !error.inputs.is_empty() => {
            exec.mounts.iter().map(|mount| mount.input.and_then(of)).collect()
        }
        _ => (0..error.inputs.len()).map(of).collect(),
    }
}

/// The operation, without large contents of files: an error travels in headers.
fn without_content(vertex: &Vertex) -> kiln_wire::pb::Op {
    use kiln_wire::pb::{file_action::Action, op::Op as Kind};
    let mut op = vertex.arrived.op.clone();
    if let Some(Kind::File(file)) = &mut op.op {
        for action in &mut file.actions {
            if let Some(Action::Mkfile(file)) = &mut action.action
                && file.data.len() > CONTENT
            {
                file.data.clear();
            }
        }
    }
    op
}

fn subject(subject: Subject) -> errdefs::solve::Subject {
    let index = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    match subject {
        Subject::Content(input) => {
            errdefs::solve::Subject::Cache(errdefs::ContentCache { index: index(input) })
        }
        Subject::FileAction(action) => {
            errdefs::solve::Subject::File(errdefs::FileAction { index: index(action) })
        }
    }
}
