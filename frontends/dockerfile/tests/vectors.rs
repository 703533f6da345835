//! Every recorded case of the reference frontend, answered by this one.
//!
//! A case is a directory of a set in `tests/vectors`: a build with its options and all that the
//! daemon answers, and what the frontend must make of it. `KILN_VECTOR=name cargo test -p
//! kiln-dockerfile --test vectors -- --nocapture` runs the cases whose name has `name` in it and
//! shows every difference.

#![expect(clippy::print_stdout, reason = "the test says how many cases agree, and which do not")]
#![expect(clippy::disallowed_methods, reason = "the environment chooses the cases")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_dockerfile::Dockerfile;
use kiln_testing::{Case, compare, replay_blocking};

/// The recorded sets: one case per feature, and those that mutation found.
const SETS: &[&str] = &["dockerfile", "dockerfile-more"];

/// Cases in which this frontend differs on purpose, with the reason.
const DIFFERENT: &[(&str, &str)] = &[
    (
        "020-lint-text-order-over-12",
        "more than twelve warnings are sorted by an unstable sort there, so that equal places have no \
         order of their own; here they stand in the order of the file",
    ),
    (
        "022-nesting-over-100",
        "values that lie more than a hundred deep in each other are refused: the depth of a file is not \
         that of the stack",
    ),
];

/// What came of one case.
struct Outcome {
    name: String,
    group: String,
    /// Nothing if the answer is the recorded one.
    mismatches: Vec<String>,
}

#[test]
fn every_recorded_case_is_answered_as_the_reference_answers_it() {
    let filter = std::env::var("KILN_VECTOR").unwrap_or_default();
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors");
    let cases: Vec<PathBuf> = SETS
        .iter()
        .flat_map(|set| directories(&vectors.join(set)))
        .filter(|path| path.to_string_lossy().contains(&filter))
        .collect();
    assert!(!cases.is_empty(), "no case has {filter} in its name");
    let outcomes = run_all(&cases);
    let passed = outcomes.iter().filter(|outcome| outcome.mismatches.is_empty()).count();
    println!("passed {passed} of {}", outcomes.len());
    let mut failures: BTreeMap<&str, Vec<&Outcome>> = BTreeMap::new();
    let expected = |outcome: &&Outcome| DIFFERENT.iter().any(|(name, _)| *name == outcome.name);
    for outcome in outcomes.iter().filter(|outcome| !outcome.mismatches.is_empty()) {
        match DIFFERENT.iter().find(|(name, _)| *name == outcome.name) {
            Some((name, reason)) => println!("{name} differs: {reason}"),
            None => failures.entry(&outcome.group).or_default().push(outcome),
        }
    }
    for (group, outcomes) in &failures {
        println!("{group}: {}", outcomes.len());
        for outcome in outcomes {
            let shown = if filter.is_empty() { 1 } else { outcome.mismatches.len() };
            for mismatch in outcome.mismatches.iter().take(shown) {
                let length = if filter.is_empty() { 300 } else { 4000 };
                println!(
                    "  {}: {}",
                    outcome.name,
                    mismatch.chars().take(length).collect::<String>()
                );
            }
        }
    }
    let idle = outcomes.iter().filter(expected).find(|outcome| outcome.mismatches.is_empty());
    assert!(idle.is_none(), "{} is no longer different", idle.map_or("", |o| &o.name));
    assert!(failures.is_empty(), "{} cases differ", failures.values().map(Vec::len).sum::<usize>());
}

fn directories(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut directories: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    directories.sort();
    directories
}

/// Runs cases on all cores; outcomes are in the order of the cases.
fn run_all(cases: &[PathBuf]) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(path) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push(run(path));
        }
        done
    };
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let mut outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    outcomes.sort_by(|a, b| a.name.cmp(&b.name));
    outcomes
}

fn run(path: &Path) -> Outcome {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let case = Case::load(path).unwrap();
    let group = case.features.first().cloned().unwrap_or_default();
    let frontend = match case.channel.as_str() {
        "labs" => Dockerfile::labs(),
        _ => Dockerfile::mainline(),
    };
    let expected = case.expected().unwrap().unwrap();
    let answered = std::panic::catch_unwind(|| replay_blocking(&frontend, &case));
    let mismatches = match answered {
        Ok(Ok(answer)) => compare(&expected, &answer).iter().map(ToString::to_string).collect(),
        Ok(Err(error)) => vec![format!("unusable: {error}")],
        Err(_) => vec!["panicked".to_owned()],
    };
    Outcome { name, group, mismatches }
}
