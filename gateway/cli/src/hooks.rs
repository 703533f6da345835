//! What must happen before the process has threads.
//!
//! The same executable is started again as a helper of its own daemon, and an unprivileged daemon
//! continues in a user namespace. Both must come before the runtime.

use anyhow::Context as _;

use crate::args::Command;
use crate::endpoint::Endpoint;

/// Becomes a helper process, and never returns, if this process was started as one.
pub(crate) fn become_helper_if_asked() {
    kiln_executor::spawner_main_if_asked();
}

/// Gives the process what a daemon inside it needs, if there will be one.
///
/// # Errors
///
/// If a helper process cannot be made.
pub(crate) fn prepare_process(endpoint: &mut Endpoint, command: &Command) -> anyhow::Result<()> {
    if let Endpoint::Embedded(embedded) = endpoint
        && (command.needs_daemon() || command.is_about_this_machine())
    {
        embedded.privileges = kiln_daemon::private_process(&embedded.root)
            .context("failed to find out what the kernel grants")?;
    }
    Ok(())
}
