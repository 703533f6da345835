//! The open sessions, by id.
//!
//! [`SessionManager::handle`] turns the stream of `Control.Session` into a session; builds come
//! before or after it and wait in [`SessionManager::get`]. A second session of the same id replaces
//! the first.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use kiln_wire::proto::control::BytesMessage;
use kiln_wire::{channel, tunnel};
use tokio::sync::watch;
use tonic::Status;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;

use crate::caller::{Caller, Session};
use crate::health::Health;
use crate::hello::{Hello, HelloError};
use crate::waiting;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// It did not appear in time.
    #[error("no active session for {id}: it did not appear within {waited:?}")]
    NotFound {
        /// The id that was asked for.
        id: String,
        /// How long it was waited for.
        waited: Duration,
    },
}

/// Keeps the open sessions; cheap to clone.
#[derive(Debug, Clone)]
pub struct SessionManager {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    sessions: Mutex<BTreeMap<String, Arc<Session>>>,
    /// Counts the sessions that were opened, to wake those who wait for one.
    opened: watch::Sender<u64>,
    health: Health,
}

impl Default for SessionManager {
    fn default() -> Self {
        Self::new(Health::default())
    }
}

impl SessionManager {
    /// A manager with no sessions.
    pub fn new(health: Health) -> Self {
        let shared = Shared { sessions: Mutex::default(), opened: watch::Sender::new(0), health };
        Self { shared: Arc::new(shared) }
    }

    /// Opens a session from the two halves of a `Control.Session` call: its metadata and messages in,
    /// the messages for the client out. The session lasts as long as both streams: as soon as it is
    /// over nothing more is sent, because BuildKit's client takes what comes after it hung up for
    /// frames that make no sense, and says so to its user.
    ///
    /// # Errors
    ///
    /// If the metadata does not say what it must.
    pub fn handle<S>(
        &self,
        metadata: &MetadataMap,
        incoming: S,
    ) -> Result<BoxStream<'static, BytesMessage>, HelloError>
    where
        S: Stream<Item = Result<BytesMessage, Status>> + Send + Unpin + 'static,
    {
        let hello = Hello::parse(metadata)?;
        let session = Session::new(hello);
        // When the session ends for whatever reason the tunnel must end too, and the other way round.
        let (ended, over) = (Arc::clone(&session), Arc::clone(&session));
        let incoming = WatchEnd { incoming, session: Arc::clone(&session) };
        let incoming = incoming.take_until(async move { ended.ended().await });
        let (io, outgoing) = tunnel::join::<BytesMessage, _>(Box::pin(incoming));
        let manager = self.clone();
        // Nothing is said before somebody asks: a client whose build was refused hangs up at once.
        let channel = channel::connect_lazy(io);
        self.enter(&session, channel.clone());
        tokio::spawn(async move { manager.watch(session, channel).await });
        Ok(outgoing.take_until(async move { over.ended().await }).boxed())
    }

    /// Makes a session one that is found, in the place of an earlier one.
    fn enter(&self, session: &Arc<Session>, channel: Channel) {
        session.connect(channel);
        tracing::debug!(session = session.hello.id, name = session.hello.name, "session opened");
        let id = session.hello.id.clone();
        if let Some(earlier) = self.sessions().insert(id, Arc::clone(session)) {
            earlier.end("the client opened it again");
        }
        self.shared.opened.send_modify(|count| *count += 1);
    }

    /// Watches over a session until it is over.
    async fn watch(&self, session: Arc<Session>, channel: Channel) {
        let health = self.shared.health.wanted(session.hello.health_timeout);
        tokio::select! {
            cause = health.watch(channel, &session.traffic) => session.end(&cause),
            () = session.ended() => {}
        }
        let mut sessions = self.sessions();
        if sessions.get(&session.hello.id).is_some_and(|current| Arc::ptr_eq(current, &session)) {
            sessions.remove(&session.hello.id);
        }
    }

    /// The session of this id, if it is open. Ids may carry a prefix, as in `prefix:id`.
    pub fn find(&self, id: &str) -> Option<Caller> {
        let id = real_id(id);
        self.sessions()
            .get(id)
            .filter(|session| !session.is_over())
            .map(|session| Caller::new(Arc::clone(session)))
    }

    /// The same, waiting until it is opened.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotFound`] if that takes longer than `timeout`.
    pub async fn get(&self, id: &str, timeout: Duration) -> Result<Caller, SessionError> {
        let mut opened = self.shared.opened.subscribe();
        let wait = async {
            loop {
                opened.borrow_and_update();
                if let Some(caller) = self.find(id) {
                    return caller;
                }
                // The sender lives as long as `self`.
                opened.changed().await.ok();
            }
        };
        let late = || SessionError::NotFound { id: real_id(id).to_owned(), waited: timeout };
        waiting::at_most(timeout, wait).await.ok_or_else(late)
    }

    /// Tries sessions one after the other, `each` for at most that long, until `use_it` accepts one.
    ///
    /// # Errors
    ///
    /// The last error, if there was none that could be used.
    pub async fn any<T, E, F>(
        &self,
        ids: &[String],
        each: Duration,
        mut use_it: impl FnMut(Caller) -> F,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
        E: From<SessionError>,
    {
        let mut last =
            E::from(SessionError::NotFound { id: "any client".into(), waited: Duration::ZERO });
        for id in ids {
            let used = match self.get(id, each).await {
                Ok(caller) => use_it(caller).await,
                Err(error) => Err(error.into()),
            };
            match used {
                Ok(value) => return Ok(value),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The ids of all open sessions, sorted.
    pub fn ids(&self) -> Vec<String> {
        self.sessions().keys().cloned().collect()
    }

    fn sessions(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Session>>> {
        self.shared.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id without its prefix, which only keeps cache keys apart.
fn real_id(id: &str) -> &str {
    id.split_once(':').map(|(_, real)| real).filter(|real| !real.is_empty()).unwrap_or(id)
}

/// The incoming half of the tunnel; ends the session when it ends.
struct WatchEnd<S> {
    incoming: S,
    session: Arc<Session>,
}

impl<S: Stream<Item = Result<BytesMessage, Status>> + Unpin> Stream for WatchEnd<S> {
    type Item = S::Item;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let next = std::task::ready!(self.incoming.poll_next_unpin(cx));
        match &next {
            None => self.session.end("the client closed it"),
            Some(Err(status)) => {
                self.session.end(&format!("the connection failed: {}", status.message()));
            }
            Some(Ok(_)) => self.session.traffic.hear(),
        }
        std::task::Poll::Ready(next)
    }
}

impl<S> Drop for WatchEnd<S> {
    fn drop(&mut self) {
        self.session.end("the connection was closed");
    }
}
