//! The front of the crate: what a machine has for its processes, and how one is prepared and started.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use kiln_engine::{ExecError, JobContext, OpError};
use kiln_executor::{Executor, ExitStatus, Process, Running, Spawner, Stdio};
use kiln_handle::Handle;
use kiln_network::{Captured, Judge, Networks};
use kiln_oci::{Digest, Platform};
use kiln_session::SessionManager;
use kiln_sources::Clients;
use kiln_store::{DirectoryError, Kind, Ref, Sharing, Store};

use crate::cache_mounts::{CacheMounts, cache_mount_key};
use crate::emulators::{EmulatorOptions, Emulators};
use crate::gateway::{Container, ContainerParts};
use crate::mounts::PreparedMounts;
use crate::process::process;
use crate::proxied::{JudgeGuard, Proxies};
use crate::run::{Finished, Runs, ended_by_itself};
use crate::secrets::SecretFiles;
use crate::spec::ProcessSpec;

/// What the processes of a machine are made from.
pub struct ContainersParts {
    /// Where what they see and write is kept.
    pub store: Store,
    /// What runs them.
    pub executor: Arc<dyn Executor>,
    /// What tells the kernel of emulators; without it they are put before programs.
    pub spawner: Option<Spawner>,
    /// The clients, who have secrets and keys.
    pub sessions: SessionManager,
    /// Where specifications of devices are; `None` if no process gets any.
    pub devices: Option<kiln_cdi::Registry>,
    /// The networks of processes that have a proxy; `None` if none can have one.
    pub networks: Option<Networks>,
    /// How long a cancelled process may take to end after SIGTERM, before SIGKILL.
    pub grace: Duration,
    /// Where emulators are looked for.
    pub emulators: EmulatorOptions,
    /// Who knows what cache mounts had in them elsewhere; `None` if they all begin empty.
    pub cache_mounts: Option<Arc<dyn CacheMounts>>,
}

/// The processes of a machine. Cheap to clone.
#[derive(Clone)]
pub struct Containers(Handle<Inner>);

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) executor: Arc<dyn Executor>,
    pub(crate) sessions: SessionManager,
    pub(crate) secrets: SecretFiles,
    pub(crate) runs: Runs,
    pub(crate) emulators: Emulators,
    pub(crate) devices: Option<kiln_cdi::Registry>,
    pub(crate) proxies: Proxies,
    pub(crate) cache_mounts: Option<Arc<dyn CacheMounts>>,
}

/// A process that can be started, and all that it uses. Dropping it lets that go.
pub struct Prepared {
    pub(crate) spec: ProcessSpec,
    pub(crate) process: Process,
    pub(crate) mounts: PreparedMounts,
}

/// A process that runs, for who has its streams. Dropping it ends the process.
pub struct RunningProcess {
    // Dropped in this order: what is mounted goes last.
    running: Box<dyn Running>,
    mounts: PreparedMounts,
}

impl RunningProcess {
    /// Waits until it has ended.
    ///
    /// # Errors
    ///
    /// If nothing is known of it any more.
    pub async fn wait(&mut self) -> Result<ExitStatus, kiln_executor::ExecError> {
        let status = self.running.wait().await?;
        if ended_by_itself(status) {
            self.mounts.end_writing();
        }
        Ok(status)
    }
}

impl Containers {
    /// The processes of a machine.
    pub fn new(parts: ContainersParts) -> Self {
        Self(Handle::new(Inner {
            secrets: SecretFiles::new(parts.store.root().join("run")),
            store: parts.store,
            executor: parts.executor,
            sessions: parts.sessions,
            runs: Runs::new(parts.grace),
            emulators: Emulators::new(parts.emulators, parts.spawner),
            devices: parts.devices,
            proxies: Proxies::new(parts.networks),
            cache_mounts: parts.cache_mounts,
        }))
    }

    /// Prepares what a process needs. Nothing runs yet.
    ///
    /// # Errors
    ///
    /// What cannot be had, with what each mount of the process shows by then.
    pub fn prepare<'a>(
        &'a self,
        job: &'a JobContext,
        spec: ProcessSpec,
    ) -> BoxFuture<'a, Result<Prepared, ExecError<Ref>>> {
        Box::pin(async move {
            let mut mounts = PreparedMounts::new(&self.0.store);
            match self.0.complete(job, &spec, &mut mounts).await {
                Ok(process) => Ok(Prepared { spec, process, mounts }),
                Err(error) => Err(ExecError { error, mounts: mounts.left(&spec).await }),
            }
        })
    }

    /// Runs a process to its end; what it writes to its standard streams is progress of the job's vertex.
    ///
    /// # Errors
    ///
    /// If it did not run to an end of its own, with what each of its mounts shows then.
    ///
    /// # Cancellation
    ///
    /// Dropping the future asks the process to end; what it uses is let go when it has.
    pub fn run<'a>(
        &'a self,
        job: &'a JobContext,
        prepared: Prepared,
    ) -> BoxFuture<'a, Result<Finished, ExecError<Ref>>> {
        Box::pin(async move { self.0.runs.run(Arc::clone(&self.0.executor), job, prepared).await })
    }

    /// Starts a process whose streams are the caller's.
    ///
    /// # Errors
    ///
    /// If its program cannot be run.
    pub fn start<'a>(
        &'a self,
        mut prepared: Prepared,
        stdio: Stdio,
    ) -> BoxFuture<'a, Result<RunningProcess, kiln_executor::ExecError>> {
        Box::pin(async move {
            let noted = prepared.mounts.begin_writing();
            noted.map_err(|error| kiln_executor::ExecError::Setup {
                step: "note who writes to cache mounts".to_owned(),
                message: error.message,
            })?;
            let running = self.0.executor.start(prepared.process, stdio).await?;
            Ok(RunningProcess { running, mounts: prepared.mounts })
        })
    }

    /// Makes the mounts of a container whose processes are started later, one by one.
    ///
    /// # Errors
    ///
    /// If something cannot be mounted.
    pub fn open<'a>(&'a self, parts: ContainerParts) -> BoxFuture<'a, Result<Container, OpError>> {
        Box::pin(async move { Container::open(self.0.clone(), parts).await })
    }

    /// Waits until no process is left that was run or opened here, with all that it used. Cancelled ones
    /// count.
    pub async fn ended(&self) {
        self.0.runs.ended().await;
    }

    /// Gives cancelled processes no more time, now and later.
    pub fn end_at_once(&self) {
        self.0.runs.end_at_once();
    }

    /// Lets the requests of processes be decided on that have a proxy and name this judge.
    pub fn answer_for(&self, judge: Arc<dyn Judge>) -> JudgeGuard {
        self.0.proxies.answer_for(judge)
    }

    /// What passed through the proxy of a vertex's process when it ran, if that is known.
    pub fn passed(&self, vertex: &Digest) -> Option<Arc<Captured>> {
        self.0.proxies.passed(vertex)
    }

    /// Notes under a vertex what passed through the proxy of its process, if it had one, and shows it to who
    /// builds.
    pub fn note_passed<'a>(
        &'a self,
        job: &'a JobContext,
        finished: &'a mut Finished,
        vertex: &'a Digest,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if let Some(network) = finished.take_network() {
                self.0.proxies.end(network, vertex, job).await;
            }
        })
    }

    /// The devices that there are now; `None` if no process gets any.
    pub fn devices(&self) -> Option<kiln_cdi::Devices> {
        self.0.devices.as_ref().map(kiln_cdi::Registry::read)
    }

    /// The platforms whose programs the machine runs, native first.
    pub fn platforms(&self) -> Vec<Platform> {
        self.0.emulators.machine().platforms()
    }

    /// The name of the program that stands between this machine and the programs of a platform;
    /// nothing, if it runs these itself or not at all.
    pub fn emulator(&self, platform: &Platform) -> Option<String> {
        self.0.emulators.emulator(platform)
    }

    /// Makes a cache mount begin empty for whoever asks for it next. A process that has it mounted
    /// goes on with what it has.
    ///
    /// # Errors
    ///
    /// If the store cannot write that down.
    pub async fn forget_cache(&self, id: &str) -> Result<(), DirectoryError> {
        let (key, store) = (cache_mount_key(id), &self.0.store);
        store.forget_directory(&key).await?;
        // One that exists is not filled with what it had elsewhere.
        store.directory(&key, Kind::ExecCacheMount, Sharing::Shared, None).await?;
        Ok(())
    }
}

impl Inner {
    /// Adds to `mounts` what a process uses; the process, which can be started.
    async fn complete(
        &self,
        job: &JobContext,
        spec: &ProcessSpec,
        mounts: &mut PreparedMounts,
    ) -> Result<Process, OpError> {
        mounts.add(self, job, spec).await?;
        let (mut process, network) = process(self, job, spec).await?;
        mounts.attach(&mut process, network);
        Ok(process)
    }

    /// The clients of a job.
    pub(crate) fn clients(&self, job: &JobContext) -> Clients {
        Clients::new(&self.sessions, job.sessions.ids())
    }
}
