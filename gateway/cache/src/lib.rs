//! Where results are found again.
//!
//! A vertex says how it is keyed ([`CacheMap`](kiln_keys::CacheMap)): a digest of what it does, and what counts of each of
//! its inputs. Results are found by walking a graph: a *record* stands for one output of an operation
//! on certain inputs, and a *link* leads from the record of an input to the records of what reads it.
//! An input is often known by several records (how it was made; the layers of an image whatever its
//! manifest; what is in the files that are read), and each of them may lead on. A record may have
//! several results, the newest first to try, or none: then it is a step on the way to others.
//!
//! [`Lookup`] goes in and [`Answer`] comes out of every [`CacheSource`]; [`LinkStore`] is the one over
//! ordered keys ([`KeyValue`]), on disk or in memory, and the [`CacheStore`] that results are saved in.
//! A look-up loads nothing and writes nothing. Nothing here knows what a result is: it is a text that
//! the worker understands.
//!
//! Looking up is asynchronous, since an imported cache may be far away, but no runtime is needed for
//! it: the trait returns a boxed future of the standard library, and what is here is ready at once.
//! The solver does not wait for the answer either; to it a look-up is an action like a step that runs.

mod key;

mod lookup;
mod source;

mod encode;
mod export;
mod links;

mod disk;
mod key_value;
mod memory;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use disk::DiskKeyValue;
pub use export::{ExportGraph, ExportLink, ExportRecord};
pub use key::{CacheKey, InputKey, Link, Sum};
pub use key_value::{Batch, Entry, KeyValue, KeyValueError};
pub use links::LinkStore;
pub use lookup::{Answer, FoundRecord, KnownInput, Lookup, SavedResult};
pub use memory::MemoryKeyValue;
pub use source::{Answering, CacheSource, CacheStore, SavedRecord, Saving};
