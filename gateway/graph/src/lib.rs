//! Definition to Graph: vertices that are known to fit together.
//!
//! A definition comes from a client or a frontend and may be anything; [`Graph::load`] either gives
//! a graph in which every input exists and every operation makes sense, or says which vertex does
//! not. This is the last room to see wire messages. It never fetches, runs or waits.

mod exec;
mod file;
mod graph;
mod identifier;
mod ids;
mod load;
mod op;
mod vertex;

pub use exec::{
    CacheSharing, ContentCache, Exec, ExecMount, HostEntry, MountKind, NetworkMode, ProxyEnv,
    Resources, SecretEnv, SecurityMode, Ulimit,
};
pub use file::{CopyAction, FileAction, FileInput, FileOp, FileOwner, FileStep, FileUser};
pub use graph::Graph;
pub use identifier::{
    GitSource, HttpSource, Identifier, IdentifierError, ImageSource, LocalSource, OciLayoutSource,
    ResolveMode,
};
pub use load::{Entitlements, LoadContext, LoadError};
pub use op::{BuildOp, Op};
pub use vertex::{Edge, Location, ProgressGroup, SourceFile, SourceRange, Vertex};
