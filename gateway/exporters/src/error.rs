//! Why an export failed.

use std::io;

use kiln_registry::RegistryError;
use kiln_store::{ApplyError, BlobError, FillError, KeepError, MountError, PackError, StoreError};

use crate::claims::ClaimError;
use crate::client::ClientError;
use crate::config::ConfigError;
use crate::foreign::PartsError;
use crate::options::OptionError;
use crate::target::TargetError;
use crate::tree::Overwrite;

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A text of the request or the frontend is not understood.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The result and its platforms do not fit.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The image config cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// `docker load` takes one platform.
    #[error(
        "docker exporter does not currently support exporting manifest lists: export one platform, \
         or use the oci exporter"
    )]
    DockerIndex,
    /// Attestations cannot be written.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// Docker's manifest lists know no attestations.
    #[error("cannot export attestations with \"oci-mediatypes=false\"")]
    AttestationTypes,
    /// Annotations that only an index can carry.
    #[error("index annotations not supported for single platform export")]
    IndexAnnotations,
    /// A push without a name.
    #[error("an image without a name cannot be pushed, give it one with name=<reference>")]
    Unnamed,
    /// Two platforms have the same file and no directories of their own.
    #[error(transparent)]
    Overwrite(Overwrite),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Layers could not be made.
    #[error("failed to make layers")]
    Pack(#[from] PackError),
    /// What the cache knows of the image could not be found out.
    #[error("failed to make the inline cache")]
    InlineCache(#[source] ClientError),
    /// A layer or a file is not here and could not be had.
    #[error(transparent)]
    Fill(#[from] FillError),
    /// The files could not be shown.
    #[error("failed to read the result")]
    Mount(#[from] MountError),
    /// The files could not be read.
    #[error("failed to read the result")]
    Read(#[source] io::Error),
    /// There is nobody to send it to.
    #[error("could not access local files without session")]
    NoSession,
    /// The client did not take it.
    #[error("failed to send to the client")]
    Client(#[source] ClientError),
    /// What was sent is not what it was when it was made.
    #[error(transparent)]
    Damaged(BlobError),
    /// The registry did not take it.
    #[error("failed to push {reference}")]
    Push {
        /// The image.
        reference: String,
        /// What the registry said.
        source: RegistryError,
    },
    /// The image could not be noted.
    #[error("failed to note image {name} in the store")]
    Name {
        /// The image.
        name: String,
        /// Why.
        source: NameError,
    },
}

/// Why an image could not be noted among the store's images.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    /// Parts that were made elsewhere are no image.
    #[error(transparent)]
    Parts(#[from] PartsError),
    /// Its layers could not be kept.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// Its layers could not be unpacked.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// Its layers are not here and could not be had.
    #[error(transparent)]
    Fill(#[from] FillError),
    /// A document could not be stored.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The entry could not be written.
    #[error("write the entry")]
    Write(#[from] io::Error),
}
