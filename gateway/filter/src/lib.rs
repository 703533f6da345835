//! Filters in containerd's grammar, for whatever has fields.
//!
//! Texts come in ([`Filter::parse`]), records, workers and builds are asked whether they match
//! ([`Filter::matches`]); what their fields are called they say themselves ([`Fields`]). A filter is
//! a list of texts, any of which may match; a text is a comma-separated list of selectors, all of
//! which must hold: `field`, `field==value`, `field!=value`, `field~=expression`. One grammar for
//! disk use, pruning, workers, history and policies of collection.

mod error;
mod filter;
mod parse;
#[cfg(test)]
mod tests;

pub use error::FilterError;
pub use filter::{Fields, Filter};
