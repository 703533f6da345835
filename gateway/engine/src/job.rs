//! One client's build, and what its operators may use.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_cache::CacheSource;
use kiln_graph::{Edge, Graph};
use kiln_oci::Digest;
use kiln_progress::Sender;
use kiln_solver::{JobId, RequestId, Step};
use tokio::sync::{mpsc, oneshot};

use crate::driver::Message;
use crate::{Account, ErrorKind, OpError, Output, SolveError};

/// The sessions that may serve a vertex: those of all builds that have it, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Sessions(Arc<Mutex<Vec<(JobId, String)>>>);

impl Sessions {
    /// Sessions of one build.
    pub fn of(session: &str) -> Self {
        let sessions = Self::default();
        sessions.add(JobId(0), session);
        sessions
    }

    /// Their ids, at this moment, each once.
    pub fn ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        for (_, id) in self.list().iter() {
            if !ids.contains(id) {
                ids.push(id.clone());
            }
        }
        ids
    }

    pub(crate) fn add(&self, job: JobId, session: &str) {
        if !session.is_empty() {
            self.list().push((job, session.to_owned()));
        }
    }

    pub(crate) fn remove(&self, job: JobId) {
        self.list().retain(|(owner, _)| *owner != job);
    }

    fn list(&self) -> MutexGuard<'_, Vec<(JobId, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an operator may use.
#[derive(Clone, Debug)]
pub struct JobContext {
    /// The vertex, as those who watch know it.
    pub vertex: Digest,
    /// Where progress goes.
    pub progress: Sender,
    /// Who can be asked for files, secrets and credentials.
    pub sessions: Sessions,
    /// The version of BuildKit's behaviour that those want who wait for the vertex; `None` if they do
    /// not want the same. See [`JobOptions::compatibility`].
    pub compatibility: Option<i64>,
}

/// What a job is opened with.
#[derive(Clone, Default)]
pub struct JobOptions {
    /// The client's session; empty if there is none.
    pub session: String,
    /// Where progress goes.
    pub progress: Sender,
    /// Caches that are asked for the vertices of this job, besides the engine's own.
    pub caches: Vec<Arc<dyn CacheSource>>,
    /// The version of BuildKit's behaviour that its results are to have, by BuildKit's own numbers;
    /// 0 stands for the newest.
    pub compatibility: i64,
}

impl JobOptions {
    /// A job of a session, without caches of its own.
    pub fn new(session: &str, progress: Sender) -> Self {
        Self { session: session.to_owned(), progress, ..Self::default() }
    }
}

impl std::fmt::Debug for JobOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobOptions").field("session", &self.session).finish_non_exhaustive()
    }
}

/// One client's build. Dropping it cancels what only it asked for.
pub struct Job<R> {
    pub(crate) id: JobId,
    pub(crate) messages: mpsc::UnboundedSender<Message<R>>,
    pub(crate) requests: Arc<AtomicU64>,
}

impl<R> Job<R> {
    /// Waits for a result.
    ///
    /// # Errors
    ///
    /// The operation that failed, and why. A job that asks again for what has failed gets the same
    /// answer; a new job tries again.
    ///
    /// # Cancellation
    ///
    /// Dropping the future leaves the work running until the job is dropped: others of the same
    /// build may need it.
    pub async fn solve(&self, graph: Arc<Graph>, edge: Edge) -> Result<Output<R>, SolveError<R>> {
        let Some(vertex) = graph.vertex(&edge.vertex).cloned() else {
            let message = "the graph does not have the vertex that it is asked for";
            return Err(SolveError::new(None, OpError::new(ErrorKind::Invalid, message)));
        };
        let request = RequestId(self.requests.fetch_add(1, Ordering::Relaxed));
        let (answer, answered) = oneshot::channel();
        let message = Message::Requested { job: self.id, request, graph, edge, answer };
        // The driver lives as long as the engine; without it, there is none to answer.
        self.messages.send(message).ok();
        answered.await.unwrap_or_else(|_| {
            let error = OpError::new(ErrorKind::Cancelled, "the build was cancelled");
            Err(SolveError::new(Some(vertex), error))
        })
    }
}

impl<R> Job<R> {
    /// Lets a cache be asked for the vertices of this job, from the next look-up on.
    pub fn add_cache(&self, cache: Arc<dyn CacheSource>) {
        self.messages.send(Message::AddCache { job: self.id, cache }).ok();
    }

    /// Ends the job: what only it asked for is cancelled, whoever still waits for it. It knows nothing
    /// from then on.
    pub fn close(&self) {
        self.messages.send(Message::Closed(self.id)).ok();
    }

    /// Everything that this job has, inputs before what reads them: how it is keyed, and what became of
    /// it. Nothing, if nothing ran but what is asked for every time: the directories of the client.
    ///
    /// It is taken when this is called, whatever becomes of the job until it is awaited.
    pub fn account(&self) -> impl Future<Output = Vec<Account<R>>> + Send + 'static
    where
        R: Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.messages.send(Message::Account { job: self.id, answer }).ok();
        async move { answered.await.unwrap_or_default() }
    }

    /// The way to a result that this job has solved, as the engine's cache knows it: where an export of
    /// the cache begins. Results that are being saved are not waited for; see
    /// [`Engine::flush`](crate::Engine::flush).
    pub async fn trail(&self, edge: Edge) -> Vec<Step> {
        let (answer, answered) = oneshot::channel();
        self.messages.send(Message::Trail { edge, answer }).ok();
        answered.await.unwrap_or_default()
    }
}

impl<R> Drop for Job<R> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<R> std::fmt::Debug for Job<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("id", &self.id).finish_non_exhaustive()
    }
}
