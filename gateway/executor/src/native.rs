//! The executor that needs no runtime: containers made by the crate's own spawner.

use std::time::Duration;

use async_trait::async_trait;

use crate::container::with_emulator;
use crate::executor::{ExecError, Executor, ExitStatus, Running};
use crate::process::{ExecProcess, HostProcess, Process};
use crate::spawner::{Command, Job, Request, Spawner};
use crate::stdio::Stdio;

/// Runs processes with the kernel's namespaces directly.
#[derive(Debug, Clone)]
pub struct Native {
    spawner: Spawner,
}

impl Native {
    /// An executor on a running spawner; see [`Spawner::start`].
    pub fn new(spawner: Spawner) -> Self {
        Self { spawner }
    }
}

#[async_trait]
impl Executor for Native {
    async fn start(&self, process: Process, stdio: Stdio) -> Result<Box<dyn Running>, ExecError> {
        process.check_network()?;
        process.check_hooks()?;
        let request = Request::Container(Box::new(with_emulator(process)));
        let job = self.spawner.start_job(request, stdio).await?;
        Ok(Box::new(NativeProcess { job, spawner: self.spawner.clone() }))
    }

    fn name(&self) -> &str {
        "native"
    }
}

/// A container, or a second process in one.
#[derive(Debug)]
struct NativeProcess {
    job: Job,
    spawner: Spawner,
}

#[async_trait]
impl Running for NativeProcess {
    async fn wait(&mut self) -> Result<ExitStatus, ExecError> {
        self.job.wait().await
    }

    fn kill(&self, signal: i32) {
        self.job.command(&Command::Kill(signal));
    }

    fn terminate(&self, grace: Duration) {
        self.job.terminate(grace);
    }

    async fn exec(
        &self,
        process: ExecProcess,
        stdio: Stdio,
    ) -> Result<Box<dyn Running>, ExecError> {
        let request = Request::Exec { container: self.job.number, process };
        let job = self.spawner.start_job(request, stdio).await?;
        Ok(Box::new(Self { job, spawner: self.spawner.clone() }))
    }

    fn resize(&self, rows: u16, columns: u16) {
        self.job.command(&Command::Resize { rows, columns });
    }
}

/// A running process of the host. Dropping it kills its process group.
#[derive(Debug)]
pub struct HostRunning {
    job: Job,
}

/// Starts a plain process of the host: with its own environment and process group, unconfined.
///
/// It is forked by the spawner, so that the daemon never forks, and ends when the daemon does.
pub async fn spawn_host(
    spawner: &Spawner,
    process: HostProcess,
    stdio: Stdio,
) -> Result<HostRunning, ExecError> {
    let job = spawner.start_job(Request::Host(process), stdio).await?;
    Ok(HostRunning { job })
}

impl HostRunning {
    /// Waits for the process; whatever it left running in its group is killed then.
    ///
    /// May be called again, and may be cancelled.
    pub async fn wait(&mut self) -> Result<ExitStatus, ExecError> {
        self.job.wait().await
    }

    /// Sends `signal` to the process group.
    pub fn kill(&self, signal: i32) {
        self.job.command(&Command::Kill(signal));
    }

    /// Asks the processes of the group to end, and kills them after `grace`; see
    /// [`Running::terminate`].
    pub fn terminate(&self, grace: Duration) {
        self.job.terminate(grace);
    }
}
