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

use crate::container_table::Table;
use crate::containers::{Container, Order, Process, ProcessRequest, lost, signal};

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
        check_id(&id)?;
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
                if file.fd != 0 {
                    let message = format!("fd {} unavailable to write", file.fd);
                    return Err(Status::out_of_range(message));
                }
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
                give(find(&mut processes, &id)?.as_ref(), order).await;
            }
            Some(Input::Signal(asked)) => {
                let known = find(&mut processes, &id)?;
                let unknown = || Status::invalid_argument(format!("Unknown signal {}", asked.name));
                let order = Order::Signal(signal(&asked.name).ok_or_else(unknown)?);
                give(known.as_ref(), order).await;
            }
            Some(Input::Started(_) | Input::Exit(_) | Input::Done(_)) | None => {}
        }
    }
    drop(processes);
    while running.join_next().await.is_some() {}
    Ok(())
}

/// The longest name of a process, in bytes.
const MAX_ID: usize = 1 << 10;

fn check_id(id: &str) -> Result<(), Status> {
    match id.len() {
        0 => Err(Status::invalid_argument("ProcessID required")),
        1..=MAX_ID => Ok(()),
        _ => Err(Status::invalid_argument(format!("a ProcessID has at most {MAX_ID} bytes"))),
    }
}

fn find<'a>(
    processes: &'a mut BTreeMap<String, Option<Known>>,
    id: &str,
) -> Result<&'a mut Option<Known>, Status> {
    let missing = || Status::not_found(format!("IO for process {id:?} not found"));
    processes.get_mut(id).ok_or_else(missing)
}

async fn give(known: Option<&Known>, order: Order) {
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
        // Clients that connect processes with each other wait for the second to be started before
        // they take what the first writes, and meanwhile take nothing at all.
        let joins = container.is_started();
        let mut turn = Some(turn.started);
        if joins {
            turn = None;
            far.send(Input::Started(wire::StartedMessage {})).await;
        }
        let started = container.start(ProcessRequest(init)).await;
        drop((container, turn));
        if !joins {
            far.send(Input::Started(wire::StartedMessage {})).await;
        }
        match started {
            Ok(process) => far.attend(process, input, ordered).await,
            Err(error) => {
                far.send(Input::Exit(lost(error).into_wire())).await;
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
            self.send(Input::Exit(exit.into_wire())).await;
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

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;
    use crate::containers::exited;
    use crate::{Code, FileRange, FileStat, FrontendError};

    /// A container whose processes write back what they read, and end with the code that their
    /// argument is. Those without an argument cannot be run.
    struct Echo;

    #[async_trait]
    impl Container for Echo {
        async fn start(&self, process: ProcessRequest) -> Result<Process, FrontendError> {
            let args = process.0.meta.unwrap_or_default().args;
            let code = args.first().and_then(|code| code.parse().ok());
            let code: u32 = code.ok_or_else(|| FrontendError::new(Code::NotFound, "no program"))?;
            let (ours, theirs) = tokio::io::duplex(1 << 10);
            let (done, ended) = oneshot::channel();
            tokio::spawn(async move {
                let (mut from, mut to) = tokio::io::split(theirs);
                tokio::io::copy(&mut from, &mut to).await.ok();
                done.send(exited(code)).ok();
            });
            let (output, stdin) = tokio::io::split(ours);
            let stdin = Closing(stdin);
            Ok(Process {
                stdin: Some(Box::new(stdin)),
                outputs: vec![(1, Box::new(output))],
                orders: Box::new(|_| {}),
                ended: Box::pin(async { ended.await.unwrap_or_default() }),
            })
        }

        fn release(&self) {}

        async fn read_file(
            &self,
            _: usize,
            _: &str,
            _: Option<FileRange>,
        ) -> Result<Bytes, FrontendError> {
            Ok(Bytes::new())
        }

        async fn read_dir(
            &self,
            _: usize,
            _: &str,
            _: &str,
        ) -> Result<Vec<FileStat>, FrontendError> {
            Ok(Vec::new())
        }

        async fn stat_file(&self, _: usize, _: &str) -> Result<FileStat, FrontendError> {
            Ok(FileStat::default())
        }
    }

    /// Half of a pipe that tells its end when it is dropped.
    struct Closing(tokio::io::WriteHalf<tokio::io::DuplexStream>);

    impl Drop for Closing {
        fn drop(&mut self) {
            futures::FutureExt::now_or_never(self.0.shutdown());
        }
    }

    impl AsyncWrite for Closing {
        fn poll_write(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
            data: &[u8],
        ) -> std::task::Poll<std::io::Result<usize>> {
            std::pin::Pin::new(&mut self.0).poll_write(context, data)
        }

        fn poll_flush(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::pin::Pin::new(&mut self.0).poll_flush(context)
        }

        fn poll_shutdown(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::pin::Pin::new(&mut self.0).poll_shutdown(context)
        }
    }

    fn init(args: &[&str]) -> Input {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let meta = Some(kiln_wire::pb::Meta { args, ..Default::default() });
        let (container_id, fds) = ("c".to_owned(), vec![0, 1]);
        Input::Init(wire::InitMessage { container_id, meta, fds, ..Default::default() })
    }

    fn file(data: &'static str, eof: bool) -> Input {
        Input::File(wire::FdMessage { fd: 0, eof, data: Bytes::from_static(data.as_bytes()) })
    }

    /// What comes back, in short, and how the stream ended.
    async fn conversation(said: Vec<Input>) -> (Vec<String>, Option<Status>) {
        let table = Arc::new(Table::default());
        table.add("c", Arc::new(Echo)).unwrap();
        let (sender, receiver) = mpsc::channel(16);
        for input in said {
            let message = wire::ExecMessage { process_id: "p".to_owned(), input: Some(input) };
            sender.send(Ok(message)).await.unwrap();
        }
        drop(sender);
        let mut answers = serve(Arc::downgrade(&table), ReceiverStream::new(receiver));
        let mut heard = Vec::new();
        while let Some(answer) = answers.recv().await {
            heard.push(match answer.map(|message| message.input) {
                Err(status) => return (heard, Some(status)),
                Ok(Some(Input::Started(_))) => "started".to_owned(),
                Ok(Some(Input::File(file))) if file.eof => format!("{} ends", file.fd),
                Ok(Some(Input::File(file))) => String::from_utf8_lossy(&file.data).into_owned(),
                Ok(Some(Input::Exit(exit))) => format!("exit {}", exit.code),
                Ok(Some(Input::Done(_))) => "done".to_owned(),
                other => format!("{other:?}"),
            });
        }
        (heard, None)
    }

    #[tokio::test]
    async fn a_process_is_started_fed_and_its_end_told() {
        let said = vec![init(&["3"]), file("hello", false), file("", true)];
        let (heard, ended) = conversation(said).await;
        assert!(ended.is_none(), "{ended:?}");
        assert_eq!(heard.first().map(String::as_str), Some("started"));
        assert_eq!(heard.last().map(String::as_str), Some("done"));
        for part in ["hello", "1 ends", "exit 3"] {
            assert!(heard.iter().any(|heard| heard == part), "{heard:?}");
        }
    }

    #[tokio::test]
    async fn a_program_that_cannot_be_run_is_an_exit() {
        let (heard, ended) = conversation(vec![init(&[])]).await;
        assert!(ended.is_none(), "{ended:?}");
        assert_eq!(heard, ["started", "exit 255", "1 ends", "done"]);
    }

    #[tokio::test]
    async fn mistakes_end_the_stream_with_their_code() {
        let signal = |name: &str| Input::Signal(wire::SignalMessage { name: name.to_owned() });
        let elsewhere = Input::Init(wire::InitMessage::default());
        let strange = Input::Init(wire::InitMessage { fds: vec![3], ..Default::default() });
        let wrong = [
            (vec![file("x", false)], Code::NotFound),
            (vec![elsewhere], Code::NotFound),
            (vec![strange], Code::InvalidArgument),
            (vec![init(&["0"]), init(&["0"])], Code::AlreadyExists),
            (vec![init(&["0"]), signal("NONE")], Code::InvalidArgument),
        ];
        for (said, code) in wrong {
            let (_, ended) = conversation(said).await;
            assert_eq!(ended.map(|status| Code::from_wire(status.code())), Some(code));
        }
    }
}
