//! How results are keyed and where the keys are kept.
//!
//! A vertex tells how it is keyed ([`CacheMap`]); from that and from what its inputs are, the two
//! keys of a result are computed ([`key`]); records of results are found by key in a
//! [`CacheStore`], in memory or on disk. The disk store is synchronous. Nothing here knows what a
//! result is: it is text that the worker understands.

mod disk;
pub mod key;
mod map;
mod memory;
mod store;
#[cfg(test)]
mod tests;

pub use disk::{DiskStore, OpenError};
pub use key::CacheKey;
pub use map::{CacheDep, CacheMap};
pub use memory::MemoryStore;
pub use store::{CacheRecord, CacheStore};
