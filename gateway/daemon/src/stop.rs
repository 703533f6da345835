//! The end of a daemon, in order.

use std::time::Duration;

use crate::Daemon;

/// How long what is killed at once may take to be gone.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// How a daemon stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// No build was running, or all ended in time.
    Finished,
    /// So many builds were cancelled.
    Cancelled(usize),
    /// It had to be quick; so many builds were cancelled, and their processes killed.
    AtOnce(usize),
}

impl Daemon {
    /// Stops: no new builds are taken, those that run may go on for `timeout`, and are then
    /// cancelled, with an error for their clients that says why. Their processes are asked to end,
    /// and killed after the time of [`crate::Settings::step_grace`]. Returns when nothing of them is
    /// left: no process, no mount, no control group.
    ///
    /// `at_once` cuts all waiting short: processes are killed.
    pub async fn stop(&self, timeout: Duration, at_once: impl Future<Output = ()>) -> Stopped {
        tokio::pin!(at_once);
        self.0.services.stop_serving().await;
        let running = self.0.builder.gate().close();
        if running > 0 {
            tracing::info!(builds = running, ?timeout, "waiting for running builds");
        }
        let in_order = async {
            let finished = async {
                self.0.builder.gate().idle().await;
                self.0.builder.worker().containers().ended().await;
            };
            if tokio::time::timeout(timeout, finished).await.is_ok() {
                return Stopped::Finished;
            }
            let cancelled = self.cancel_builds();
            self.0.builder.worker().containers().ended().await;
            Stopped::Cancelled(cancelled)
        };
        let stopped = tokio::select! {
            stopped = in_order => stopped,
            () = &mut at_once => {
                self.0.builder.worker().containers().end_at_once();
                let cancelled = self.cancel_builds();
                // Killing takes no time, unless the machine is in trouble.
                tokio::time::timeout(LAST_WAIT, self.0.builder.worker().containers().ended()).await.ok();
                Stopped::AtOnce(cancelled)
            }
        };
        tokio::time::timeout(LAST_WAIT, self.0.builder.gate().idle()).await.ok();
        let written = async { tokio::join!(self.flush(), self.0.builder.history().written(None)) };
        tokio::time::timeout(LAST_WAIT, written).await.ok();
        self.0.builder.traces().flush().await;
        self.0.builder.history().close();
        tokio::time::timeout(LAST_WAIT, self.0.networks.close()).await.ok();
        stopped
    }

    fn cancel_builds(&self) -> usize {
        let cancelled = self.0.builder.gate().cancel();
        if cancelled > 0 {
            tracing::warn!(builds = cancelled, "cancelling builds");
        }
        cancelled
    }
}
