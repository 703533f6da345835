//! What a build was asked for and what it used, as statements: SLSA provenance, in-toto, SPDX.
//!
//! Requests ([`Request`]), materials ([`Used`]) and definitions come in, documents go out as JSON. The
//! form is BuildKit's, so that whoever reads its provenance reads this. Nothing is looked up, fetched or
//! written here, and no value of a secret ever comes this far: secrets are known by their ids only.

mod options;

mod redact;
mod used;

mod purl;

mod request;
mod steps;

mod predicate;

mod spdx;
mod statement;

#[cfg(test)]
mod tests;

pub use options::{Mode, OptionError, ProvenanceOptions, Version};
pub use predicate::{Layers, Predicate, Run};
use purl::qualifier;
pub use purl::{PackageKind, package_url};
pub use redact::without_credentials;
pub use request::{ConfigSource, Request, Requested, Secret};
pub use spdx::{SPDX, supplement};
pub use statement::{
    MEDIA_TYPE, PREDICATE_TYPE, StatementError, Subject, compact, is_provenance, parse, statement,
};
pub use steps::{BuildConfig, StepError};
pub use used::{NetworkGap, Used, UsedBlob, UsedFile, UsedGit, UsedImage};
