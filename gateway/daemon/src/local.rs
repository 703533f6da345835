//! What the process of a daemon needs from the kernel, before it has threads.

/// Gives the process mounts of its own, which vanish with it however it ends. Without privileges it
/// continues in a user namespace.
///
/// Must be called before any thread is started.
///
/// # Errors
///
/// If the kernel does not allow it.
pub fn private_process() -> std::io::Result<()> {
    kiln_executor::userns::enter_if_unprivileged()?;
    if kiln_executor::userns::inside() {
        return Ok(());
    }
    kiln_executor::userns::private_mounts()
}
