//! What the kit found: one outcome per check, in the order of the checks.

use std::fmt;

use serde::Serialize;

/// The outcomes of all checks of one frontend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// One per check, in a fixed order.
    pub checks: Vec<Outcome>,
}

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The name of the check, such as `keeps-base-config`.
    pub check: &'static str,
    /// What the check asks of a frontend, in one line.
    pub asks: &'static str,
    /// Whether the frontend does that.
    pub verdict: Verdict,
    /// What was seen, or why there was nothing to see.
    pub detail: String,
    /// Where to read more, in Kiln's SDK and in BuildKit's words.
    pub read: &'static str,
}

/// Whether a frontend does what is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It does.
    Pass,
    /// It does not.
    Fail,
    /// It does not, and neither does BuildKit's own frontend; users would be better off if it did.
    Advice,
    /// The samples give it nothing to do there.
    NotApplicable,
}

impl Report {
    /// Whether nothing failed.
    pub fn passed(&self) -> bool {
        self.failed().next().is_none()
    }

    /// The checks that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Outcome> {
        self.checks.iter().filter(|outcome| outcome.verdict == Verdict::Fail)
    }

    /// The outcome of a check, by its name.
    pub fn check(&self, name: &str) -> Option<&Outcome> {
        self.checks.iter().find(|outcome| outcome.check == name)
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.checks.iter().filter(|outcome| outcome.verdict == verdict).count()
    }
}

impl Verdict {
    /// The verdict as one word of a table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Advice => "note",
            Self::NotApplicable => "n/a",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.detail.lines();
        write!(
            f,
            "{:<4}  {:<24}  {}",
            self.verdict.word(),
            self.check,
            lines.next().unwrap_or_default()
        )?;
        for line in lines {
            write!(f, "\n{:32}{line}", "")?;
        }
        if matches!(self.verdict, Verdict::Fail | Verdict::Advice) {
            write!(f, "\n{:32}asked: {}\n{:32}read:  {}", "", self.asks, "", self.read)?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for outcome in &self.checks {
            writeln!(f, "{outcome}")?;
        }
        let verdicts = [Verdict::Pass, Verdict::Fail, Verdict::Advice, Verdict::NotApplicable];
        let [pass, fail, advice, none] = verdicts.map(|verdict| self.count(verdict));
        write!(f, "{pass} passed, {fail} failed, ")?;
        match advice {
            0 => write!(f, "{none} not applicable"),
            advice => write!(f, "{advice} could be better, {none} not applicable"),
        }
    }
}
