//! [`difference`]: what changed between two graphs, in sentences.
//!
//! Two definitions come in. Their steps are matched by what they do and where they stand, not by
//! digest, and what is left is said: which step changed what, which is new, which is gone, and which
//! only run again because something they read did. Where steps come from in the user's files does
//! not count, nor does anything else that the text leaves out.

mod align;
mod compare;

use std::fmt;

use kiln_llb::Definition;

use crate::steps::{StepInput, Steps, StepsError};
use crate::text::reference;

use align::Matches;
use compare::Compare;

/// A step as a sentence names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepName {
    /// Its number in the text of its graph.
    pub number: usize,
    /// Its name.
    pub name: String,
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {} \"{}\"", self.number, self.name)
    }
}

/// One thing that is different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A step does something else, or something else is said about it.
    Changed {
        /// The step, in the graph before.
        before: StepName,
        /// The step, in the graph after.
        after: StepName,
        /// Each thing that is different, such as `command changed: make -> make -j4`.
        what: Vec<String>,
        /// Whether it has to run again, or is only spoken of differently.
        reruns: bool,
    },
    /// A step is new.
    Added {
        /// The step, in the graph after.
        after: StepName,
        /// What it does, one fact each.
        what: Vec<String>,
    },
    /// A step is gone.
    Removed {
        /// The step, in the graph before.
        before: StepName,
    },
    /// A step does the same, but what it reads has changed.
    Rerun {
        /// The step, in the graph after.
        after: StepName,
        /// What it reads that changed.
        because: StepName,
        /// Whether that is a step of the graph before, which is gone.
        gone: bool,
    },
    /// Another output is meant, or none.
    Result {
        /// What was meant before.
        before: String,
        /// What is meant now.
        after: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { after, what, .. } => {
                for (n, what) in what.iter().enumerate() {
                    let end = if n == 0 { "" } else { "\n" };
                    write!(f, "{end}{after}: {what}")?;
                }
                Ok(())
            }
            Self::Added { after, what } => {
                write!(f, "{after} added")?;
                what.iter().try_for_each(|what| write!(f, "\n    {what}"))
            }
            Self::Removed { before } => write!(f, "{before} removed"),
            Self::Rerun { after, because, gone: false } => {
                write!(f, "{after} runs again, because step {} changed", because.number)
            }
            Self::Rerun { after, because, gone: true } => {
                write!(f, "{after} runs again, because \"{}\" is gone", because.name)
            }
            Self::Result { before, after } => write!(f, "result changed: {before} -> {after}"),
        }
    }
}

/// How two graphs differ. Displayed, it is one sentence a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// In the order of the steps of the graph after; a removed step stands where it was.
    pub changes: Vec<Change>,
}

impl Difference {
    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Whether any step has to run that did not run before.
    pub fn reruns(&self) -> bool {
        self.changes.iter().any(|change| match change {
            Change::Changed { reruns, .. } => *reruns,
            Change::Added { .. } | Change::Rerun { .. } => true,
            Change::Removed { .. } | Change::Result { .. } => false,
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.changes.iter().try_for_each(|change| writeln!(f, "{change}"))
    }
}

/// Says how two graphs differ.
///
/// ```
/// use kiln_llb::{Exec, Marshal, State, args};
///
/// let graph = |jobs: &str| {
///     let built = State::image("alpine:3.20").run(Exec::default().with_args(args!["make", jobs]));
///     let tested = built.root().run(Exec::default().with_args(args!["make", "test"]));
///     tested.root().marshal(&Marshal::default())
/// };
/// let difference = kiln_testing::difference(&graph("-j2")?, &graph("-j4")?)?;
/// assert_eq!(
///     difference.to_string(),
///     "step 2 \"make -j4\": command changed: make -j2 -> make -j4\n\
///      step 3 \"make test\" runs again, because step 2 changed\n"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`StepsError`] if a definition does not decode or has a hole.
pub fn difference(before: &Definition, after: &Definition) -> Result<Difference, StepsError> {
    Ok(between(&Steps::of(before)?, &Steps::of(after)?))
}

/// Says how two decoded graphs differ.
pub fn between(before: &Steps, after: &Steps) -> Difference {
    let matches = Matches::find(before, after);
    let compare = Compare { before, after, matches: &matches };
    let mut changes = Vec::new();
    // A removed step is told of before the first step that came after it and is still there.
    let mut told = 0;
    let mut rerun: Vec<Option<StepInput>> = vec![None; after.len()];
    for (index, step) in after.iter().enumerate() {
        match matches.before(index) {
            Some(old) => {
                changes.extend((told..old).filter_map(|gone| compare.removed(gone)));
                told = told.max(old + 1);
                let change = compare.matched(old, index, &rerun);
                let runs = match &change {
                    Some(Change::Changed { reruns, .. }) => *reruns,
                    Some(_) => true,
                    None => false,
                };
                rerun[index] = runs.then_some(StepInput { index, output: 0 });
                changes.extend(change);
            }
            None => {
                rerun[index] = Some(StepInput { index, output: 0 });
                changes.push(compare.added(step));
            }
        }
    }
    changes.extend((told..before.len()).filter_map(|gone| compare.removed(gone)));
    changes.extend(result(before, after, &matches));
    Difference { changes }
}

fn result(before: &Steps, after: &Steps, matches: &Matches) -> Option<Change> {
    let (old, new) = (before.result(), after.result());
    let same = match (old, new) {
        (None, None) => true,
        (Some(old), Some(new)) => {
            // A result on a step that is new or gone was told of with that step.
            let untold = matches.before(new.index).is_some() && matches.after(old.index).is_some();
            !untold || matches.before(new.index) == Some(old.index) && old.output == new.output
        }
        _ => false,
    };
    let name = |steps: &Steps, at: Option<StepInput>| match at {
        None => "scratch".to_owned(),
        Some(at) => {
            let name = steps.get(at.index).map_or_else(String::new, |step| step.name());
            format!("{} \"{name}\"", reference(at))
        }
    };
    (!same).then(|| Change::Result { before: name(before, old), after: name(after, new) })
}
