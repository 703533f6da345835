//! Devices of the host by the names of the Container Device Interface (CDI).
//!
//! A [`Registry`] knows the directories with specifications and reads them into [`Devices`], which
//! answer three questions: which devices there are, which of those that a step asks for it may have
//! ([`Devices::grant`]), and what a step with them gets ([`Devices::edits`]). Nothing here changes the
//! machine or starts anything; the files are the operator's and are trusted as such, but bounded.

mod devices;
mod edits;
mod grant;
mod names;
mod registry;
mod spec;
#[cfg(test)]
mod tests;

pub use devices::{Device, DeviceError, Devices, Request};
pub use edits::{DeviceNode, Edits, Hook, Mount, NodeKind};
pub use grant::{Grant, GrantError};
pub use registry::{Registry, SpecError};
