//! The conformance kit: what users expect of every build language, asked of any frontend.
//!
//! [`conform`] builds samples of the language over and over, each time with another wish of a user
//! or another weakness of a daemon, and watches what the frontend asks, solves and returns. It sees
//! the frontend from outside, so it does not matter who wrote it, in which language, and whether it
//! is linked in or a program of its own ([`crate::Executable`]). Nothing is built: the daemon is a
//! stage that remembers everything (`stage.rs`). The checks are rows of one table (`checks.rs`).

mod checks;
mod conduct;
mod fake_daemon;
mod graph;
mod mistakes;
mod options;
mod report;
mod requests;
mod result;
mod run;
mod samples;

use std::time::Duration;

use kiln_frontend::Frontend;

use self::checks::{CHECKS, Found, Kit};
pub use self::report::{Outcome, Report, Verdict};
use self::samples::SampleKind;
pub use self::samples::{Samples, SamplesError};

/// How strict the kit is.
#[derive(Clone, Debug)]
pub struct ConformOptions {
    /// How long one build may take before the frontend counts as hanging.
    pub limit: Duration,
    /// How long a build may take without anybody calling it slow.
    pub quick: Duration,
    /// How often the same build is repeated to find out whether its graph is always the same.
    pub repeats: u32,
}

impl Default for ConformOptions {
    fn default() -> Self {
        Self { limit: Duration::from_secs(20), quick: Duration::from_secs(3), repeats: 5 }
    }
}

/// Asks a frontend everything that can be asked with these samples.
///
/// A frontend that panics, hangs or returns nonsense fails the checks where it does; it does not
/// keep the others from being made.
///
/// # Cancellation
///
/// Dropping the future drops the build that runs.
pub async fn conform(frontend: &dyn Frontend, samples: &Samples, terms: &ConformOptions) -> Report {
    let mut outcomes: Vec<Merged> = CHECKS.iter().map(|_| Merged::default()).collect();
    for sample in &samples.list {
        let kit = Kit::new(frontend, sample, terms).await;
        for (check, merged) in CHECKS.iter().zip(&mut outcomes) {
            // What one sample has shown to be wrong no other can put right.
            if merged.verdict() != Some(Verdict::Fail) {
                let found = (check.run)(&kit).await;
                merged.add(&sample.name, found, samples.list.len() > 1, sample.kind);
            }
        }
    }
    let checks = CHECKS.iter().zip(outcomes).map(|(check, merged)| Outcome {
        check: check.name,
        asks: check.asks,
        verdict: merged.verdict().unwrap_or(Verdict::NotApplicable),
        detail: merged.0.map(|(_, detail)| detail).unwrap_or_default(),
        read: check.read,
    });
    Report { checks: checks.collect() }
}

/// The worst that the samples had to say about a check; that there was nothing to say counts least.
#[derive(Default)]
struct Merged(Option<(Verdict, String)>);

impl Merged {
    fn verdict(&self) -> Option<Verdict> {
        self.0.as_ref().map(|(verdict, _)| *verdict)
    }

    fn add(&mut self, sample: &str, found: Found, several: bool, kind: SampleKind) {
        let (verdict, detail) = match found {
            Found::Pass(detail) => (Verdict::Pass, detail),
            Found::Fail(detail) => (Verdict::Fail, detail),
            Found::Advice(detail) => (Verdict::Advice, detail),
            Found::NotApplicable(detail) => (Verdict::NotApplicable, detail),
        };
        let counts = match (self.verdict(), verdict) {
            (None, Verdict::NotApplicable) => kind == SampleKind::Valid,
            (None, _) | (_, Verdict::Fail | Verdict::Advice) => true,
            (known, verdict) => known == Some(Verdict::NotApplicable) && verdict == Verdict::Pass,
        };
        if counts {
            let named = several && matches!(verdict, Verdict::Fail | Verdict::Advice);
            let detail = if named { format!("sample {sample}: {detail}") } else { detail };
            self.0 = Some((verdict, detail));
        }
    }
}
