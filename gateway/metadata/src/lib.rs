//! The one database of a state directory, in which each owner keeps its own tables.
//!
//! A directory and closures over transactions come in, what the closures answer goes out. The file is
//! `metadata.redb`; an [`Owner`] is a part of the daemon that has tables in it. Nothing here knows what
//! is in a table, and nothing waits on a runtime: every call blocks.
//!
//! # Writing
//!
//! There is one writer at a time, so a transaction is short: what is to be written is worked out before,
//! and rows that are there already are not written again. Whoever writes says with [`Durability`] when it
//! must survive a crash. A durable commit waits for the disk and takes with it all that was written before,
//! by whomever; so does [`Metadata::flush`], which touches no disk if nothing waits for it.
//!
//! # What may be lost
//!
//! All of it: it describes a cache, and what is missing is made again. That holds for the history of builds
//! too, which cannot be made again and is not worth a daemon that does not start. There is one rule for
//! every owner, and every loss is said in the log:
//!
//! * A file that cannot be read, or that another program wrote, is renamed to `metadata.redb.broken`, and a
//!   new one is begun.
//! * An owner whose tables have another [schema](Owner::schema) finds them empty. Those of others stay.
//! * A write that fails changes nothing. If the machine beneath failed, such as a full disk, what was not
//!   durable yet is lost with it; the rest stays readable, the file is opened again at once, and writing
//!   goes on when there is room.
//! * A file that another process has locked is waited for: for a moment when it is opened, and without
//!   blocking anyone when it is opened again.
//!
//! Start with [`Metadata::open`], then [`Metadata::begin`] for each owner.

mod metadata;
mod owner;

mod earlier;
mod file;

mod error;
#[cfg(test)]
mod tests;

pub use earlier::{Earlier, copy};
pub use error::{OpenError, is_full};
pub use metadata::{FILE, Metadata};
pub use owner::{Found, Owner};
pub use redb::Durability;
