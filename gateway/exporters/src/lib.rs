//! Writes a result somewhere: local directory, tar, OCI and Docker archives, images.
//!
//! A [`BuildResult`](kiln_frontend::BuildResult) of refs and a list of [`Export`]s come in; bytes
//! go to the client, to registries and into the store's list of images, and what the client is
//! told about them comes back. Nothing is built here, and nothing about a result is changed but
//! what the options ask for. Start with [`export()`]; what an option means is in [`ExportOptions`].

mod export;

mod annotation;
mod options;

mod config;
mod json;
mod target;

mod assemble;
mod attested;
mod claim_files;
mod claims;
mod layer_files;

mod archive;
mod files;
mod foreign;
mod image;
mod images;
mod layout;

mod client;
mod pipe;
mod stage;
mod tar_stream;
mod tree;

mod error;
mod vertex;

#[cfg(test)]
mod tests;

pub use annotation::{Annotations, Place};
pub use assemble::Document;
pub use claims::{Claim, ClaimContent, ClaimError};
pub use client::{Client, ClientError, DirectoryToSend};
pub use config::ConfigError;
pub use error::{ExportError, NameError};
pub use export::{
    CacheRecords, ExportContext, Exported, ExportedImage, FileSystem, InlineCache, export, targets,
};
pub use foreign::PartsError;
pub use images::{Images, NamedImage, NamedPlatform};
pub use options::{Epoch, Export, ExportOptions, Kind, Name, Names, OptionError};
pub use pipe::BodyStream;
pub use target::TargetError;
pub use tree::Overwrite;
pub use vertex::Clock;
