//! Which platforms a machine runs, and how it runs those that are not its own.
//!
//! What the machine has comes in as a [`Machine`]: its processor, the emulators among its files and
//! what its kernel already hands to one. The [`Way`] of a platform goes out, and the list of all that
//! run. Deciding is apart from looking, which [`Machine::inspect`] alone does; nothing is run here.

mod architecture;
mod emulator;
mod machine;
mod processor;
mod registered;
#[cfg(test)]
mod tests;

pub use architecture::{ARCHITECTURES, Architecture};
pub use emulator::{Emulator, SearchPath};
pub use machine::{Lack, Machine, Way};
pub use registered::Registered;
