//! The life of a process that is run to its end, from its start to the moment nothing of it is left.
//!
//! Whoever asked for it may go away at any time, and the process may need a while to end. So
//! its life is a task of its own, which owns everything the process uses: the mounts, secrets and
//! cache directories are let go only once the process is gone. The daemon can wait for that.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use kiln_engine::{ErrorKind, JobContext, OpError, Output};
use kiln_executor::{ExecError, Executor, ExitStatus, Running, Stdio};
use kiln_network::ProxiedNetwork;
use kiln_oci::Platform;
use kiln_progress::Stream;
use kiln_store::Ref;
use tokio::sync::{oneshot, watch};

use crate::containers::Prepared;
use crate::error::failed;
use crate::mounts::PreparedMounts;
use crate::spec::ProcessSpec;
use crate::{foreign, logs};

/// The exit code of a process that was killed.
const KILLED: u32 = 128 + 9;

/// The processes of a machine that run or are ending.
pub(crate) struct Runs {
    /// How long a cancelled process may take after SIGTERM.
    grace: Duration,
    count: watch::Sender<usize>,
    /// Whether nobody waits for anything any more.
    at_once: watch::Sender<bool>,
}

/// A process that has ended by itself, with any exit code, and what it wrote.
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    spec: ProcessSpec,
    mounts: PreparedMounts,
}

impl Finished {
    /// Its results: what it wrote to the mounts that have outputs.
    ///
    /// # Errors
    ///
    /// If they cannot be kept.
    pub fn commit(self) -> BoxFuture<'static, Result<Vec<Output<Ref>>, OpError>> {
        Box::pin(async move { self.mounts.commit().await })
    }

    /// An error for how it ended, with what each of its mounts shows.
    pub fn failed(self, error: OpError) -> BoxFuture<'static, kiln_engine::ExecError<Ref>> {
        Box::pin(async move {
            kiln_engine::ExecError { error, mounts: self.mounts.left(&self.spec).await }
        })
    }

    /// Takes the network that it had, if that was a proxy.
    pub(crate) fn take_network(&mut self) -> Option<ProxiedNetwork> {
        self.mounts.take_network()
    }
}

impl Runs {
    pub(crate) fn new(grace: Duration) -> Self {
        Self { grace, count: watch::Sender::new(0), at_once: watch::Sender::new(false) }
    }

    /// Runs a process to its end; see [`Containers::run`](crate::Containers::run).
    pub(crate) async fn run(
        &self,
        executor: Arc<dyn Executor>,
        job: &JobContext,
        prepared: Prepared,
    ) -> Result<Finished, kiln_engine::ExecError<Ref>> {
        let (args, platform) = (prepared.spec.exec.args.clone(), prepared.spec.platform.clone());
        let ended = self.live(executor, job.clone(), prepared).await;
        let NotRun { error, prepared } = match ended {
            Ok(finished) => return Ok(finished),
            Err(not_run) => not_run,
        };
        let error = foreign::could_not_run(&args, &platform, &Platform::host(), error);
        let mounts = match prepared {
            Some((spec, mounts)) => mounts.left(&spec).await,
            None => Vec::new(),
        };
        Err(kiln_engine::ExecError { error, mounts })
    }

    async fn live(
        &self,
        executor: Arc<dyn Executor>,
        job: JobContext,
        prepared: Prepared,
    ) -> Result<Finished, NotRun> {
        let (_wanted, dropped) = oneshot::channel();
        let (at_once, grace) = (self.at_once.subscribe(), self.grace);
        let life = Life { executor, job, prepared, dropped, at_once, grace };
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

    /// Waits until no process is left.
    pub(crate) async fn ended(&self) {
        let mut count = self.count.subscribe();
        // The sender lives as long as `self`.
        count.wait_for(|count| *count == 0).await.ok();
    }

    /// Kills every process that is ending, and those that begin to end later.
    pub(crate) fn end_at_once(&self) {
        self.at_once.send_replace(true);
    }
}

/// A process that did not run to an end of its own.
struct NotRun {
    /// Why.
    error: OpError,
    /// What it was to see, if it is still there.
    prepared: Option<(ProcessSpec, PreparedMounts)>,
}

/// Counts a process while it lives.
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
    executor: Arc<dyn Executor>,
    job: JobContext,
    prepared: Prepared,
    /// Ends when the process is no longer wanted.
    dropped: oneshot::Receiver<()>,
    at_once: watch::Receiver<bool>,
    grace: Duration,
}

impl Life {
    async fn live(self) -> Result<Finished, NotRun> {
        let Self { executor, job, prepared, dropped, at_once, grace } = self;
        let Prepared { spec, process, mut mounts } = prepared;
        let unprepared = |error| NotRun { error, prepared: None };
        let (stdio, pipes) = Stdio::piped().map_err(|error| unprepared(failed(&error)))?;
        drop(pipes.stdin);
        mounts.begin_writing().map_err(unprepared)?;
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
                if ended_by_itself(status) {
                    mounts.end_writing();
                }
                Ok(Finished { status, spec, mounts })
            }
            Ok(Ended::Cancelled) => {
                let error = OpError::new(ErrorKind::Cancelled, "the step was cancelled");
                Err(NotRun { error, prepared: None })
            }
            Err(error) => {
                // It did not run, or nothing is known of it.
                if matches!(error, ExecError::Program { .. } | ExecError::Setup { .. }) {
                    mounts.end_writing();
                }
                Err(NotRun { error: failed(&error), prepared: Some((spec, mounts)) })
            }
        }
    }
}

/// Whether a process has come to an end of its own: what the kernel or an operator killed was in the
/// middle of something.
pub(crate) fn ended_by_itself(status: ExitStatus) -> bool {
    !status.oom_killed && status.code != KILLED
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
        // An error means that the machine's `Runs` are gone, which is no reason to wait either.
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
