//! Definition to Graph: vertices that are known to fit together.
//!
//! A definition comes from a client or a frontend and may be anything; [`Graph::load`] either gives
//! a graph in which every input exists and every operation makes sense, or says which vertex does
//! not. Nothing that arrived is dropped: a [`Vertex`] holds the typed operation to act on, and the
//! bytes, message, metadata and locations that came with it. This is the last crate to see a
//! definition. It never fetches, runs or waits.

mod exec;
mod file;
mod graph;
mod identifier;
mod ids;
mod load;
mod metadata;
mod op;
mod operation;
mod source_map;
#[cfg(test)]
mod tests;
mod vertex;

pub use exec::{
    CacheSharing, ContentCache, Exec, ExecMount, HostEntry, MountKind, NetworkMode, ProxyEnv,
    ProxyNetwork, Resources, SecretEnv, SecurityMode, Ulimit,
};
pub use file::{
    CopyAction, FileAction, FileInput, FileOp, FileOwner, FileStep, FileUser, UNPACK_ZIP,
};
pub use graph::Graph;
pub use identifier::{
    BlobAddress, BlobSource, Differ, FileSignature, GitSignature, GitSource, HttpSource,
    Identifier, IdentifierError, ImageSource, Layout, LocalSource, OciLayoutSource, ResolveMode,
};
pub use load::{Entitlements, LoadContext, LoadError};
pub use metadata::{Metadata, ProgressGroup};
pub use op::{BuildOp, Op};
pub use operation::{exec_mounts, exec_process};
pub use source_map::{Location, SourceFile, SourceRange};
pub use vertex::{Arrived, Constraints, Edge, Vertex};
