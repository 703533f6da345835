//! The content digest of a part of a file system, as BuildKit computes it.
//!
//! What a process or a copy can see counts: names, kinds, permissions, owners, link targets,
//! extended attributes and bytes. Times do not, so a file that was only touched is the same file.
//!
//! Every entry has a digest of its own, over a [`Header`] and the bytes of a file. That of a
//! directory's contents is over its header and, in byte order of the names, the name and digest of
//! each entry in it; of a subdirectory that is the digest of its contents. [`checksum`] answers one
//! [`Selector`](crate::Selector) on any [`Tree`]: a mounted directory, what a client sent
//! ([`Entries`]), a fixture of a test. It looks at what it must and remembers nothing, and of a file
//! it only wants to know the digest, so whoever implements `Tree` may remember those.
//!
//! One oddity is not BuildKit's: there a name that begins with the byte 0xff counts once more in the
//! directory above its own, here it does not.

mod checksum;
mod entries;
mod filtered;
mod header;
mod resolve;
mod tree;

pub use checksum::{ChecksumError, checksum, content};
pub use entries::Entries;
pub use header::{FileKind, Header};
pub use tree::{Kind, Node, Origin, Tree};
