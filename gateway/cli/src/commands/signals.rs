//! Work that ends early when the user or the system says so.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Why work has ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Interrupted {
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupt,
    /// The system, or whoever runs this program.
    #[error("terminated")]
    Terminate,
    /// Nobody could say so.
    #[error("failed to wait for signals")]
    Deaf(#[from] std::io::Error),
}

impl Interrupted {
    /// Whether nothing can be heard at all.
    pub(crate) fn is_deaf(&self) -> bool {
        matches!(self, Self::Deaf(_))
    }

    /// The exit code that shells give a program which a signal ended.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
            Self::Deaf(_) => 1,
        }
    }
}

/// What is sent to this process from now on.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Listens from now on; such signals no longer end the process by themselves.
    ///
    /// # Errors
    ///
    /// If the system does not let it.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one that asks the process to end.
    pub(crate) async fn next(&mut self) -> Interrupted {
        tokio::select! {
            _ = self.interrupt.recv() => Interrupted::Interrupt,
            _ = self.terminate.recv() => Interrupted::Terminate,
        }
    }
}

/// Does `work` until it is done or the process is asked to end.
///
/// # Errors
///
/// If it is asked to end, or cannot hear that.
///
/// # Cancellation
///
/// Drops the work.
pub(crate) async fn or_interrupted<T>(work: impl Future<Output = T>) -> Result<T, Interrupted> {
    let mut signals = Signals::new()?;
    tokio::select! {
        done = work => Ok(done),
        signal = signals.next() => Err(signal),
    }
}
