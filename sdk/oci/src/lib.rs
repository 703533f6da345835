//! The words of OCI images: digests, platforms, references, descriptors, manifests and configs.
//!
//! Text comes in, checked types go out; nothing here waits, reads a clock or opens a file. Every
//! other crate speaks of images with these types. Start with [`Digest`], then [`Platform`].

mod digest;
mod image;
mod manifest;
mod platform;
mod reference;
mod words;

pub use digest::{Digest, DigestError, Hasher};
pub use image::{ContainerConfig, Healthcheck, History, ImageConfig, RootFs, chain_ids};
pub use manifest::{Descriptor, Index, Manifest, MediaKind, media_type};
pub use platform::{ARCHITECTURES, OPERATING_SYSTEMS, Platform, PlatformError};
pub use reference::{Reference, ReferenceError, VerbatimReference};
pub use words::{excerpt, quoted};
