//! A frontend in its own process, seen from the side that serves it.
//!
//! The process speaks the gateway protocol on its standard input and output (BuildKit's
//! `frontend/gateway`); what it writes to standard error is kept for the error message. It may
//! return, crash, hang or talk nonsense: the conversation ends in every case. Nothing is started
//! here; whoever starts processes hands over the streams and a future that tells how it ended.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use kiln_wire::channel::Io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::task::JoinSet;

use crate::service::{self, FrontendSession};
use crate::{Bridge, BuildInfo, BuildResult, Code, FrontendError, Ref};

/// How long a frontend that has returned may take to end by itself.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// How long what a frontend said before it ended may still be on its way.
const DRAIN_TIME: Duration = Duration::from_millis(200);
/// How much of standard error is kept for the message, in bytes.
const STDERR_TAIL: usize = 4 << 10;
/// Calls a frontend may have open; each may hold one message.
const MAX_CALLS: u32 = 64;
/// How every HTTP/2 connection starts.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The environment that tells a frontend its options, as `(name, value)`.
///
/// `product` is what is built with, such as `buildkit`.
pub fn environment(info: &BuildInfo, product: &str) -> Vec<(String, String)> {
    let options = info.options.0.iter().enumerate();
    let mut environment: Vec<(String, String)> = options
        .map(|(number, (key, value))| {
            (format!("BUILDKIT_FRONTEND_OPT_{number}"), format!("{key}={value}"))
        })
        .collect();
    let workers = info.workers.iter().map(|worker| {
        serde_json::json!({ "ID": worker.id, "Labels": worker.labels, "Platforms": worker.platforms })
    });
    let workers = serde_json::Value::from_iter(workers).to_string();
    environment.push(("BUILDKIT_SESSION_ID".to_owned(), info.session_id.clone()));
    environment.push(("BUILDKIT_WORKERS".to_owned(), workers));
    environment.push(("BUILDKIT_EXPORTEDPRODUCT".to_owned(), product.to_owned()));
    environment
}

/// A frontend's process: its streams and its end.
pub struct FrontendProcess<I, E, W> {
    /// How messages call it.
    pub name: String,
    /// Its standard output to read and its standard input to write.
    pub io: I,
    /// Its standard error.
    pub stderr: E,
    /// Waits for the process. The process is expected to be gone when this is dropped.
    pub ended: W,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// In words: `ended with exit code 1`.
    pub how: String,
    /// Whether the process says that all went well.
    pub succeeded: bool,
}

impl Ended {
    /// With an exit code.
    pub fn with_code(code: impl Into<i64>) -> Self {
        let code = code.into();
        Self { how: format!("ended with exit code {code}"), succeeded: code == 0 }
    }

    /// Not as it should have.
    pub fn badly(how: String) -> Self {
        Self { how, succeeded: false }
    }
}

impl<I, E, W> FrontendProcess<I, E, W>
where
    I: Io,
    E: AsyncRead + Send + Unpin + 'static,
    W: Future<Output = Ended>,
{
    /// Talks to the frontend until it returns or ends.
    ///
    /// With a `limit`, that is all the time it gets.
    ///
    /// # Errors
    ///
    /// What the frontend returned as an error, or what it did wrong, with its last words.
    ///
    /// # Cancellation
    ///
    /// Dropping the future drops the streams and `ended`.
    pub async fn converse(
        self,
        bridge: Arc<dyn Bridge>,
        limit: Option<Duration>,
    ) -> Result<BuildResult<Ref>, FrontendError> {
        let words = LastWords::default();
        let mut listening = JoinSet::new();
        listening.spawn(words.clone().listen(self.stderr));
        let (session, mut returned) = FrontendSession::new(bridge);
        let mut server = kiln_wire::channel::server().max_concurrent_streams(Some(MAX_CALLS));
        let router = server.add_service(service::service(Arc::clone(&session)));
        let opening = Opening::default();
        let serving =
            kiln_wire::channel::serve(router, Overheard { io: self.io, opening: opening.clone() });
        let out_of_time = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        let ended = self.ended;
        tokio::pin!(serving, ended, out_of_time);
        let wrong = tokio::select! {
            biased;
            Ok(result) = &mut returned => {
                // It may still read the answer to its return; then it should go.
                let farewell = async { tokio::join!(serving, ended) };
                drop(tokio::time::timeout(SHUTDOWN_GRACE, farewell).await);
                return result;
            }
            ended = &mut ended => {
                // What it called last may not have been read.
                drop(tokio::time::timeout(DRAIN_TIME, &mut serving).await);
                match session.take_final() {
                    Some(result) if ended.succeeded => return Ok(result),
                    _ => format!("{} before it returned a result", ended.how),
                }
            },
            // Without a connection there is nothing to wait for but its end.
            _ = &mut serving => match opening.is_strange() {
                // A program that shouts something and ends is best explained by what it shouted.
                true => "does not speak the gateway protocol".to_owned(),
                false => match tokio::time::timeout(SHUTDOWN_GRACE, &mut ended).await {
                    Ok(ended) => match session.take_final() {
                        Some(result) if ended.succeeded => return Ok(result),
                        _ => format!("{} before it returned a result", ended.how),
                    },
                    Err(_) => "closed its streams before it returned a result".to_owned(),
                },
            },
            () = &mut out_of_time => {
                let limit = limit.unwrap_or_default().as_secs_f32();
                format!("did not return a result within {limit} s")
            }
        };
        // What it said may still be on its way.
        drop(tokio::time::timeout(DRAIN_TIME, listening.join_next()).await);
        if let Ok(result) = returned.try_recv() {
            return result;
        }
        let calls = session.calls();
        let message = format!("{} {wrong}{}", self.name, opening.explain(calls));
        Err(FrontendError::new(Code::Unavailable, words.append_to(message)))
    }
}

/// The end of what a process said on standard error.
#[derive(Clone, Default)]
struct LastWords(Arc<Mutex<VecDeque<u8>>>);

impl LastWords {
    async fn listen(self, mut stderr: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; 4096];
        while let Ok(read) = stderr.read(&mut buffer).await {
            if read == 0 {
                break;
            }
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend(&buffer[..read]);
            let surplus = kept.len().saturating_sub(STDERR_TAIL);
            kept.drain(..surplus);
        }
    }

    fn append_to(&self, message: String) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: Vec<u8> = kept.iter().copied().collect();
        match String::from_utf8_lossy(&kept).trim() {
            "" => message,
            words => format!("{message}; it said:\n{words}"),
        }
    }
}

/// The first bytes a process wrote to standard output.
#[derive(Clone, Default)]
struct Opening(Arc<Mutex<Vec<u8>>>);

impl Opening {
    fn add(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = PREFACE.len().saturating_sub(kept.len());
        kept.extend_from_slice(&bytes[..room.min(bytes.len())]);
    }

    fn is_strange(&self) -> bool {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        !PREFACE.starts_with(&kept)
    }

    /// What is to be added to a message about a frontend that made so many calls.
    fn explain(&self, calls: usize) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (kept.is_empty(), PREFACE.starts_with(&kept), calls) {
            (true, _, _) => {
                ", and wrote nothing to its standard output, where the gateway protocol is expected"
                    .to_owned()
            }
            (_, false, _) => {
                let text = String::from_utf8_lossy(&kept);
                format!(
                    "; its standard output starts with {text:?} instead of HTTP/2 (what is meant for people belongs \
                     on standard error)"
                )
            }
            (_, true, 0) => ", and called nothing".to_owned(),
            (_, true, 1) => ", after one call".to_owned(),
            (_, true, calls) => format!(", after {calls} calls"),
        }
    }
}

/// The streams of a process, of which the first bytes are remembered.
struct Overheard<I> {
    io: I,
    opening: Opening,
}

impl<I: AsyncRead + Unpin> AsyncRead for Overheard<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        self.opening.add(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Overheard<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(context, data));
        if written.is_err() {
            // A process that is gone before it was greeted may have said why, and nothing reads
            // after a failed write: what lies in the pipe is looked at here.
            let mut left = [0; PREFACE.len()];
            let mut left = ReadBuf::new(&mut left);
            drop(self.as_mut().poll_read(context, &mut left));
        }
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
