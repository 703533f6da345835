//! [`simulate`]: which steps run again after an edit, and why, without running any.
//!
//! A definition, the files it will find and an edit come in; for each step, whether the cache still
//! serves it comes out. The rules are the daemon's: a step is found by what it does and by the
//! cached results it stands on, copies and read-only mounts also by the content of what they read.
//! What a command makes is not known here, so a command that runs again is taken to make something
//! else. Symbolic links in the user's files are not followed.

mod cache;
mod keys;
mod value;
mod world;

use std::fmt;

use kiln_llb::Definition;

use crate::difference::{Change, StepName, between};
use crate::steps::{Steps, StepsError};

use cache::{Cache, Found};

pub use world::{Edit, Files, World};

/// What happens to a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The cache has its result.
    Cached,
    /// It is a directory of the user's, which every build looks through.
    Read,
    /// It runs.
    Runs(Vec<Reason>),
}

/// Why a step runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A file it reads has other bytes.
    FileChanged(String),
    /// A file it reads is new.
    FileAdded(String),
    /// A file it reads is gone.
    FileRemoved(String),
    /// A step it reads runs.
    Input(StepName),
    /// It reads a directory of the user's as a whole, which no build finds in the cache.
    Local(StepName),
    /// It does something else now, each thing a sentence.
    Changed(Vec<String>),
    /// It is new.
    New,
    /// The image, download or repository holds something else.
    Remote,
    /// It is told to ignore the cache.
    IgnoresCache,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileChanged(path) => write!(f, "{path} changed"),
            Self::FileAdded(path) => write!(f, "{path} is new"),
            Self::FileRemoved(path) => write!(f, "{path} is gone"),
            Self::Input(step) => write!(f, "step {} runs", step.number),
            Self::Local(step) => write!(f, "it reads all of {}", step.name),
            Self::Changed(what) => f.write_str(&what.join(", ")),
            Self::New => f.write_str("it is new"),
            Self::Remote => f.write_str("what it fetches changed"),
            Self::IgnoresCache => f.write_str("it ignores the cache"),
        }
    }
}

/// A step and what happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedStep {
    /// The step.
    pub step: StepName,
    /// What happens to it.
    pub outcome: Outcome,
}

/// What a build after an edit would do. Displayed, it is a headline and a line per step that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Simulated {
    /// The steps that the result needs, in order.
    pub steps: Vec<SimulatedStep>,
}

impl Simulated {
    /// The steps that run, by number.
    pub fn runs(&self) -> Vec<usize> {
        let runs = |step: &&SimulatedStep| matches!(step.outcome, Outcome::Runs(_));
        self.steps.iter().filter(runs).map(|step| step.step.number).collect()
    }

    /// How many steps there are, without the directories of the user's.
    pub fn total(&self) -> usize {
        self.steps.iter().filter(|step| step.outcome != Outcome::Read).count()
    }
}

impl fmt::Display for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// More reasons of one step are only counted.
        const SHOWN: usize = 4;
        writeln!(f, "{} of {} steps run", self.runs().len(), self.total())?;
        for SimulatedStep { step, outcome } in &self.steps {
            let Outcome::Runs(reasons) = outcome else { continue };
            let shown: Vec<String> = reasons.iter().take(SHOWN).map(Reason::to_string).collect();
            let more = match reasons.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            writeln!(f, "{step}: {}{more}", shown.join(", "))?;
        }
        Ok(())
    }
}

/// Says what a second build does after the world was edited, if the first one filled the cache.
///
/// ```
/// use kiln_llb::{Action, CopyOptions, Exec, Local, Marshal, State, args};
/// use kiln_testing::{Edit, World, simulate};
///
/// let context = State::local("context", Local::default());
/// let copy = |path: &str| Action::copy(&context, path, format!("/app{path}"), CopyOptions::default());
/// let run = |word: &str| Exec::default().with_args(args!["npm", word]);
/// let installed = State::image("node:22").file(copy("/package.json")).run(run("ci")).root();
/// let built = installed.file(copy("/src")).run(run("build")).root();
/// let definition = built.marshal(&Marshal::default())?;
///
/// let world = World::of_context([("package.json", "{}"), ("src/a.js", "1"), ("README", "")]);
/// let after = simulate(&definition, &world, [Edit::write("src/a.js", "2")])?;
/// assert_eq!(
///     after.to_string(),
///     "2 of 5 steps run\n\
///      step 5 \"copy /src -> /app/src\": src/a.js changed\n\
///      step 6 \"npm build\": step 5 runs\n"
/// );
/// assert!(simulate(&definition, &world, [Edit::write("README", "hi")])?.runs().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`StepsError`] if the definition does not decode or has a hole.
pub fn simulate(
    definition: &Definition,
    world: &World,
    edits: impl IntoIterator<Item = Edit>,
) -> Result<Simulated, StepsError> {
    simulate_change((definition, world), (definition, &world.edited(edits)))
}

/// Says what a build does in another world or of another definition, such as one with another build
/// argument, if the one before filled the cache.
///
/// # Errors
///
/// [`StepsError`] if a definition does not decode or has a hole.
pub fn simulate_change(
    before: (&Definition, &World),
    after: (&Definition, &World),
) -> Result<Simulated, StepsError> {
    let (old, new) = (Steps::of(before.0)?, Steps::of(after.0)?);
    let changes = between(&old, &new).changes;
    let mut cache = Cache::default();
    cache.build(&old, before.1);
    let found = cache.build(&new, after.1);
    let name = |index: usize| {
        let step = &new.list()[index];
        StepName { number: step.number, name: step.name() }
    };
    let simulated = found.into_iter().map(|(index, found)| SimulatedStep {
        step: name(index),
        outcome: match found {
            Found::Hit => Outcome::Cached,
            Found::Local => Outcome::Read,
            Found::Ignored => Outcome::Runs(vec![Reason::IgnoresCache]),
            Found::Unknown => Outcome::Runs(unknown(&changes, index + 1)),
            Found::Missed(missed) => {
                let reasons = missed.into_iter().map(|missed| missed.reason(&new, &name));
                Outcome::Runs(reasons.collect())
            }
        },
    });
    Ok(Simulated { steps: simulated.collect() })
}

/// Why there is nothing like a step in the cache.
fn unknown(changes: &[Change], number: usize) -> Vec<Reason> {
    let reason = changes.iter().find_map(|change| match change {
        Change::Changed { after, what, .. } if after.number == number => {
            Some(Reason::Changed(what.clone()))
        }
        Change::Added { after, .. } if after.number == number => Some(Reason::New),
        _ => None,
    });
    vec![reason.unwrap_or(Reason::Remote)]
}
