//! The system call of this crate that is not safe by itself.

use std::io;

use rustix::thread::UnshareFlags;

/// Moves the calling thread, and no other, to a new network namespace.
pub(crate) fn unshare_network() -> io::Result<()> {
    // SAFETY: a network namespace is neither memory nor descriptors, so nothing that the program
    // relies on changes; sockets that are open stay with the namespace in which they were made.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?)
}
