//! Which builds are let in, and how those that run are told to end.
//!
//! A daemon that stops takes no new builds, gives the running ones some time, and then cancels them
//! with an error that says why. This is the state of that, and nothing else.

use kiln_wire::status::RichStatus;
use tokio::sync::watch;
use tonic::Code;

/// What a daemon does with builds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Takes them.
    #[default]
    Open,
    /// Takes no new ones.
    Closed,
    /// Ends them.
    Cancelled,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    phase: Phase,
    running: usize,
}

/// The gate of a daemon. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Gate(watch::Sender<State>);

impl Gate {
    /// Lets a build in.
    ///
    /// # Errors
    ///
    /// If the daemon takes no new ones.
    pub(crate) fn enter(&self) -> Result<Admission, RichStatus> {
        let entered = self.0.send_if_modified(|state| {
            let open = state.phase == Phase::Open;
            state.running += usize::from(open);
            open
        });
        match entered {
            true => Ok(Admission(self.0.clone())),
            false => {
                let message = "the daemon is shutting down and takes no new builds; try again when it is back";
                Err(RichStatus::new(Code::Unavailable, message))
            }
        }
    }

    /// Whether builds are let in.
    pub fn is_open(&self) -> bool {
        self.0.borrow().phase == Phase::Open
    }

    /// Lets no more builds in. Returns how many run.
    pub fn close(&self) -> usize {
        self.0.send_modify(|state| {
            if state.phase == Phase::Open {
                state.phase = Phase::Closed;
            }
        });
        self.0.borrow().running
    }

    /// Ends all builds. Returns how many that were.
    pub fn cancel(&self) -> usize {
        self.0.send_modify(|state| state.phase = Phase::Cancelled);
        self.0.borrow().running
    }

    /// Waits until no build runs.
    pub async fn idle(&self) {
        // The sender lives as long as `self`.
        self.0.subscribe().wait_for(|state| state.running == 0).await.ok();
    }
}

/// A build that was let in, until it is dropped.
#[derive(Debug)]
pub(crate) struct Admission(watch::Sender<State>);

impl Admission {
    /// Waits until the build is told to end; returns what its client is told.
    pub(crate) async fn cancelled(&self, id: &str) -> RichStatus {
        self.0.subscribe().wait_for(|state| state.phase == Phase::Cancelled).await.ok();
        let message = format!("build {id} was cancelled: the daemon is shutting down");
        RichStatus::new(Code::Unavailable, message)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.send_modify(|state| state.running -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_gate_lets_builds_out_but_not_in() {
        let gate = Gate::default();
        let build = gate.enter().unwrap();
        assert_eq!(gate.close(), 1);
        let refused = gate.enter().unwrap_err();
        assert_eq!(refused.code, Code::Unavailable);
        assert!(refused.message.contains("shutting down"), "{}", refused.message);
        assert_eq!(gate.cancel(), 1);
        let told = build.cancelled("abc").await;
        assert_eq!(told.message, "build abc was cancelled: the daemon is shutting down");
        drop(build);
        gate.idle().await;
    }
}
