//! Counters of builds and steps, in the text format of Prometheus.
//!
//! The names are those that BuildKit's endpoint has. Labels are few and their values known, so the
//! number of series is bounded whatever clients do.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kiln_wire::proto::control::StatusResponse;
use tonic::Code;

/// Upper bounds of the buckets of durations, in seconds.
const BUCKETS: &[f64] = &[0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0];

/// Counters since the daemon began.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    running: u64,
    /// By the code of the error; those that succeeded have none.
    builds: BTreeMap<Option<i32>, u64>,
    steps: Steps,
    /// By whether the build succeeded.
    durations: BTreeMap<bool, Histogram>,
}

/// Steps of builds that have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Steps {
    pub(crate) total: u64,
    pub(crate) completed: u64,
    pub(crate) cached: u64,
    pub(crate) warnings: u64,
}

#[derive(Debug, Default)]
struct Histogram {
    /// How many were within the bound of each bucket, and not of the one before.
    buckets: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

impl Steps {
    /// Counts the steps of one build from its progress.
    pub(crate) fn of(progress: &[Arc<StatusResponse>]) -> Self {
        let mut steps: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
        for vertex in progress.iter().flat_map(|response| &response.vertexes) {
            let (completed, cached) = steps.entry(&vertex.digest).or_default();
            *completed |= vertex.completed.is_some();
            *cached |= vertex.cached;
        }
        let count = |matches: fn(&(bool, bool)) -> bool| {
            steps.values().filter(|step| matches(step)).count() as u64
        };
        Self {
            total: steps.len() as u64,
            completed: count(|(completed, _)| *completed),
            cached: count(|(_, cached)| *cached),
            warnings: progress.iter().map(|response| response.warnings.len() as u64).sum(),
        }
    }
}

/// A build that goes on; when it is dropped without an end, its client has gone.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    metrics: &'a Metrics,
    began: Instant,
    ended: bool,
}

impl Running<'_> {
    /// Says how a build ended.
    pub(crate) fn ended(mut self, error: Option<Code>) {
        self.count(error);
    }

    fn count(&mut self, error: Option<Code>) {
        self.ended = true;
        let duration = self.began.elapsed();
        let mut counts = self.metrics.counts();
        *counts.builds.entry(error.map(|code| code as i32)).or_default() += 1;
        counts.durations.entry(error.is_none()).or_default().add(duration);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.count(Some(Code::Cancelled));
        }
        self.metrics.counts().running -= 1;
    }
}

impl Metrics {
    /// Counts a build that begins.
    pub(crate) fn began(&self) -> Running<'_> {
        self.counts().running += 1;
        Running { metrics: self, began: Instant::now(), ended: false }
    }

    /// Counts the steps of a build that has ended.
    pub(crate) fn add_steps(&self, steps: Steps) {
        let sum = &mut self.counts().steps;
        sum.total += steps.total;
        sum.completed += steps.completed;
        sum.cached += steps.cached;
        sum.warnings += steps.warnings;
    }

    /// All counters as text.
    pub fn text(&self) -> String {
        let counts = self.counts();
        let mut text = Exposition::default();
        text.family("buildkit_builds_total", "counter", "Builds that have ended");
        for (code, count) in &counts.builds {
            let labels = match code {
                None => "{status=\"success\"}".to_owned(),
                Some(code) => {
                    let code = Code::from_i32(*code);
                    format!("{{status=\"failure\",error_code=\"{code:?}\"}}")
                }
            };
            text.sample("buildkit_builds_total", &labels, count);
        }
        text.family("buildkit_builds_steps_total", "counter", "Steps of builds that have ended");
        let Steps { total, completed, cached, warnings } = counts.steps;
        for (kind, count) in
            [("total", total), ("completed", completed), ("cached", cached), ("warnings", warnings)]
        {
            text.sample("buildkit_builds_steps_total", &format!("{{kind=\"{kind}\"}}"), &count);
        }
        text.family("buildkit_build_duration_seconds", "histogram", "Time that builds took");
        for (success, histogram) in &counts.durations {
            histogram.write(&mut text, if *success { "success" } else { "failure" });
        }
        text.gauge("kiln_builds_running", "Builds that go on", &counts.running);
        text.0
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Histogram {
    fn add(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        self.count += 1;
        self.seconds += seconds;
        if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            self.buckets[bucket] += 1;
        }
    }

    fn write(&self, text: &mut Exposition, status: &str) {
        const NAME: &str = "buildkit_build_duration_seconds";
        let mut within = 0;
        for (bound, count) in BUCKETS.iter().zip(self.buckets) {
            within += count;
            let labels = format!("{{status=\"{status}\",le=\"{bound}\"}}");
            text.sample(&format!("{NAME}_bucket"), &labels, &within);
        }
        let all = format!("{{status=\"{status}\",le=\"+Inf\"}}");
        text.sample(&format!("{NAME}_bucket"), &all, &self.count);
        let labels = format!("{{status=\"{status}\"}}");
        text.sample(&format!("{NAME}_sum"), &labels, &self.seconds);
        text.sample(&format!("{NAME}_count"), &labels, &self.count);
    }
}

/// A text in the format of Prometheus.
#[derive(Default)]
struct Exposition(String);

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.0, "# HELP {name} {help}.\n# TYPE {name} {kind}").ok();
    }

    fn sample(&mut self, name: &str, labels: &str, value: &dyn std::fmt::Display) {
        writeln!(self.0, "{name}{labels} {value}").ok();
    }

    fn gauge(&mut self, name: &str, help: &str, value: &dyn std::fmt::Display) {
        self.family(name, "gauge", help);
        self.sample(name, "", value);
    }
}

#[cfg(test)]
mod tests {
    use kiln_wire::proto::control::{Vertex, VertexWarning};

    use super::*;

    #[test]
    fn builds_are_counted_by_how_they_ended() {
        let metrics = Metrics::default();
        let _running = metrics.began();
        metrics.began().ended(None);
        metrics.began().ended(Some(Code::Unknown));
        drop(metrics.began());
        metrics.add_steps(Steps { total: 5, completed: 4, cached: 2, warnings: 1 });
        let text = metrics.text();
        let timed = |line: &str| line.starts_with('#') || line.contains("_duration_seconds");
        let text: String =
            text.lines().filter(|line| !timed(line)).flat_map(|line| [line, "\n"]).collect();
        insta::assert_snapshot!(text, @r#"
        buildkit_builds_total{status="success"} 1
        buildkit_builds_total{status="failure",error_code="Cancelled"} 1
        buildkit_builds_total{status="failure",error_code="Unknown"} 1
        buildkit_builds_steps_total{kind="total"} 5
        buildkit_builds_steps_total{kind="completed"} 4
        buildkit_builds_steps_total{kind="cached"} 2
        buildkit_builds_steps_total{kind="warnings"} 1
        kiln_builds_running 1
        "#);
    }

    #[test]
    fn buckets_hold_what_is_within_their_bound() {
        let mut histogram = Histogram::default();
        for seconds in [0.05, 0.7, 1.0, 7000.0] {
            histogram.add(Duration::from_secs_f64(seconds));
        }
        let mut text = Exposition::default();
        histogram.write(&mut text, "success");
        let lines: Vec<_> =
            text.0.lines().map(|line| line.split_once("success\"").unwrap().1).collect();
        assert_eq!(lines[..3], [",le=\"0.1\"} 1", ",le=\"0.5\"} 1", ",le=\"1\"} 3"]);
        assert_eq!(lines[10..], [",le=\"3600\"} 3", ",le=\"+Inf\"} 4", "} 7001.75", "} 4"]);
    }

    #[test]
    fn a_step_counts_once_however_often_it_is_reported() {
        let vertex = |digest: &str, completed: bool, cached| Vertex {
            digest: digest.into(),
            completed: completed.then(Default::default),
            cached,
            ..Vertex::default()
        };
        let response = |vertexes, warnings: usize| {
            Arc::new(StatusResponse {
                vertexes,
                warnings: vec![VertexWarning::default(); warnings],
                ..StatusResponse::default()
            })
        };
        let progress = [
            response(vec![vertex("a", false, false), vertex("b", false, false)], 0),
            response(vec![vertex("a", true, true), vertex("a", true, true)], 2),
        ];
        let steps = Steps { total: 2, completed: 1, cached: 1, warnings: 2 };
        assert_eq!(Steps::of(&progress), steps);
    }
}
