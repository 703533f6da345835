//! Why a step ran: what is recorded of the steps of a build, and what differs between two of them.
//!
//! While a build runs, the daemon notes of each step what its cache key is made of, as [`Fact`]s that
//! people can read, and a [`listing`] of the files that were looked at. A [`BuildRecord`] holds all
//! steps of a build. [`explain()`] takes the record of one build and those of earlier ones, and gives an
//! [`Explanation`]: of each step that ran, the nearest earlier step and what differs. All of it is
//! computed from records; nothing here reads a file, waits or knows a clock.

mod fact;
mod facts;
mod record;

pub mod listing;

mod explanation;

mod difference;
mod explain;
mod nearest;
mod same;

#[cfg(test)]
mod tests;

pub use explain::{Earlier, Listings, explain};
pub use explanation::{
    Cause, Compared, Difference, Explained, Explanation, FileChange, InCache, MEDIA_TYPE,
    NotReproducible, Place,
};
pub use fact::{Fact, What};
pub use facts::{Found, facts};
pub use record::{
    BuildRecord, CacheRecord, CacheView, InputRecord, ListingRecord, Outcome, RECORD_TYPE, Rerun,
    StepKind, StepRecord,
};
