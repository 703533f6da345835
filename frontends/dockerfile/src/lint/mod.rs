//! The linter: rules with the reference's names and words, and which of them apply where.
//!
//! Who reads or lowers a Dockerfile reports a [`Violation`] with its place and the comments above it;
//! the [`Linter`] decides whether the rule applies there and keeps the [`LintWarning`]s in order.
//! Checks that need no expansion are in `checks`; the rest stand where words are expanded. What is told
//! of a text alone is in `text`, what puts violations right in `fixes`.

pub mod checks;
mod config;
mod fixes;
mod linter;
mod rules;
mod text;
mod violation;

pub use config::LintConfig;
pub use fixes::fixes;
pub use linter::{LintWarning, Linter};
pub use rules::{RULES, Rule};
pub use text::warnings;
pub use violation::Violation;
