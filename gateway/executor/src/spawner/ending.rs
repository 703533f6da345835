//! Ending a job in order: SIGTERM to all its processes, time for those that want it, SIGKILL.
//!
//! Only a process that handles SIGTERM gets the time: a shell that waits for a command, being the
//! first of its process namespace, does not even notice the signal, and nothing would be gained by
//! waiting for it. What the kernel says of all processes comes in as text, so that the choice of
//! processes is a function.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::job::JobKind;

/// How often the processes of a job that is ending are looked at.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

/// A job's last time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    deadline: Instant,
}

impl Ending {
    /// Asks every process of the job `root` to end.
    pub(super) fn begin(root: Pid, kind: JobKind, grace: Duration) -> Self {
        for process in of_job(&Processes::read(), root, kind) {
            // One that has just ended needs no signal.
            if let Some(pid) = Pid::from_raw(process.own) {
                rustix::process::kill_process(pid, Signal::TERM).ok();
            }
        }
        Self { deadline: Instant::now() + grace }
    }

    /// Whether the time is up: by the clock, or because none of the processes makes use of it.
    pub(super) fn is_over(&self, root: Pid, kind: JobKind) -> bool {
        Instant::now() >= self.deadline
            || !of_job(&Processes::read(), root, kind).iter().any(|process| process.handles)
    }
}

/// One process, numbered as this mount of `/proc` does, but for `own`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    parent: i32,
    /// Its number for the spawner.
    own: i32,
    /// Whether it has a handler for SIGTERM.
    handles: bool,
}

/// All processes that the spawner could signal, and its own number.
#[derive(Debug, Default)]
struct Processes {
    spawner: i32,
    by_number: BTreeMap<i32, Process>,
}

impl Processes {
    fn read() -> Self {
        let own = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let statuses = entries
            .filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit())
            .filter_map(|entry| fs::read_to_string(entry.path().join("status")).ok());
        Self::parse(&own, statuses)
    }

    /// Reads `/proc/…/status` of the spawner and of all processes.
    fn parse(spawner: &str, statuses: impl Iterator<Item = String>) -> Self {
        let own = numbers(spawner);
        let (Some(first), depth) = (own.first(), own.len()) else { return Self::default() };
        let by_number = statuses.filter_map(|status| {
            let numbers = numbers(&status);
            let ended = field(&status, "State").is_none_or(|state| state.starts_with(['Z', 'X']));
            let process = Process {
                parent: field(&status, "PPid")?.parse().ok()?,
                own: *numbers.get(depth - 1)?,
                handles: field(&status, "SigCgt").is_some_and(handles_term),
            };
            (!ended).then_some((*numbers.first()?, process))
        });
        Self { spawner: *first, by_number: by_number.collect() }
    }

    /// The numbers of a process and its parents up to the spawner's own child; empty if it is not
    /// below the spawner.
    fn way_up(&self, mut number: i32) -> Vec<i32> {
        let mut way = Vec::new();
        // A parent that is its own ancestor would be a misreading; no tree is that deep.
        while let Some(process) = self.by_number.get(&number).filter(|_| way.len() < 4096) {
            way.push(process.own);
            if process.parent == self.spawner {
                return way;
            }
            number = process.parent;
        }
        Vec::new()
    }
}

/// The processes of a job: all below its first, with it. An OCI runtime and who waits for it are
/// no part of the job: they end when it does.
fn of_job(processes: &Processes, root: Pid, kind: JobKind) -> Vec<Process> {
    let above = match kind {
        JobKind::Bundle | JobKind::BundleExec => 2,
        JobKind::Container | JobKind::Exec | JobKind::Host => 0,
    };
    let root = root.as_raw_nonzero().get();
    let below = |number: &i32| {
        let way = processes.way_up(*number);
        way.last() == Some(&root) && way.len() > above
    };
    let found = processes.by_number.iter().filter(|(number, _)| below(number));
    found.map(|(_, process)| process.clone()).collect()
}

/// The numbers of a process in this and the namespaces below, its innermost last.
fn numbers(status: &str) -> Vec<i32> {
    let numbers = field(status, "NSpid").unwrap_or_default();
    numbers.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = status.lines();
    lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

/// Whether a set of signals, in hexadecimal, has SIGTERM in it.
fn handles_term(signals: &str) -> bool {
    u64::from_str_radix(signals, 16).is_ok_and(|set| set & (1 << (libc::SIGTERM - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDLES: &str = "0000000000004000";
    const NOTHING: &str = "0000000180000000";

    fn status(parent: i32, numbers: &str, state: &str, caught: &str) -> String {
        format!(
            "Name:\tx\nState:\t{state}\nPPid:\t{parent}\nNSpid:\t{numbers}\nSigCgt:\t{caught}\n"
        )
    }

    /// A spawner (100, in its own namespace 1) with two jobs: a shell (2) with a command that
    /// handles SIGTERM and one that does not, and an OCI runtime (7) with its container.
    fn processes() -> Processes {
        let statuses = [
            status(1, "100 1", "S (sleeping)", HANDLES),
            status(100, "101 2 1", "S (sleeping)", NOTHING),
            status(101, "102 3 2", "R (running)", HANDLES),
            status(101, "103 4 3", "S (sleeping)", NOTHING),
            status(101, "104 5 4", "Z (zombie)", HANDLES),
            status(100, "110 7 1", "S (sleeping)", HANDLES),
            status(110, "111 8 2", "S (sleeping)", HANDLES),
            status(111, "112 9 3 1", "S (sleeping)", NOTHING),
            status(1, "200 2", "S (sleeping)", HANDLES),
        ];
        Processes::parse(&status(1, "100 1", "R", NOTHING), statuses.into_iter())
    }

    #[track_caller]
    fn check(root: i32, kind: JobKind, expected: &[(i32, bool)]) {
        let found = of_job(&processes(), Pid::from_raw(root).unwrap(), kind);
        let found: Vec<_> = found.iter().map(|process| (process.own, process.handles)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_job_is_its_first_process_and_all_below_that_have_not_ended() {
        check(2, JobKind::Container, &[(2, false), (3, true), (4, false)]);
    }

    #[test]
    fn a_runtime_and_its_supervisor_are_not_asked_to_end() {
        check(7, JobKind::Bundle, &[(9, false)]);
    }

    #[test]
    fn processes_of_other_parents_are_left_alone() {
        check(1, JobKind::Container, &[]);
        check(200, JobKind::Host, &[]);
    }
}
