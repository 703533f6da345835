//! Blobs, layers and refs of one machine; the only crate that deletes bytes.
//!
//! Archives and build steps come in as bytes and written directories; immutable [`Ref`]s, their
//! directories and their blobs go out. A ref may be lazy: what nobody looks into is not fetched
//! ([`Store::lazy`], [`Ref::files`]). Nothing here knows registries, graphs or progress displays; who
//! has a blob is a [`BlobProvider`].
//! Handles ([`Ref`], [`Blob`], [`Directory`], [`Mounted`]) keep what they name; what no handle and
//! no kept record names is deleted in the background.
//!
//! Start with [`Store::open`], then [`Store::prepare`] → [`MutableRef::commit`] → [`Ref::keep`] →
//! [`Store::load`]; archives go through [`Store::writer`] and [`Store::apply`] in, and
//! [`Store::layer_blobs`] out.

mod store;

mod blob;
mod checked;
mod layer;
mod refs;

mod fill;
mod lost;
mod provider;

mod apply;
mod archive;
mod compression;
mod extract;
mod growing_view;
mod unpack;
mod untouched;
mod view;

mod blobs;
mod compressor;
pub mod estargz;
mod pack;

mod carry;
mod copied;
mod difference;
mod directory;
mod merge_diff;
mod rebase;
mod stacked;

mod collect;
mod filter;
mod limits;
mod space;
mod usage;

mod attributes;
mod early_flush;
mod error;
mod index;
mod mount;
pub mod owner;
mod privacy;
mod record;
mod reserve;
mod sparse;
mod trash;

pub use apply::{ApplyError, LayerBlob};
pub use archive::Entry as ArchiveEntry;
pub use attributes::{copy_xattrs, has_xattrs};
pub use blob::{Blob, BlobError, BlobSink, BlobWriter};
pub use blobs::{LayerProgress, PackError};
pub use carry::{Carried, CarryError, Unused};
pub use checked::Checked;
pub use collect::{PruneError, PruneOptions};
pub use compression::{Bounded, Compression, CompressionKind};
pub use directory::{Directory, DirectoryError, Writer};
pub use error::StoreError;
pub use fill::FillError;
pub use filter::{Filter, FilterError};
pub use layer::{Layer, Snapshot};
pub use lost::LostLayer;
pub use merge_diff::DiffError;
pub use mount::{MountError, Mounted, Overlay};
pub use provider::{BlobProvider, ByteStream, Cause, Providers, Requester};
pub use record::{Kind, RecordInfo, Sharing, UnknownKind};
pub use refs::{CommitError, Files, KeepError, LoadError, MutableRef, PrepareError, Ref};
pub use space::{Allocation, Collector, Meter};
pub use sparse::{Copied, copy_file};
pub use store::{OpenError, Store, StoreOptions, TemporaryFile};
pub use unpack::{UnpackError, Unpacking};
pub use usage::Usage;
