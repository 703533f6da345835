//! The executor that leaves containers to an OCI runtime: runc, crun or another with their arguments.
//!
//! Root and mounts are made as for [`crate::Native`], in a child of the spawner with mount and
//! process namespaces of its own. There the runtime gets a bundle and runs it; its state, the bundle
//! and all processes vanish with the namespaces.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

use crate::container::with_emulator;
use crate::executor::{ExecError, Executor, ExitStatus, Running};
use crate::process::{ExecProcess, Process};
use crate::spawner::{Command, Job, Request, Runtime, Spawner};
use crate::stdio::Stdio;

/// Runs processes with an OCI runtime.
#[derive(Debug, Clone)]
pub struct OciRuntime {
    spawner: Spawner,
    runtime: Runtime,
}

impl OciRuntime {
    /// An executor on a running spawner that calls `binary`, a path or a name.
    ///
    /// `arguments` go before the runtime's command: `--cgroup-manager=disabled` for a crun that does
    /// not know this machine's control groups, say.
    pub fn new(spawner: Spawner, binary: impl Into<PathBuf>, arguments: Vec<String>) -> Self {
        let binary = binary.into();
        let name = binary.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let binary = binary.to_string_lossy().into_owned();
        let control_groups = !arguments.iter().any(|it| it == "--cgroup-manager=disabled");
        Self { spawner, runtime: Runtime { name, binary, arguments, control_groups } }
    }

    /// `error` with the runtime's name, unless it already says enough.
    fn named(&self, error: ExecError) -> ExecError {
        match error {
            ExecError::Setup { step, message } if step == self.runtime.name => {
                ExecError::Runtime { runtime: step, message }
            }
            error => error,
        }
    }

    async fn start_job(
        &self,
        request: Request,
        stdio: Stdio,
        id: String,
    ) -> Result<Box<dyn Running>, ExecError> {
        let job =
            self.spawner.start_job(request, stdio).await.map_err(|error| self.named(error))?;
        Ok(Box::new(OciProcess { job, id, executor: self.clone() }))
    }
}

#[async_trait]
impl Executor for OciRuntime {
    async fn start(&self, process: Process, stdio: Stdio) -> Result<Box<dyn Running>, ExecError> {
        process.check_network()?;
        let id = process.id.clone();
        let process = with_emulator(process);
        let request = Request::Bundle { process: Box::new(process), runtime: self.runtime.clone() };
        self.start_job(request, stdio, id).await
    }

    fn name(&self) -> &str {
        &self.runtime.name
    }
}

/// A container, or a second process in one.
#[derive(Debug)]
struct OciProcess {
    job: Job,
    id: String,
    executor: OciRuntime,
}

#[async_trait]
impl Running for OciProcess {
    async fn wait(&mut self) -> Result<ExitStatus, ExecError> {
        self.job.wait().await.map_err(|error| self.executor.named(error))
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
        let runtime = self.executor.runtime.clone();
        let request = Request::BundleExec {
            container: self.job.number,
            id: self.id.clone(),
            process,
            runtime,
        };
        self.executor.start_job(request, stdio, self.id.clone()).await
    }

    fn resize(&self, rows: u16, columns: u16) {
        self.job.command(&Command::Resize { rows, columns });
    }
}
