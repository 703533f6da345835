//! The life of a step's process, from its start to the moment nothing of it is left.
//!
//! Whoever asked for the step may go away at any time, and the process may need a while to end. So
//! its life is a task of its own, which owns everything the process uses: the mounts, secrets and
//! cache directories are let go only once the process is gone. The daemon can wait for that.

use std::sync::Arc;
use std::time::Duration;

use kiln_engine::{ErrorKind, JobContext, OpError};
use kiln_executor::{ExecError, Executor, ExitStatus, Process, Running, Stdio};
use kiln_progress::Stream;
use tokio::sync::{oneshot, watch};

use crate::exec_mounts::Prepared;
use crate::logs;
use crate::worker::failed;

/// The exit code of a process that was killed.
const KILLED: u32 = 128 + 9;

/// The steps of a worker that run or are ending.
pub(crate) struct Steps {
    /// How long a cancelled step may take after SIGTERM.
    grace: Duration,
    count: watch::Sender<usize>,
    /// Whether nobody waits for anything any more.
    at_once: watch::Sender<bool>,
}

/// A process and all that it uses.
pub(crate) struct Step {
    pub(crate) executor: Arc<dyn Executor>,
    pub(crate) process: Process,
    pub(crate) prepared: Prepared,
    pub(crate) job: JobContext,
}

impl Steps {
    pub(crate) fn new(grace: Duration) -> Self {
        Self { grace, count: watch::Sender::new(0), at_once: watch::Sender::new(false) }
    }

    /// Runs a step to its end.
    ///
    /// # Cancellation
    ///
    /// Dropping the future asks the process to end; what it uses is let go when it has.
    pub(crate) async fn run(&self, step: Step) -> Result<(ExitStatus, Prepared), NotRun> {
        let (_wanted, dropped) = oneshot::channel();
        let life = Life { step, dropped, at_once: self.at_once.subscribe(), grace: self.grace };
        let counted = self.count();
        let task = tokio::spawn(async move {
            let result = life.live().await;
            drop(counted);
            result
        });
        let lost = |error| OpError::new(ErrorKind::Failed, format!("internal error: {error}"));
        task.await.map_err(|error| NotRun { error: lost(error), prepared: None })?
    }

    /// How long a process may take to end, and whether nobody waits for that any more.
    pub(crate) fn patience(&self) -> (Duration, watch::Receiver<bool>) {
        (self.grace, self.at_once.subscribe())
    }

    /// Counts something that runs a process until the guard is dropped.
    pub(crate) fn count(&self) -> Counted {
        Counted::new(&self.count)
    }

    /// Waits until no step is left.
    pub(crate) async fn ended(&self) {
        let mut count = self.count.subscribe();
        // The sender lives as long as `self`.
        count.wait_for(|count| *count == 0).await.ok();
    }

    /// Kills every step that is ending, and those that begin to end later.
    pub(crate) fn end_at_once(&self) {
        self.at_once.send_replace(true);
    }
}

/// A process that did not run to an end of its own.
pub(crate) struct NotRun {
    /// Why.
    pub(crate) error: OpError,
    /// What it was to see, if it is still there.
    pub(crate) prepared: Option<Prepared>,
}

/// Counts a step while it lives.
pub(crate) struct Counted(watch::Sender<usize>);

impl Counted {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

struct Life {
    step: Step,
    /// Ends when the step is no longer wanted.
    dropped: oneshot::Receiver<()>,
    at_once: watch::Receiver<bool>,
    grace: Duration,
}

impl Life {
    async fn live(self) -> Result<(ExitStatus, Prepared), NotRun> {
        let Self { step, dropped, at_once, grace } = self;
        let Step { executor, process, mut prepared, job } = step;
        let unprepared = |error| NotRun { error, prepared: None };
        let (stdio, pipes) = Stdio::piped().map_err(|error| unprepared(failed(&error)))?;
        drop(pipes.stdin);
        prepared.begin_writing().map_err(unprepared)?;
        let output = async {
            tokio::join!(
                logs::forward(job.clone(), Stream::Stdout, pipes.stdout),
                logs::forward(job.clone(), Stream::Stderr, pipes.stderr)
            )
        };
        let ended = async {
            let mut running = executor.start(process, stdio).await?;
            wait(&mut *running, dropped, at_once, grace).await
        };
        let (ended, _) = tokio::join!(ended, output);
        match ended {
            Ok(Ended::ByItself(status)) => {
                // What the kernel or an operator killed was in the middle of something, too.
                if !status.oom_killed && status.code != KILLED {
                    prepared.end_writing();
                }
                Ok((status, prepared))
            }
            Ok(Ended::Cancelled) => {
                let error = OpError::new(ErrorKind::Cancelled, "the step was cancelled");
                Err(NotRun { error, prepared: None })
            }
            Err(error) => {
                // It did not run, or nothing is known of it.
                if matches!(error, ExecError::Program { .. } | ExecError::Setup { .. }) {
                    prepared.end_writing();
                }
                Err(NotRun { error: failed(&error), prepared: Some(prepared) })
            }
        }
    }
}

/// How a process ended.
enum Ended {
    ByItself(ExitStatus),
    Cancelled,
}

async fn wait(
    running: &mut dyn Running,
    dropped: oneshot::Receiver<()>,
    mut at_once: watch::Receiver<bool>,
    grace: Duration,
) -> Result<Ended, ExecError> {
    tokio::select! {
        biased;
        status = running.wait() => return Ok(Ended::ByItself(status?)),
        _ = dropped => {}
    }
    terminate(running, &mut at_once, grace).await?;
    Ok(Ended::Cancelled)
}

/// Asks a process to end, and kills it after `grace` or as soon as nobody waits any more. Returns when
/// it is gone.
pub(crate) async fn terminate(
    running: &mut dyn Running,
    at_once: &mut watch::Receiver<bool>,
    grace: Duration,
) -> Result<ExitStatus, ExecError> {
    running.terminate(grace);
    let hurry = async {
        // An error means that the worker is gone, which is no reason to wait either.
        at_once.wait_for(|at_once| *at_once).await.ok();
    };
    tokio::select! {
        biased;
        status = running.wait() => status,
        () = hurry => {
            running.kill(libc::SIGKILL);
            running.wait().await
        }
    }
}
