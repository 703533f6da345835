//! Source policies: rules in, verdict and rewritten source out.
//!
//! A policy says which sources of a build are allowed, denied or replaced by others. It is compiled
//! once ([`Policy::compile`]), then asked for every source of a graph, every image whose config is
//! resolved and every frontend image ([`Policies::evaluate`]); [`replace`] writes what was converted
//! into the graph. Nothing is fetched or resolved here;
//! decisions that a client makes over its session are the caller's part.

mod definition;
mod evaluate;
mod matcher;
mod policy;
mod source;
#[cfg(test)]
mod tests;

pub use definition::{SourceVertex, replace, sources};
pub use evaluate::{EvaluateError, Evaluated, MAX_CONVERSIONS, Policies};
pub use matcher::MatcherError;
pub use policy::{Policy, PolicyError};
pub use source::Source;
