//! `--debug-json-cache-metrics`: how much of a build came from the cache.

use std::collections::BTreeMap;
use std::time::Duration;

use kiln_oci::Digest;
use kiln_progress::Progress;
use serde::Serialize;

/// Counts vertices as they go by.
#[derive(Debug, Default)]
pub(crate) struct CacheMetrics(BTreeMap<Digest, Seen>);

#[derive(Debug)]
struct Seen {
    name: String,
    cached: bool,
    completed: bool,
}

/// The figures; a user's step is one that is not internal.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Figures {
    /// All vertices.
    pub total: usize,
    /// Those that ended.
    pub completed: usize,
    /// The user's steps.
    pub user_total: usize,
    /// Those that came from the cache.
    pub user_cached: usize,
    /// Those that ended.
    pub user_completed: usize,
    /// Those that could come from the cache: base images always do.
    pub user_cacheable: usize,
    /// The base images.
    pub from: usize,
    /// The user's steps that could have come from the cache and did not.
    pub miss: usize,
    /// How long the client waited, in milliseconds.
    pub client_duration_ms: u128,
}

impl CacheMetrics {
    /// Takes in a batch.
    pub(crate) fn observe(&mut self, batch: &[Progress]) {
        for progress in batch {
            let Progress::Vertex(vertex) = progress else { continue };
            let seen = self.0.entry(vertex.digest.clone()).or_insert_with(|| Seen {
                name: vertex.name.clone(),
                cached: false,
                completed: false,
            });
            seen.cached |= vertex.cached;
            seen.completed |= vertex.completed.is_some();
        }
    }

    /// The figures after a build that took `duration`.
    pub(crate) fn figures(&self, duration: Duration) -> Figures {
        let mut figures =
            Figures { client_duration_ms: duration.as_millis(), ..Figures::default() };
        for seen in self.0.values() {
            figures.total += 1;
            figures.completed += usize::from(seen.completed);
            if seen.name.starts_with("[internal]") {
                continue;
            }
            figures.user_total += 1;
            figures.user_completed += usize::from(seen.completed);
            if seen.name.contains("] FROM ") {
                figures.from += 1;
                continue;
            }
            figures.user_cacheable += 1;
            figures.user_cached += usize::from(seen.cached);
            figures.miss += usize::from(seen.completed && !seen.cached);
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use kiln_progress::Vertex;

    use super::*;

    #[test]
    fn a_step_counts_once_however_often_it_is_told() {
        let vertex = |name: &str, cached| {
            let started = Vertex::new(Digest::sha256(name), name);
            let ended =
                Vertex { cached, completed: Some(SystemTime::UNIX_EPOCH), ..started.clone() };
            [Progress::Vertex(started), Progress::Vertex(ended)]
        };
        let mut metrics = CacheMetrics::default();
        metrics.observe(&vertex("[internal] load Dockerfile", false));
        metrics.observe(&vertex("[1/3] FROM alpine", true));
        metrics.observe(&vertex("[2/3] RUN a", true));
        metrics.observe(&vertex("[3/3] RUN b", false));
        let expected = Figures {
            total: 4,
            completed: 4,
            user_total: 3,
            user_cached: 1,
            user_completed: 3,
            user_cacheable: 2,
            from: 1,
            miss: 1,
            client_duration_ms: 7,
        };
        assert_eq!(metrics.figures(Duration::from_millis(7)), expected);
    }
}
