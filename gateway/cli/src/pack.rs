//! Makes a gateway.v0 image out of a frontend's executable.
//!
//! [`elf`] reads what an executable needs, [`libraries`] finds it as the machine's loader would,
//! [`layer`] and [`image`] make one deterministic layer, a config and a manifest of it, and [`sink`]
//! writes them somewhere. The executable is never run.

mod elf;
mod image;
mod layer;
mod layout;
mod libraries;
mod registry;
mod search;
mod sink;
#[cfg(test)]
mod tests;

pub(crate) use image::{Blob, FrontendImage, ImageOptions};
pub(crate) use registry::RegistrySink;
pub(crate) use sink::{ImageSink, PackTarget};
