//! `--expect-cached`: steps that were to come from the cache.
//!
//! Progress comes in; what comes out is which of the steps that were named ran nevertheless.

use std::collections::BTreeMap;

use kiln_oci::Digest;
use kiln_progress::Progress;

use crate::step_pattern::StepPattern;

/// A build did not find in the cache what it was to find there; exit code 3.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotCached {
    /// Steps ran.
    #[error("{count} of the steps that were expected in the cache ran: {names}", count = .0.len(), names = .0.join(", "))]
    Ran(Vec<String>),
    /// Nothing is called like that, so nothing was expected.
    #[error("--expect-cached {pattern:?} fits none of the steps: {steps}")]
    NoStep {
        /// The pattern.
        pattern: String,
        /// What steps there are.
        steps: String,
    },
}

/// Sees which steps come from the cache.
#[derive(Debug, Default)]
pub(crate) struct ExpectedCache {
    patterns: Vec<StepPattern>,
    seen: BTreeMap<Digest, Seen>,
    order: Vec<Digest>,
}

#[derive(Debug, Default)]
struct Seen {
    name: String,
    started: bool,
    cached: bool,
}

impl ExpectedCache {
    /// Expects steps that fit these patterns to come from the cache.
    pub(crate) fn new(patterns: &[StepPattern]) -> Self {
        Self { patterns: patterns.to_vec(), ..Self::default() }
    }

    /// Whether nothing is expected.
    pub(crate) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Takes in a batch.
    pub(crate) fn observe(&mut self, batch: &[Progress]) {
        if self.is_empty() {
            return;
        }
        for progress in batch {
            let Progress::Vertex(vertex) = progress else { continue };
            let seen = self.seen.entry(vertex.digest.clone()).or_insert_with(|| {
                self.order.push(vertex.digest.clone());
                Seen::default()
            });
            seen.name.clone_from(&vertex.name);
            seen.started |= vertex.started.is_some();
            seen.cached |= vertex.cached;
        }
    }

    /// The steps that ran although they were expected, in the order they came in.
    ///
    /// # Errors
    ///
    /// [`NotCached::NoStep`] if a pattern fits nothing: a mistake in it must not pass for a hit.
    pub(crate) fn missed(&self) -> Result<Vec<(String, Digest)>, NotCached> {
        let steps = self.order.iter().filter_map(|digest| Some((digest, self.seen.get(digest)?)));
        // What frontends read for themselves is no step of the user's.
        let steps: Vec<_> =
            steps.filter(|(_, seen)| !seen.name.starts_with("[internal] ")).collect();
        for pattern in &self.patterns {
            if !steps.iter().any(|(_, seen)| pattern.fits(&seen.name)) {
                let names: Vec<&str> = steps.iter().map(|(_, seen)| seen.name.as_str()).collect();
                let (pattern, steps) = (pattern.as_str().to_owned(), names.join(", "));
                return Err(NotCached::NoStep { pattern, steps });
            }
        }
        let is_expected = |name: &str| self.patterns.iter().any(|pattern| pattern.fits(name));
        let ran = steps.into_iter().filter(|(_, seen)| seen.started && !seen.cached);
        let missed = ran.filter(|(_, seen)| is_expected(&seen.name));
        Ok(missed.map(|(digest, seen)| (seen.name.clone(), digest.clone())).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use kiln_progress::Vertex;

    use super::*;

    fn expected(patterns: &[&str]) -> Result<Vec<String>, NotCached> {
        let patterns: Vec<_> = patterns.iter().map(|text| StepPattern::new(text)).collect();
        let mut expected = ExpectedCache::new(&patterns);
        let step = |name: &str, started: bool, cached| {
            let vertex = Vertex::new(Digest::sha256(name), name);
            let started = started.then_some(SystemTime::UNIX_EPOCH);
            Progress::Vertex(Vertex { started, cached, ..vertex })
        };
        expected.observe(&[
            step("[internal] load build context", true, false),
            step("[1/3] RUN apt-get update", false, false),
            step("[1/3] RUN apt-get update", true, true),
            step("[2/3] RUN make", true, false),
            step("[3/3] RUN never", false, false),
        ]);
        expected.missed().map(|missed| missed.into_iter().map(|(name, _)| name).collect())
    }

    #[test]
    fn steps_that_ran_are_missed_and_those_that_were_not_needed_are_not() {
        assert_eq!(expected(&["RUN apt*", "RUN never"]).unwrap(), [""; 0]);
        assert_eq!(expected(&["RUN *"]).unwrap(), ["[2/3] RUN make"]);
        let error = expected(&["RUN make", "RUN mkae"]).unwrap_err();
        let NotCached::NoStep { pattern, steps } = &error else { panic!("{error}") };
        assert_eq!(pattern, "RUN mkae");
        assert!(steps.contains("[2/3] RUN make") && !steps.contains("[internal]"), "{steps}");
    }
}
