//! Identifiers to refs: images, single blobs, files by URL, git repositories, the client's directories.
//!
//! A typed identifier comes in, a [`Pin`] and then a [`kiln_store::Ref`] go out. What is outside is
//! asked here and nowhere else; what it answers is hostile until its digest is checked. Programs
//! are started by somebody else ([`HostCommand`]), the client is asked through [`Session`], usually [`Clients`].
//! Start with [`Sources`].

mod sources;

mod builds;
mod clients;
mod command;
mod session;
mod signed;
mod source;

mod blob;
mod git;
mod http;
mod image;
mod local;
mod named;

mod files;
mod keyed_lock;
mod state;
mod sums;

#[cfg(test)]
mod tests;

pub use blob::BlobSourceError;
pub use builds::ResolvedSources;
pub use clients::{ClientCredentials, Clients, ClientsError};
pub use command::{Command, HostCommand, OUTPUT_LIMIT, Output};
pub use git::GitError;
pub use http::HttpError;
pub use image::{Attestations, ImageError};
pub use local::LocalError;
pub use named::{NamedImage, NamedImages, NoNamedImages};
pub use session::{AgentSocket, ByteStream, Origin, Session};
pub use source::{Context, Fetched, GitObjects, Metadata, Pin, SourceError};
pub use sources::{OpenError, Sources};
