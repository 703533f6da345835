//! Containers of the gateway API: mounts that stay, and processes that are started in them one by one.
//!
//! The first process makes the container and later ones join it; all of them end with the first, and
//! with the [`Container`]. What is mounted is let go when the last process is gone. Nothing of this is
//! a step: it is not cached and makes no result.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use kiln_engine::{ErrorKind, JobContext, OpError, Output};
use kiln_executor::{ExecProcess, ExitStatus, Process, Running, Stdio};
use kiln_graph::Exec;
use kiln_handle::Handle;
use kiln_network::ProxiedNetwork;
use kiln_oci::Platform;
use kiln_store::Ref;
use tokio::sync::{mpsc, oneshot, watch};

use crate::containers::Inner;
use crate::error::failed;
use crate::mounts::PreparedMounts;
use crate::process::process;
use crate::run::terminate;
use crate::spec::ProcessSpec;
use crate::{foreign, read};

/// Orders that may wait for a process.
const WAITING: usize = 16;

/// What a container is made of.
#[derive(Debug)]
pub struct ContainerParts {
    /// Its mounts; the rest is each process's own.
    pub mounts: Exec,
    /// What the mounts show, by number.
    pub inputs: Vec<Output<Ref>>,
    /// What its programs are for.
    pub platform: Platform,
    /// Who can be asked for secrets and keys.
    pub job: JobContext,
}

/// A container of a frontend. Dropping it ends its processes.
pub struct Container {
    inside: Arc<Inside>,
    /// Held by the processes' tasks alone as a receiver: `true` or gone means to end.
    released: watch::Sender<bool>,
}

struct Inside {
    machine: Handle<Inner>,
    job: JobContext,
    platform: Platform,
    /// Mounts that live as long as a process.
    prepared: Mutex<PreparedMounts>,
    first: tokio::sync::Mutex<First>,
    /// Variables that all processes have.
    environment: OnceLock<Vec<String>>,
    /// How many processes live, and how the first ended that did not end well.
    lives: watch::Sender<(usize, Option<Ended>)>,
}

/// The process that the container is made of.
enum First {
    /// It was not started yet.
    None,
    /// It was started; this is how later ones join it.
    Started(mpsc::Sender<Message>),
}

/// What a running process is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Take a signal.
    Signal(i32),
    /// Have a terminal of so many rows and columns.
    Resize(u16, u16),
}

/// What the task of a process is asked.
enum Message {
    Order(Order),
    Join(Box<ExecProcess>, Stdio, oneshot::Sender<Result<Box<dyn Running>, OpError>>),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself or by a signal, with its code.
    Exited(u32),
    /// Because the container or the process was no longer wanted.
    Cancelled,
}

/// A process that runs. Dropping it ends the process.
pub struct Started {
    messages: mpsc::Sender<Message>,
    ended: oneshot::Receiver<Result<Ended, OpError>>,
    _wanted: oneshot::Sender<()>,
}

impl Started {
    /// A way to give orders that outlives this value.
    pub fn orders(&self) -> impl Fn(Order) + Send + Sync + 'static {
        let messages = self.messages.clone();
        move |order| {
            // A process that has ended takes none, and one that takes none for long gets no more.
            messages.try_send(Message::Order(order)).ok();
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// If nothing is known of it any more.
    pub async fn ended(self) -> Result<Ended, OpError> {
        let lost = || OpError::new(ErrorKind::Failed, "internal error: the process was lost");
        self.ended.await.map_err(|_| lost())?
    }
}

impl Container {
    /// Makes a container's mounts; see [`Containers::open`](crate::Containers::open).
    pub(crate) async fn open(
        machine: Handle<Inner>,
        parts: ContainerParts,
    ) -> Result<Self, OpError> {
        let ContainerParts { mounts, inputs, platform, job } = parts;
        let spec =
            ProcessSpec { inputs, ..ProcessSpec::new("container", mounts, platform.clone()) };
        let mut prepared = PreparedMounts::new(&machine.store);
        prepared.add(&machine, &job, &spec).await?;
        let inside = Inside {
            machine,
            job,
            platform,
            prepared: Mutex::new(prepared),
            first: tokio::sync::Mutex::new(First::None),
            environment: OnceLock::new(),
            lives: watch::Sender::new((0, None)),
        };
        Ok(Self { inside: Arc::new(inside), released: watch::Sender::new(false) })
    }

    /// Starts a process: the container's own if it is the first, another inside it otherwise.
    ///
    /// # Errors
    ///
    /// If its program cannot be run, or the container has ended.
    ///
    /// # Cancellation
    ///
    /// Safe: a process that was half started ends.
    pub fn start<'a>(
        &'a self,
        exec: &'a Exec,
        tty: bool,
        stdio: Stdio,
    ) -> BoxFuture<'a, Result<Started, OpError>> {
        Box::pin(async move {
            let mut first = self.inside.first.lock().await;
            if *self.released.borrow() {
                return Err(gone("was released"));
            }
            let running = match &*first {
                First::None => {
                    // Whatever becomes of it, the next one is not the first.
                    let (messages, received) = mpsc::channel(WAITING);
                    *first = First::Started(messages.clone());
                    self.begin(exec, tty, stdio)
                        .await
                        .map(|running| (running, messages, received, true))
                }
                First::Started(into) => {
                    let into = into.clone();
                    drop(first);
                    let joined = self.join(&into, exec, tty, stdio).await;
                    let (messages, received) = mpsc::channel(WAITING);
                    joined.map(|running| (running, messages, received, false))
                }
            };
            let (running, messages, received, is_first) = running.map_err(|error| {
                foreign::could_not_run(&exec.args, &self.inside.platform, &Platform::host(), error)
            })?;
            let (said, ended) = oneshot::channel();
            let (wanted, unwanted) = oneshot::channel();
            let life = Life {
                inside: Arc::clone(&self.inside),
                running,
                received,
                unwanted,
                released: self.released.subscribe(),
                patience: self.inside.machine.runs.patience(),
            };
            let counted = self.inside.machine.runs.count();
            let inside = Arc::clone(&self.inside);
            inside.lives.send_modify(|(living, _)| *living += 1);
            tokio::spawn(async move {
                let ended = life.live(is_first).await;
                let bad = ended.as_ref().copied().ok().filter(|ended| *ended != Ended::Exited(0));
                said.send(ended).ok();
                inside.lives.send_modify(|(living, failed)| {
                    *living -= 1;
                    *failed = failed.or(bad);
                });
                drop((inside, counted));
            });
            Ok(Started { messages, ended, _wanted: wanted })
        })
    }

    /// Ends all processes, now and later.
    pub fn release(&self) {
        self.released.send_replace(true);
    }

    /// Waits until no process lives; the first end of one that did not end with code 0.
    pub async fn ended(&self) -> Option<Ended> {
        let mut lives = self.inside.lives.subscribe();
        // The sender lives as long as `self`.
        let ended = lives.wait_for(|(living, _)| *living == 0).await;
        ended.ok().and_then(|ended| ended.1)
    }

    /// Reads a file of a mount, or `length` bytes of it from an offset on.
    ///
    /// # Errors
    ///
    /// As [`read::read_file`], or if there is no such mount.
    pub fn read_file<'a>(
        &'a self,
        mount: usize,
        path: &'a str,
        range: Option<(u64, u64)>,
    ) -> BoxFuture<'a, Result<Vec<u8>, OpError>> {
        Box::pin(async move { read::file_in(self.place(mount).await?, path, range).await })
    }

    /// Lists a directory of a mount.
    ///
    /// # Errors
    ///
    /// As [`read::read_dir`], or if there is no such mount.
    pub fn read_dir<'a>(
        &'a self,
        mount: usize,
        path: &'a str,
        pattern: &'a str,
    ) -> BoxFuture<'a, Result<Vec<read::FileStat>, OpError>> {
        Box::pin(async move { read::dir_in(self.place(mount).await?, path, pattern).await })
    }

    /// Looks at a path of a mount.
    ///
    /// # Errors
    ///
    /// As [`read::stat_file`], or if there is no such mount.
    pub fn stat_file<'a>(
        &'a self,
        mount: usize,
        path: &'a str,
    ) -> BoxFuture<'a, Result<read::FileStat, OpError>> {
        Box::pin(async move { read::stat_in(self.place(mount).await?, path).await })
    }

    async fn place(&self, mount: usize) -> Result<read::Place, OpError> {
        let place = self.inside.with_mounts(|prepared| prepared.place(mount));
        let missing = || {
            let message = format!("mount {mount} does not exist or has no files to be read here");
            OpError::new(ErrorKind::Invalid, message)
        };
        place.ok_or_else(missing)?.await
    }

    /// Makes the container with its first process.
    async fn begin(
        &self,
        exec: &Exec,
        tty: bool,
        stdio: Stdio,
    ) -> Result<Box<dyn Running>, OpError> {
        let (mut process, network) = self.process(exec.clone(), tty).await?;
        if let Some(network) = &network {
            self.inside.environment.set(network.environment()).ok();
        }
        self.inside.with_mounts(|prepared| {
            prepared.attach(&mut process, network);
            prepared.begin_writing()
        })?;
        let executor = &self.inside.machine.executor;
        executor.start(process, stdio).await.map_err(|error| failed(&error))
    }

    /// Starts another process inside.
    async fn join(
        &self,
        into: &mpsc::Sender<Message>,
        exec: &Exec,
        tty: bool,
        stdio: Stdio,
    ) -> Result<Box<dyn Running>, OpError> {
        // The network is that of the first process.
        let exec = Exec { proxied: None, ..exec.clone() };
        let (mut process, _) = self.process(exec, tty).await?;
        process.env.extend(self.inside.environment.get().into_iter().flatten().cloned());
        let process = ExecProcess {
            args: process.args,
            env: process.env,
            cwd: process.cwd,
            user: process.user,
            tty,
            security: process.security,
            emulation: process.emulation,
        };
        let (answer, answered) = oneshot::channel();
        let message = Message::Join(Box::new(process), stdio, answer);
        into.send(message).await.map_err(|_| gone("has stopped"))?;
        answered.await.map_err(|_| gone("has stopped"))?
    }
}

impl Container {
    /// A process without mounts.
    async fn process(
        &self,
        exec: Exec,
        tty: bool,
    ) -> Result<(Process, Option<ProxiedNetwork>), OpError> {
        let Inside { machine, job, platform, .. } = &*self.inside;
        let spec = ProcessSpec::new("container", exec, platform.clone());
        let (mut process, network) = process(machine, job, &spec).await?;
        with_terminal(&mut process.env, tty);
        process.tty = tty;
        Ok((process, network))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.release();
    }
}

impl Inside {
    fn with_mounts<T>(&self, act: impl FnOnce(&mut PreparedMounts) -> T) -> T {
        act(&mut self.prepared.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A container that takes no more processes.
fn gone(how: &str) -> OpError {
    OpError::new(ErrorKind::NotFound, format!("the container {how}"))
}

/// Names the kind of terminal for programs that ask, as BuildKit does.
fn with_terminal(env: &mut Vec<String>, tty: bool) {
    if tty && !env.iter().any(|entry| entry.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
}

/// A process from its start to its end.
struct Life {
    inside: Arc<Inside>,
    running: Box<dyn Running>,
    received: mpsc::Receiver<Message>,
    unwanted: oneshot::Receiver<()>,
    released: watch::Receiver<bool>,
    /// How long the process may take to end, and whether nobody waits for that any more.
    patience: (Duration, watch::Receiver<bool>),
}

impl Life {
    async fn live(self, is_first: bool) -> Result<Ended, OpError> {
        let Self { inside, mut running, received, unwanted, released, patience } = self;
        let ended = attend(&mut *running, received, unwanted, released, patience).await;
        drop(running);
        if is_first && matches!(ended, Ok(Ended::Exited(_))) {
            inside.with_mounts(PreparedMounts::end_writing);
        }
        ended
    }
}

/// Waits for a process and does what is asked of it meanwhile.
async fn attend(
    running: &mut dyn Running,
    mut received: mpsc::Receiver<Message>,
    mut unwanted: oneshot::Receiver<()>,
    mut released: watch::Receiver<bool>,
    (grace, mut at_once): (Duration, watch::Receiver<bool>),
) -> Result<Ended, OpError> {
    loop {
        tokio::select! {
            biased;
            status = running.wait() => return exited(status),
            _ = &mut unwanted => break,
            // An error means that the container is gone.
            () = async { released.wait_for(|released| *released).await.ok(); } => break,
            Some(message) = received.recv() => match message {
                Message::Order(Order::Signal(signal)) => running.kill(signal),
                Message::Order(Order::Resize(rows, columns)) => running.resize(rows, columns),
                Message::Join(process, stdio, answer) => {
                    let joined = running.exec(*process, stdio).await;
                    answer.send(joined.map_err(|error| failed(&error))).ok();
                }
            },
        }
    }
    terminate(running, &mut at_once, grace).await.map_err(|error| failed(&error))?;
    Ok(Ended::Cancelled)
}

fn exited(status: Result<ExitStatus, kiln_executor::ExecError>) -> Result<Ended, OpError> {
    status.map(|status| Ended::Exited(status.code)).map_err(|error| failed(&error))
}
