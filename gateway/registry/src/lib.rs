//! Images in registries: resolve, fetch and push over the OCI distribution protocol.
//!
//! References come in; descriptors, verified documents and streams of bytes go out. Whose
//! credentials are used is the caller's business ([`Credentials`]); where bytes are kept is the
//! store's. Nothing here writes a file. Start with [`Registry`].

mod auth;
mod blob;
mod challenge;
mod credentials;
mod document;
mod error;
mod host;
mod hosts;
mod lookup;
mod pace;
mod plan;
mod push;
mod referrers;
mod registry;
mod resolve;
mod retry;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod transport;
mod upload;

pub use blob::BlobStream;
pub use credentials::{
    Credential, Credentials, CredentialsError, NoCredentials, StaticCredentials, Token,
    TokenRequest,
};
pub use document::{DOCUMENT_LIMIT, verify};
pub use error::RegistryError;
pub use host::install_crypto;
pub use hosts::{HostConfig, Hosts, KeyPair, host_of, is_this_machine};
pub use lookup::{Lookup, LookupError};
pub use pace::{Pace, TooSlow, Watch};
pub use plan::{Documents, ImagePlan};
pub use push::{BodySource, Pushed};
pub use referrers::Referrer;
pub use registry::{Notice, Options, Registry};
pub use resolve::{Resolved, media_type_of};
pub use retry::retry_after;
