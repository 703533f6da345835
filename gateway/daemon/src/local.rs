//! What the process of a daemon needs from the kernel, before it has threads.

use std::path::Path;

use kiln_executor::Privileges;

/// Gives the process mounts of its own, which vanish with it however it ends; without rights it
/// continues in a user namespace, and where the kernel refuses that too, as it is. What was granted
/// goes into [`crate::Settings::privileges`].
///
/// `root` is the state directory. Must be called before any thread is started.
///
/// # Errors
///
/// If a helper process cannot be made.
pub fn private_process(root: &Path) -> std::io::Result<Privileges> {
    Privileges::acquire(root)
}
