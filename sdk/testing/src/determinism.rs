//! [`check`]: the same input makes the same graph, however often and in whatever order it comes.
//!
//! A closure comes in that runs a frontend; it is given a [`Shuffle`] for everything whose order
//! must not matter. It is run several times and its definitions are compared byte by byte, because
//! a single other byte is another cache key. The first difference is told in the words of
//! [`crate::difference()`], or by what the text of a graph does not show.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;

use kiln_llb::Definition;
use kiln_llb::encode::Canonical as _;
use kiln_wire::pb;

use crate::steps::Steps;
use crate::text::Text;

/// Another order for the inputs of each run. Equal runs give equal orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shuffle {
    run: usize,
}

impl Shuffle {
    /// The shuffle of a run: run 0 leaves everything as it is, run 1 turns it around, every other
    /// one is an order of its own.
    pub fn of_run(run: usize) -> Self {
        Self { run }
    }

    /// Which run this is, counted from zero.
    pub fn run(&self) -> usize {
        self.run
    }

    /// Things in the order of this run.
    pub fn order<T>(&self, things: impl IntoIterator<Item = T>) -> Vec<T> {
        let mut things: Vec<T> = things.into_iter().collect();
        match self.run {
            0 => {}
            1 => things.reverse(),
            run => {
                let mut random = u64::try_from(run).unwrap_or(u64::MAX);
                for n in (1..things.len()).rev() {
                    random = mixed(random);
                    let below = u64::try_from(n + 1).unwrap_or(u64::MAX);
                    things.swap(n, usize::try_from(random % below).unwrap_or_default());
                }
            }
        }
        things
    }
}

/// The next number of a fixed sequence that looks like chance (the constants are splitmix64's).
fn mixed(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What one run made: definitions by name, such as one per platform.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome(pub BTreeMap<String, Definition>);

impl From<Definition> for Outcome {
    fn from(definition: Definition) -> Self {
        Self([(String::new(), definition)].into())
    }
}

impl<N: Into<String>> FromIterator<(N, Definition)> for Outcome {
    fn from_iter<I: IntoIterator<Item = (N, Definition)>>(named: I) -> Self {
        Self(named.into_iter().map(|(name, definition)| (name.into(), definition)).collect())
    }
}

/// Why a frontend is not deterministic, or could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Nondeterminism<E: fmt::Display> {
    /// A run failed. If the first one did, determinism is not the problem.
    #[error("run {run} failed: {error}")]
    Failed {
        /// The run, counted from zero.
        run: usize,
        /// Its error.
        error: E,
    },
    /// A run made other definitions than the first one, by name.
    #[error("run {run} made {now:?}, the first one made {first:?}")]
    Names {
        /// The run.
        run: usize,
        /// What the first run made.
        first: Vec<String>,
        /// What this run made.
        now: Vec<String>,
    },
    /// A run made a definition that is not the first one's.
    #[error("run {run} made another graph{}:\n{difference}", of(.name))]
    Differs {
        /// The run.
        run: usize,
        /// Which definition.
        name: String,
        /// What is different, one sentence a line.
        difference: String,
    },
}

fn of(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" for {name}") }
}

/// Runs a frontend several times and returns what it made, if that is always the same.
///
/// ```
/// use kiln_llb::{Exec, Marshal, State, args};
/// use kiln_testing::determinism::check;
///
/// let error = check(3, |shuffle| {
///     let options = shuffle.order([("A", "1"), ("B", "2")]);
///     let state = options.iter().fold(State::image("alpine:3.20"), |s, (k, v)| s.with_env(*k, *v));
///     state.run(Exec::default().with_args(args!["env"])).root().marshal(&Marshal::default())
/// });
/// assert_eq!(
///     error.unwrap_err().to_string(),
///     "run 1 made another graph:\nstep 2 \"env\": environment: other order\n"
/// );
/// ```
///
/// # Errors
///
/// [`Nondeterminism`] with the first difference, or the error of a run.
pub fn check<M: Into<Outcome>, E: fmt::Display>(
    runs: usize,
    mut make: impl FnMut(Shuffle) -> Result<M, E>,
) -> Result<Outcome, Nondeterminism<E>> {
    let mut first: Option<Outcome> = None;
    for run in 0..runs.max(1) {
        let made = make(Shuffle::of_run(run));
        first = Some(compared(run, first, made.map(Into::into))?);
    }
    Ok(first.unwrap_or_default())
}

/// As [`check`], for a frontend that waits. The runs follow each other.
///
/// # Errors
///
/// As [`check`].
pub async fn check_async<M: Into<Outcome>, E: fmt::Display, F>(
    runs: usize,
    mut make: impl FnMut(Shuffle) -> F,
) -> Result<Outcome, Nondeterminism<E>>
where
    F: Future<Output = Result<M, E>>,
{
    let mut first: Option<Outcome> = None;
    for run in 0..runs.max(1) {
        let made = make(Shuffle::of_run(run)).await;
        first = Some(compared(run, first, made.map(Into::into))?);
    }
    Ok(first.unwrap_or_default())
}

fn compared<E: fmt::Display>(
    run: usize,
    first: Option<Outcome>,
    made: Result<Outcome, E>,
) -> Result<Outcome, Nondeterminism<E>> {
    let made = made.map_err(|error| Nondeterminism::Failed { run, error })?;
    let Some(first) = first else { return Ok(made) };
    if !first.0.keys().eq(made.0.keys()) {
        let names = |made: &Outcome| made.0.keys().cloned().collect();
        return Err(Nondeterminism::Names { run, first: names(&first), now: names(&made) });
    }
    for (name, now) in &made.0 {
        if let Some(before) = first.0.get(name)
            && let Some(difference) = explained(before, now)
        {
            return Err(Nondeterminism::Differs { run, name: name.clone(), difference });
        }
    }
    Ok(first)
}

/// How two definitions differ, down to the last byte; nothing if they do not.
pub fn explained(before: &Definition, now: &Definition) -> Option<String> {
    if before.to_bytes() == now.to_bytes() {
        return None;
    }
    let (old, new) = match (Steps::of(before), Steps::of(now)) {
        (Ok(old), Ok(new)) => (old, new),
        (Err(error), _) | (_, Err(error)) => return Some(format!("{error}\n")),
    };
    let difference = crate::difference::between(&old, &new);
    if !difference.is_empty() {
        return Some(difference.to_string());
    }
    let mut out = String::new();
    hidden(&old, &new, &mut out);
    said(&old, &new, &mut out);
    if text_of(&old) != text_of(&new) {
        out.push_str("places in the user's files are different\n");
    }
    if before.source != now.source && out.is_empty() {
        out.push_str("source files, or the steps that are listed with them, are different\n");
    }
    if before.def != now.def && out.is_empty() {
        out.push_str("the steps are the same, but written in another order\n");
    }
    if out.is_empty() {
        out.push_str("only bytes that say nothing are different\n");
    }
    Some(out)
}

fn text_of(steps: &Steps) -> String {
    Text::default().of(steps)
}

/// Attributes and the like that the text leaves out.
fn hidden(old: &Steps, new: &Steps, out: &mut String) {
    for (a, b) in old.iter().zip(new.iter()) {
        let bare = |op: &pb::Op| pb::Op { inputs: Vec::new(), ..op.clone() }.to_canonical();
        if bare(&a.op) == bare(&b.op) {
            continue;
        }
        let attrs = |op: &pb::Op| match &op.op {
            Some(pb::op::Op::Source(source)) => source.attrs.clone(),
            _ => BTreeMap::new(),
        };
        let (before, now) = (attrs(&a.op), attrs(&b.op));
        let names: Vec<&String> = now.keys().chain(before.keys()).collect();
        let changed = names.into_iter().find(|name| before.get(*name) != now.get(*name));
        let what = changed.map_or("bytes".into(), |name| format!("attribute {name}"));
        out.push_str(&format!("step {} \"{}\": {what} changed\n", b.number, b.name()));
    }
}

/// What is said about steps and does not show in the text: capabilities, ids of groups.
fn said(old: &Steps, new: &Steps, out: &mut String) {
    for (a, b) in old.iter().zip(new.iter()) {
        if a.metadata.caps != b.metadata.caps {
            out.push_str(&format!("step {} \"{}\": capabilities changed\n", b.number, b.name()));
        }
        if a.metadata.progress_group != b.metadata.progress_group {
            out.push_str(&format!("step {} \"{}\": progress group changed\n", b.number, b.name()));
        }
    }
}
