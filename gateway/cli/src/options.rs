//! The text of options, parsed into types: outputs, caches, secrets, keys, directories.
//!
//! One file per option, each pure; what is wrong with an option is an [`OptionError`] that names the
//! flag, the text and what would be right.

mod build_context;
mod cache;
mod error;
mod export;
mod fields;
mod frontend;
mod image_outputs;
mod known;
mod local;
mod platform;
mod quantity;
mod registry_tls;
mod secret;
mod ssh;

pub(crate) use build_context::named_contexts;
pub(crate) use cache::{CacheOption, Direction};
pub(crate) use error::OptionError;
pub(crate) use export::{Dest, Export, ExportKind};
pub(crate) use fields::Fields;
pub(crate) use frontend::{build_options, frontend_options};
pub(crate) use image_outputs::{ImageOutputs, exports};
pub(crate) use known::{UnknownOption, misspelt_local, unknown_options};
pub(crate) use local::named_paths;
pub(crate) use platform::check_platforms;
pub(crate) use quantity::{duration, megabytes};
pub(crate) use registry_tls::RegistryTls;
pub(crate) use secret::{Secret, SecretSource};
pub(crate) use ssh::Ssh;
