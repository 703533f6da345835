//! One client, as the rest of the daemon uses it.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::call::{CallError, Ended};
use crate::hello::Hello;

/// A session; shared by the manager, its tunnel and all callers.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) hello: Hello,
    channel: OnceLock<Channel>,
    cause: OnceLock<String>,
    over: CancellationToken,
    pub(crate) traffic: Traffic,
}

/// Counts what comes from a client.
#[derive(Debug, Default)]
pub(crate) struct Traffic(AtomicU64);

impl Traffic {
    /// A message has come.
    pub(crate) fn hear(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many messages have come.
    pub(crate) fn heard(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Session {
    pub(crate) fn new(hello: Hello) -> Arc<Self> {
        Arc::new(Self {
            hello,
            channel: OnceLock::new(),
            cause: OnceLock::new(),
            over: CancellationToken::new(),
            traffic: Traffic::default(),
        })
    }

    pub(crate) fn connect(&self, channel: Channel) {
        // The daemon dials once per tunnel.
        self.channel.set(channel).ok();
    }

    /// Ends the session; the first cause counts.
    pub(crate) fn end(&self, cause: &str) {
        if self.cause.set(cause.to_owned()).is_ok() {
            tracing::debug!(session = self.hello.id, cause, "session ended");
        }
        self.over.cancel();
    }

    pub(crate) async fn ended(&self) {
        self.over.cancelled().await;
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }
}

/// A handle on one client's session; cheap to clone. It does not keep the session open.
///
/// Every call fails with [`CallError::Ended`] as soon as the session is over.
#[derive(Debug, Clone)]
pub struct Caller {
    session: Arc<Session>,
}

impl Caller {
    pub(crate) fn new(session: Arc<Session>) -> Self {
        Self { session }
    }

    /// The session's id.
    pub fn id(&self) -> &str {
        &self.session.hello.id
    }

    /// Says which sessions look at the same files; empty if the client does not know.
    pub fn shared_key(&self) -> &str {
        &self.session.hello.shared_key
    }

    /// The name the client gave itself.
    pub fn name(&self) -> &str {
        &self.session.hello.name
    }

    /// Whether the client serves a method, such as `/moby.filesync.v1.FileSync/DiffCopy`.
    pub fn supports(&self, method: &str) -> bool {
        self.session.hello.methods.contains(&method.to_ascii_lowercase())
    }

    /// Waits until the session is over, and says why.
    pub async fn cancelled(&self) -> Ended {
        self.session.ended().await;
        self.why_ended()
    }

    /// Whether the session is over.
    pub fn is_over(&self) -> bool {
        self.session.is_over()
    }

    fn why_ended(&self) -> Ended {
        let cause = self.session.cause.get().cloned().unwrap_or_default();
        Ended { id: self.id().to_owned(), cause }
    }

    /// The connection inside the tunnel.
    pub(crate) fn channel(&self) -> Result<Channel, CallError> {
        if self.is_over() {
            return Err(self.why_ended().into());
        }
        self.session
            .channel
            .get()
            .cloned()
            .ok_or(CallError::Invalid("the session is not connected"))
    }

    /// Fails early if the client does not offer something.
    pub(crate) fn require(&self, method: &str, what: &'static str) -> Result<(), CallError> {
        if self.supports(method) { Ok(()) } else { Err(CallError::Unsupported(what.into())) }
    }

    /// Runs a call until it is done or the session is over, whichever is first.
    pub(crate) async fn run<T>(
        &self,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        tokio::select! {
            biased;
            ended = self.cancelled() => Err(ended.into()),
            done = call => match done {
                // What a broken tunnel looks like from inside explains less than why it broke.
                Err(_) if self.is_over() => Err(self.why_ended().into()),
                done => done,
            },
        }
    }
}
