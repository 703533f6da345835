//! One build, as the caller asks for it.

use std::collections::BTreeMap;

use kiln_frontend::{Inputs, SourcePolicy};
use kiln_llb::Definition;

use crate::attach::ExportTarget;
use crate::id::new_id;

/// What to build.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum What {
    /// A graph.
    Definition(Box<Definition>),
    /// A frontend of the daemon's, with graphs it may read.
    Frontend {
        /// Its name, such as `dockerfile.v0` or `gateway.v0`.
        name: String,
        /// Graphs by name.
        inputs: Inputs,
    },
    /// Nothing; the result is empty, or comes from [`Client::build`](crate::Client::build).
    #[default]
    Nothing,
}

/// What to do with the result.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Export {
    /// `image`, `oci`, `docker`, `tar`, `local`.
    pub kind: String,
    /// Its attributes.
    pub attrs: BTreeMap<String, String>,
    /// Where it goes, if it comes back to the client.
    pub target: Option<ExportTarget>,
}

kiln_llb::setters!(Export {
    with_kind(kind: impl Into<String>),
    with_attrs(attrs: BTreeMap<String, String>),
    with_target(target: impl Into<Option<ExportTarget>>),
});

/// A cache to read from or to write to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheEntry {
    /// `registry`, `local`, `inline` and so on.
    pub kind: String,
    /// Its attributes. Of `local`, `src` and `dest` are directories of the client's.
    pub attrs: BTreeMap<String, String>,
}

kiln_llb::setters!(CacheEntry {
    with_kind(kind: impl Into<String>),
    with_attrs(attrs: BTreeMap<String, String>),
});

/// A build.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SolveOptions {
    /// Names the build.
    pub id: String,
    /// What to build.
    pub what: What,
    /// Options for the frontend.
    pub frontend_attrs: BTreeMap<String, String>,
    /// What to do with the result.
    pub exports: Vec<Export>,
    /// Caches to read from.
    pub cache_imports: Vec<CacheEntry>,
    /// Caches to write to.
    pub cache_exports: Vec<CacheEntry>,
    /// What the build may do beyond the usual, such as `network.host`.
    pub entitlements: Vec<String>,
    /// Rules for sources.
    pub source_policy: Option<SourcePolicy>,
    /// The network of steps is a proxy of the daemon's that notes what they fetch.
    pub proxy_network: bool,
    /// Leaves no record in the daemon's history.
    pub internal: bool,
}

kiln_llb::setters!(SolveOptions {
    with_id(id: impl Into<String>),
    with_what(what: What),
    with_frontend_attrs(frontend_attrs: BTreeMap<String, String>),
    with_exports(exports: Vec<Export>),
    with_cache_imports(cache_imports: Vec<CacheEntry>),
    with_cache_exports(cache_exports: Vec<CacheEntry>),
    with_entitlements(entitlements: Vec<String>),
    with_source_policy(source_policy: impl Into<Option<SourcePolicy>>),
    with_proxy_network(proxy_network: bool),
    with_internal(internal: bool),
});

impl Default for SolveOptions {
    fn default() -> Self {
        Self {
            id: new_id(),
            what: What::default(),
            frontend_attrs: BTreeMap::new(),
            exports: Vec::new(),
            cache_imports: Vec::new(),
            cache_exports: Vec::new(),
            entitlements: Vec::new(),
            source_policy: None,
            proxy_network: false,
            internal: false,
        }
    }
}
