//! Containers at a daemon, over the gateway protocol: one stream for each process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use kiln_wire::proto::gateway as wire;
use kiln_wire::proto::gateway::exec_message::Input;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, Streaming};

use crate::containers::{
    Container, ContainerRequest, Containers, Exit, Order, Process, ProcessRequest, lost,
    signal_name,
};
use crate::grpc::{GatewayClient, GrpcBridge};
use crate::{Code, FileRange, FileStat, FrontendError};

/// What may wait in a stream of a process, in bytes.
const WAITING: usize = 64 << 10;
/// The name of the process in its own stream.
const PROCESS: &str = "process";

/// A container at the daemon.
struct GrpcContainer {
    client: GatewayClient,
    id: String,
}

#[async_trait]
impl Containers for GrpcBridge {
    async fn create(&self, request: ContainerRequest) -> Result<Arc<dyn Container>, FrontendError> {
        let ContainerRequest(mut request) = request;
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if request.container_id.is_empty() {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            request.container_id = format!("container-{}-{number}", std::process::id());
        }
        let id = request.container_id.clone();
        self.client.clone().new_container(request).await.map_err(|error| rich(&error))?;
        Ok(Arc::new(GrpcContainer { client: self.client.clone(), id }))
    }
}

#[async_trait]
impl Container for GrpcContainer {
    async fn start(&self, process: ProcessRequest) -> Result<Process, FrontendError> {
        let ProcessRequest(mut process) = process;
        process.container_id.clone_from(&self.id);
        let has_input = process.fds.contains(&0);
        let (sender, receiver) = mpsc::channel(16);
        let far = Far(sender);
        let opened = process.fds.iter().filter(|fd| **fd > 0);
        let pipes = opened.map(|fd| (*fd, tokio::io::duplex(WAITING)));
        let (mut outputs, mut writers) = (Vec::new(), BTreeMap::new());
        for (fd, (ours, theirs)) in pipes {
            outputs.push((fd, Box::new(ours) as Box<dyn AsyncRead + Send + Unpin>));
            writers.insert(fd, theirs);
        }
        far.send(Input::Init(process)).await;
        let messages = self.client.clone().exec_process(ReceiverStream::new(receiver)).await;
        let mut messages = messages.map_err(|error| rich(&error))?.into_inner();
        started(&mut messages).await?;
        let (said, exit) = oneshot::channel();
        let (stdin, input) = tokio::io::duplex(WAITING);
        let feeding =
            has_input.then(|| AbortOnDropHandle::new(tokio::spawn(feed(far.clone(), input))));
        let carrying = AbortOnDropHandle::new(tokio::spawn(carry(messages, writers, said)));
        Ok(Process {
            stdin: has_input.then(|| Box::new(stdin) as Box<dyn AsyncWrite + Send + Unpin>),
            outputs,
            orders: Box::new(move |order| far.order(order)),
            ended: Box::pin(async move {
                let _tasks = (feeding, carrying);
                exit.await.unwrap_or_else(|_| lost(broken()))
            }),
        })
    }

    fn release(&self) {
        // Without a runtime the program ends, and the daemon notices.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (mut client, container_id) = (self.client.clone(), self.id.clone());
        runtime.spawn(async move {
            let released = client.release_container(wire::ReleaseContainerRequest { container_id });
            // It may be gone already.
            released.await.ok();
        });
    }

    async fn read_file(
        &self,
        mount: usize,
        path: &str,
        range: Option<FileRange>,
    ) -> Result<Bytes, FrontendError> {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let range = range.map(|range| wire::FileRange {
            offset: number(range.offset),
            length: number(range.length),
        });
        let asked = wire::ReadFileRequest {
            r#ref: self.id.clone(),
            file_path: path.to_owned(),
            range,
            mount_index: index(mount),
        };
        let answer = self.client.clone().read_file_container(asked).await;
        answer.map(|answer| answer.into_inner().data).map_err(|error| rich(&error))
    }

    async fn read_dir(
        &self,
        mount: usize,
        path: &str,
        include_pattern: &str,
    ) -> Result<Vec<FileStat>, FrontendError> {
        let asked = wire::ReadDirRequest {
            r#ref: self.id.clone(),
            dir_path: path.to_owned(),
            include_pattern: include_pattern.to_owned(),
            mount_index: index(mount),
        };
        let answer = self.client.clone().read_dir_container(asked).await;
        let entries = answer.map_err(|error| rich(&error))?.into_inner().entries;
        Ok(entries.into_iter().map(FileStat::from_wire).collect())
    }

    async fn stat_file(&self, mount: usize, path: &str) -> Result<FileStat, FrontendError> {
        let (id, path) = (self.id.clone(), path.to_owned());
        let asked = wire::StatFileRequest { r#ref: id, path, mount_index: index(mount) };
        let answer = self.client.clone().stat_file_container(asked).await;
        let stat = answer.map_err(|error| rich(&error))?.into_inner().stat;
        Ok(FileStat::from_wire(stat.unwrap_or_default()))
    }
}

impl Drop for GrpcContainer {
    fn drop(&mut self) {
        self.release();
    }
}

/// Where messages for a process go.
#[derive(Clone)]
struct Far(mpsc::Sender<wire::ExecMessage>);

impl Far {
    /// Sends a message; a process that has ended takes none.
    async fn send(&self, input: Input) {
        let process_id = PROCESS.to_owned();
        self.0.send(wire::ExecMessage { process_id, input: Some(input) }).await.ok();
    }

    fn order(&self, order: Order) {
        let input = match order {
            Order::Signal(number) => {
                let Some(name) = signal_name(number).map(str::to_owned) else { return };
                Input::Signal(wire::SignalMessage { name })
            }
            Order::Resize(rows, columns) => {
                Input::Resize(wire::ResizeMessage { rows: rows.into(), cols: columns.into() })
            }
        };
        let process_id = PROCESS.to_owned();
        self.0.try_send(wire::ExecMessage { process_id, input: Some(input) }).ok();
    }
}

/// Waits for the message that says the process runs.
async fn started(messages: &mut Streaming<wire::ExecMessage>) -> Result<(), FrontendError> {
    loop {
        match messages.message().await.map_err(|error| rich(&error))? {
            Some(wire::ExecMessage { input: Some(Input::Started(_)), .. }) => return Ok(()),
            Some(_) => {}
            None => return Err(broken()),
        }
    }
}

/// Passes standard input on until it ends.
async fn feed(far: Far, mut input: DuplexStream) {
    let mut buffer = vec![0; 32 << 10];
    loop {
        let read = input.read(&mut buffer).await.unwrap_or(0);
        let data = Bytes::copy_from_slice(&buffer[..read]);
        far.send(Input::File(wire::FdMessage { fd: 0, eof: read == 0, data })).await;
        if read == 0 {
            return;
        }
    }
}

/// Takes what comes from a process until it is done.
async fn carry(
    mut messages: Streaming<wire::ExecMessage>,
    mut writers: BTreeMap<u32, DuplexStream>,
    said: oneshot::Sender<Exit>,
) {
    let mut exit = None;
    let end = loop {
        let input = match messages.message().await {
            Ok(Some(message)) => message.input,
            Ok(None) => break lost(broken()),
            Err(error) => break lost(rich(&error)),
        };
        match input {
            Some(Input::File(file)) => {
                if let Some(writer) = writers.get_mut(&file.fd) {
                    // What is not read any more is lost, as with any pipe.
                    writer.write_all(&file.data).await.ok();
                }
                if file.eof {
                    writers.remove(&file.fd);
                }
            }
            Some(Input::Exit(message)) => exit = Some(Exit::from_wire(message)),
            Some(Input::Done(_)) => break exit.take().unwrap_or_else(|| lost(broken())),
            _ => {}
        }
    };
    said.send(exit.unwrap_or(end)).ok();
}

fn broken() -> FrontendError {
    FrontendError::new(Code::Unavailable, "the daemon said no more about the process")
}

fn rich(status: &Status) -> FrontendError {
    FrontendError::from_wire(status)
}

fn index(mount: usize) -> i64 {
    i64::try_from(mount).unwrap_or(i64::MAX)
}
