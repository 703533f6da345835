//! What the kernel knows of this process.

use std::fs;
use std::time::Duration;

use serde_json::json;

/// What the kernel counts times of processes in, for programs: the same on every machine.
const TICKS_PER_SECOND: f64 = 100.0;

/// Facts about this process, of one moment. What the kernel does not say is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProcessFacts {
    /// Memory that is in use, in bytes.
    pub(super) resident_bytes: u64,
    /// Open descriptors.
    pub(super) descriptors: usize,
    /// How long it has run.
    pub(super) up: Duration,
    /// Its asynchronous tasks.
    pub(super) tasks: usize,
    /// Its threads: id, name, state, and where the kernel waits for them.
    pub(super) threads: Vec<String>,
}

impl ProcessFacts {
    /// Asks the kernel.
    pub(super) fn read() -> Self {
        let read =
            |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let status = read("status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|text| text.trim_end_matches("kB").trim().parse().ok());
        Self {
            resident_bytes: resident.map_or(0, |kilobytes: u64| kilobytes * 1024),
            descriptors: fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            up: up(&read("stat"), &fs::read_to_string("/proc/uptime").unwrap_or_default()),
            tasks: tasks(),
            threads: threads(),
        }
    }

    /// The same as metrics, in the text format of Prometheus.
    pub(super) fn metrics(&self) -> String {
        let up = self.up.as_secs_f64();
        let gauges: [(&str, &str, &dyn std::fmt::Display); 4] = [
            ("process_resident_memory_bytes", "Memory in use", &self.resident_bytes),
            ("process_open_fds", "Open descriptors", &self.descriptors),
            ("process_threads", "Threads", &self.threads.len()),
            ("process_uptime_seconds", "Time since the start", &up),
        ];
        let gauge = |(name, help, value): (&str, &str, &dyn std::fmt::Display)| {
            format!("# HELP {name} {help}.\n# TYPE {name} gauge\n{name} {value}\n")
        };
        gauges.into_iter().map(gauge).collect()
    }

    /// The same as JSON.
    pub(super) fn json(&self) -> String {
        let facts = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "uptimeSeconds": self.up.as_secs_f64(),
            "residentBytes": self.resident_bytes,
            "openDescriptors": self.descriptors,
            "tasks": self.tasks,
            "threads": self.threads.len(),
        });
        format!("{facts:#}\n")
    }
}

/// The age of a process: the machine's, less the machine's when the process began.
fn up(stat: &str, uptime: &str) -> Duration {
    // After the name, which may hold anything, in brackets.
    let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let began = fields.nth(19).and_then(|ticks| ticks.parse::<f64>().ok());
    let now = uptime.split(' ').next().and_then(|seconds| seconds.parse::<f64>().ok());
    let age = began.zip(now).map(|(began, now)| now - began / TICKS_PER_SECOND);
    age.and_then(|age| Duration::try_from_secs_f64(age).ok()).unwrap_or_default()
}

fn tasks() -> usize {
    let runtime = tokio::runtime::Handle::try_current();
    runtime.map_or(0, |runtime| runtime.metrics().num_alive_tasks())
}

fn threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let mut threads: Vec<_> = tasks
        .map(|task| {
            let read = |name| fs::read_to_string(task.path().join(name)).unwrap_or_default();
            let stat = read("stat");
            let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
            let waits = read("wchan");
            let (id, name) = (task.file_name(), read("comm"));
            format!("{} {} {} {waits}", id.display(), name.trim(), state.unwrap_or('?'))
        })
        .collect();
    threads.sort();
    threads
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_descriptors_and_threads() {
        let facts = ProcessFacts::read();
        assert!(facts.resident_bytes > 0 && facts.descriptors > 2);
        assert!(
            facts.threads.iter().any(|thread| thread.contains(&std::process::id().to_string()))
        );
    }

    #[test]
    fn metrics_of_a_process_are_gauges_with_help() {
        let text = ProcessFacts { descriptors: 7, ..ProcessFacts::default() }.metrics();
        let open = "# HELP process_open_fds Open descriptors.\n# TYPE process_open_fds gauge\nprocess_open_fds 7\n";
        assert!(text.contains(open) && text.ends_with("process_uptime_seconds 0\n"), "{text}");
    }

    #[test]
    fn the_age_of_a_process_is_what_the_machine_is_older() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 500 0 0";
        assert_eq!(up(stat, "12.5 3.0"), Duration::from_millis(7500));
        assert_eq!(up("", ""), Duration::ZERO);
    }
}
