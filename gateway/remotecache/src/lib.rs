//! Caches outside the daemon: exported and imported, in BuildKit's form.
//!
//! What a build found out comes in and is written to registries, clouds, directories of the client or
//! images ([`export()`], [`inline()`]); caches that are named come in and answer look-ups like the one on disk
//! ([`Imports`]). What a record means is the cache's business, what a layer is the store's; nothing is
//! built here, and no build waits for a cache that is not asked.

mod attributes;
mod config;

mod chains;
mod collect;
mod export;
mod inline;

mod import;
mod load;
mod mounts;
mod policy;
mod signing;

mod cloud;
mod origin;
mod registries;
mod target;

mod progress;

#[cfg(test)]
mod tests;

pub use attributes::{
    AttributeError, CacheExport, ExportTo, ImportFrom, Mode, RegistryCache, cache_name,
    without_secrets,
};
pub use chains::{ChainLayer, ChainResult, Chains, Item};
pub use cloud::{CloudCache, CloudEnvironment, Clouds};
pub use collect::BuildCache;
pub use config::{
    CACHE_CONFIG, CacheConfig, ConfigChain, ConfigError, ConfigInput, ConfigLayer, ConfigRecord,
    ConfigResult, LARGEST_CONFIG, LayerAnnotations, parse_time, time_text,
};
pub use export::{CacheExportError, export};
pub use import::{ImportedCache, ImportedLayer};
pub use inline::{InlineLayers, InlineRecords, inline};
pub use load::Imports;
pub use mounts::MountExport;
pub use origin::{ByteStream, CacheOrigin, Cause, Reach, Root};
pub use policy::{CachePolicy, CacheRule};
pub use signing::{CacheSigner, RequiredSigner, Untrusted, Wanted};
