//! One stream of the gateway service that carries the processes of containers.
//!
//! Messages name the process they are for; each process has tasks of its own, and no message of it
//! comes before the one that says it runs, or after the one that says it is done. What waits for a
//! process or for the far side is bounded. When the far side drops the stream, its processes end.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use bytes::{Bytes, BytesMut};
use kiln_wire::proto::gateway as wire;
use kiln_wire::proto::gateway::exec_message::Input;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

use crate::containers::{Container, Order, Process, Table, lost, signal};

/// Messages that may wait for the far side.
const WAITING: usize = 16;
/// Messages of standard input that may wait for a process.
const WAITING_INPUT: usize = 4;
/// How much of an output goes into one message, in bytes.
const CHUNK: usize = 32 << 10;
/// Processes that one stream may have at a time.
const MAX_PROCESSES: usize = 256;

/// What goes to the far side.
pub(crate) type Messages = mpsc::Sender<Result<wire::ExecMessage, Status>>;

/// Answers a stream of messages; the receiver has what is to be sent back.
pub(crate) fn serve<S>(
    table: Weak<Table>,
    messages: S,
) -> mpsc::Receiver<Result<wire::ExecMessage, Status>>
where
    S: Stream<Item = Result<wire::ExecMessage, Status>> + Send + Unpin + 'static,
{
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let conversation = async {
            if let Err(status) = converse(&table, messages, &sender).await {
                sender.send(Err(status)).await.ok();
            }
        };
        tokio::select! {
            () = sender.closed() => {}
            () = conversation => {}
        }
    });
    receiver
}

/// What a stream knows of a process.
struct Known {
    stdin: mpsc::Sender<Bytes>,
    orders: mpsc::Sender<Order>,
}

async fn converse<S>(table: &Weak<Table>, mut messages: S, sender: &Messages) -> Result<(), Status>
where
    S: Stream<Item = Result<wire::ExecMessage, Status>> + Send + Unpin,
{
    let mut processes: BTreeMap<String, Option<Known>> = BTreeMap::new();
    let mut running = JoinSet::new();
    // Processes start in the order they are asked for: the first of a container is special.
    let (_, mut before) = oneshot::channel::<()>();
    loop {
        let message = tokio::select! {
            message = messages.next() => message,
            Some(_) = running.join_next() => continue,
        };
        // Without more input, what runs still has its end to tell.
        let Some(message) = message else { break };
        let wire::ExecMessage { process_id: id, input } = message?;
        if id.is_empty() {
            return Err(Status::invalid_argument("ProcessID required"));
        }
        match input {
            Some(Input::Init(init)) => {
                if processes.contains_key(&id) {
                    let message = format!("Process {id} already exists");
                    return Err(Status::already_exists(message));
                }
                if running.len() >= MAX_PROCESSES {
                    let message = format!("a stream may have {MAX_PROCESSES} processes at a time");
                    return Err(Status::resource_exhausted(message));
                }
                check_descriptors(&init.fds)?;
                let missing = || Status::not_found("the build has ended");
                let container = table.upgrade().ok_or_else(missing)?.get(&init.container_id)?;
                let (started, next) = oneshot::channel();
                let turn = Turn { before: std::mem::replace(&mut before, next), started };
                let far = Far { id: id.clone(), sender: sender.clone() };
                let (known, carried) = carry(far, container, init, turn);
                running.spawn(carried);
                processes.insert(id, Some(known));
            }
            Some(Input::File(file)) => {
                let known = find(&mut processes, &id)?;
                if let Some(process) = known.as_ref().filter(|_| !file.data.is_empty()) {
                    // One that reads no more loses what is written, as with any pipe.
                    process.stdin.send(file.data).await.ok();
                }
                if let Some(process) = known.take_if(|_| file.eof) {
                    *known = Some(Known { stdin: mpsc::channel(1).0, ..process });
                }
            }
            Some(Input::Resize(size)) => {
                let number = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
                let order = Order::Resize(number(size.rows), number(size.cols));
                give(find(&mut processes, &id)?, order).await;
            }
            Some(Input::Signal(asked)) => {
                let known = find(&mut processes, &id)?;
                let unknown = || Status::invalid_argument(format!("Unknown signal {}", asked.name));
                let order = Order::Signal(signal(&asked.name).ok_or_else(unknown)?);
                give(known, order).await;
            }
            Some(Input::Started(_) | Input::Exit(_) | Input::Done(_)) | None => {}
        }
    }
    drop(processes);
    while running.join_next().await.is_some() {}
    Ok(())
}

fn find<'a>(
    processes: &'a mut BTreeMap<String, Option<Known>>,
    id: &str,
) -> Result<&'a mut Option<Known>, Status> {
    let missing = || Status::not_found(format!("IO for process {id:?} not found"));
    processes.get_mut(id).ok_or_else(missing)
}

async fn give(known: &Option<Known>, order: Order) {
    if let Some(process) = known {
        process.orders.send(order).await.ok();
    }
}

/// Which descriptors a process can have.
fn check_descriptors(descriptors: &[u32]) -> Result<(), Status> {
    match descriptors.iter().find(|fd| **fd > 2) {
        Some(fd) => Err(Status::invalid_argument(format!(
            "file descriptor {fd} cannot be opened for a process: only 0, 1 and 2 are supported"
        ))),
        None => Ok(()),
    }
}

/// When a process may start.
struct Turn {
    /// Ends when the one before has started.
    before: oneshot::Receiver<()>,
    /// Dropped when this one has.
    started: oneshot::Sender<()>,
}

/// The future that carries a process from its start to its end.
fn carry(
    far: Far,
    container: Arc<dyn Container>,
    init: wire::InitMessage,
    turn: Turn,
) -> (Known, impl Future<Output = ()> + Send + 'static) {
    let (stdin, input) = mpsc::channel(WAITING_INPUT);
    let (orders, ordered) = mpsc::channel(WAITING);
    let fds = init.fds.clone();
    let carried = async move {
        turn.before.await.ok();
        let started = container.start(init).await;
        drop((container, turn.started));
        far.send(Input::Started(wire::StartedMessage {})).await;
        match started {
            Ok(process) => far.attend(process, input, ordered).await,
            Err(error) => {
                far.send(Input::Exit(lost(&error))).await;
                for fd in fds.into_iter().filter(|fd| *fd > 0) {
                    far.send(end_of(fd)).await;
                }
            }
        }
        far.send(Input::Done(wire::DoneMessage {})).await;
    };
    (Known { stdin, orders }, carried)
}

/// The far side of one process.
struct Far {
    id: String,
    sender: Messages,
}

impl Far {
    /// Sends a message; one that cannot be sent is no loss, as the stream has ended.
    async fn send(&self, input: Input) {
        let message = wire::ExecMessage { process_id: self.id.clone(), input: Some(input) };
        self.sender.send(Ok(message)).await.ok();
    }

    async fn attend(
        &self,
        process: Process,
        input: mpsc::Receiver<Bytes>,
        mut ordered: mpsc::Receiver<Order>,
    ) {
        let Process { stdin, outputs, orders, ended } = process;
        let outputs = outputs.into_iter().map(|(fd, output)| self.forward(fd, output));
        let asked = async {
            let given = async {
                while let Some(order) = ordered.recv().await {
                    orders(order);
                }
            };
            tokio::join!(given, feed(stdin, input));
        };
        let until_exit = async {
            let exit = tokio::select! {
                biased;
                exit = ended => exit,
                () = async { asked.await; std::future::pending().await } => return,
            };
            self.send(Input::Exit(exit)).await;
        };
        tokio::join!(until_exit, futures::future::join_all(outputs));
    }

    /// Passes on what a process writes until it writes no more.
    async fn forward(&self, fd: u32, mut output: Box<dyn AsyncRead + Send + Unpin>) {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(CHUNK);
            match output.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            let data = buffer.split().freeze();
            self.send(Input::File(wire::FdMessage { fd, eof: false, data })).await;
        }
        self.send(end_of(fd)).await;
    }
}

fn end_of(fd: u32) -> Input {
    Input::File(wire::FdMessage { fd, eof: true, data: Bytes::new() })
}

/// Writes what comes to standard input, and closes it at the end.
async fn feed(stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>, mut input: mpsc::Receiver<Bytes>) {
    let Some(mut stdin) = stdin else { return };
    while let Some(data) = input.recv().await {
        if stdin.write_all(&data).await.is_err() {
            return;
        }
    }
}
