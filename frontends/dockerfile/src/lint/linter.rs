//! Which violations are told, and in which order.

use std::borrow::Cow;

use super::config::LintConfig;
use super::rules::Rule;
use super::violation::Violation;
use crate::lines::Lines;
use crate::mistake::Mistake;

/// What the linter has to say of one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LintWarning {
    /// The rule.
    pub rule: &'static Rule,
    /// What is wrong here.
    pub text: String,
    /// Where.
    pub lines: Lines,
}

impl LintWarning {
    /// The warning in one line: rule, text and first line.
    pub fn short(&self) -> String {
        match self.lines {
            Lines::NOWHERE | Lines { first: 0, .. } => {
                format!("{}: {}", self.rule.name, self.text)
            }
            Lines { first, .. } => format!("{}: {} (line {first})", self.rule.name, self.text),
        }
    }
}

/// Hears of violations and keeps those that the configuration does not hide.
#[derive(Clone, Debug)]
pub struct Linter {
    config: LintConfig,
    silent: bool,
    warnings: Vec<LintWarning>,
}

impl Linter {
    /// A linter with a configuration for the whole file.
    pub fn new(config: LintConfig) -> Self {
        Self { config, silent: false, warnings: Vec::new() }
    }

    /// A linter that hears nothing, for the second platform of a build.
    pub fn silent() -> Self {
        Self { config: LintConfig::default(), silent: true, warnings: Vec::new() }
    }

    /// Hears of a violation in an instruction with these comments above it, which may say
    /// `check=skip=RULE`.
    pub fn report(&mut self, comments: &[impl AsRef<str>], lines: Lines, violation: &Violation) {
        if self.silent {
            return;
        }
        let rule = violation.rule();
        let config: Cow<'_, LintConfig> = self.config.with_comments(comments);
        if config.applies(rule) {
            self.warnings.push(LintWarning { rule, text: violation.to_string(), lines });
        }
    }

    /// The warnings so far, in the order they were heard of.
    pub fn warnings(&self) -> &[LintWarning] {
        &self.warnings
    }

    /// The warnings, in the order they were heard of.
    pub fn into_warnings(self) -> Vec<LintWarning> {
        self.warnings
    }

    /// The error that ends a build with `error=true`, once everything was converted.
    ///
    /// # Errors
    ///
    /// There were warnings and the configuration makes them errors.
    pub fn finish(&self) -> Result<(), Mistake> {
        if !self.config.error || self.warnings.is_empty() {
            return Ok(());
        }
        let mut names: Vec<&str> = Vec::new();
        for warning in &self.warnings {
            if !names.contains(&warning.rule.name) {
                names.push(warning.rule.name);
            }
        }
        Err(Mistake::new(format!("lint violation found for rules: {}", names.join(", "))))
    }
}
