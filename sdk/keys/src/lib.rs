//! BuildKit's cache keys, byte for byte: what an operation is by itself, what it reads of its
//! inputs, and what is in them.
//!
//! [`cache_map`] says how the vertex of an op is keyed, [`source`] does for what comes from outside
//! once it was found, and [`contenthash`] turns files into the digest that may stand for an input.
//! Ops and trees come in, digests go out; nothing here waits, reads a file or knows a clock. The
//! words, the order of fields and the oddities are BuildKit's, because a cache that it wrote is to
//! be found here and the other way round; `tests/vectors/cache` holds what it really computed.

mod map;
mod op;

mod compose;
mod exec;
mod file;
pub mod source;

mod content;
pub mod contenthash;

pub use content::{ContentQuery, Selector};
pub use map::{CacheMap, Dep, KeyError, PathSelector, content_record};
pub use op::{cache_map, counted, own_filters};
