//! One client's build, and what its operators may use.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kiln_graph::{Edge, Graph, Vertex};
use kiln_oci::Digest;
use kiln_progress::Sender;
use kiln_solver::{JobId, RequestId};
use tokio::sync::{mpsc, oneshot};

use crate::driver::Message;
use crate::{Output, SolveError};

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

    /// Their ids, at this moment.
    pub fn ids(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|(_, id)| id.clone())
            .collect()
    }

    pub(crate) fn add(&self, job: JobId, session: &str) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !session.is_empty() && !list.iter().any(|(_, id)| id == session) {
            list.push((job, session.to_owned()));
        }
    }

    pub(crate) fn remove(&self, job: JobId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(owner, _)| *owner != job);
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
}

/// One client's build. Dropping it cancels what only it wanted.
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
    /// The operation that failed, and why.
    ///
    /// # Cancellation
    ///
    /// Dropping the future leaves the work running until the job is dropped: others of the same
    /// build may want it.
    pub async fn solve(&self, graph: Arc<Graph>, edge: Edge) -> Result<Output<R>, SolveError> {
        let request = RequestId(self.requests.fetch_add(1, Ordering::Relaxed));
        let vertex = graph.vertex(&edge.vertex).cloned();
        let (answer, answered) = oneshot::channel();
        let message = Message::Wanted { job: self.id, request, graph, edge, answer };
        // The driver lives as long as the engine; without it, there is nobody to build.
        self.messages.send(message).ok();
        match (answered.await, vertex) {
            (Ok(result), _) => result,
            (Err(_), Some(vertex)) => Err(SolveError { vertex, error: stopped() }),
            (Err(_), None) => Err(SolveError { vertex: Arc::new(nothing()), error: stopped() }),
        }
    }
}

impl<R> Drop for Job<R> {
    fn drop(&mut self) {
        self.messages.send(Message::Closed(self.id)).ok();
    }
}

impl<R> std::fmt::Debug for Job<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("id", &self.id).finish_non_exhaustive()
    }
}

fn stopped() -> crate::OpError {
    crate::OpError::new(crate::ErrorKind::Cancelled, "the build was cancelled")
}

/// Stands in for a vertex in an error about a graph that does not have the wanted one.
fn nothing() -> Vertex {
    let digest = Digest::sha256("");
    Vertex {
        id: digest.clone(),
        digest,
        name: "unknown".into(),
        op: kiln_graph::Op::Merge(Vec::new()),
        inputs: Vec::new(),
        arrived: kiln_graph::Arrived { bytes: Default::default(), op: Default::default() },
        platform: kiln_oci::Platform::default(),
        constraints: kiln_graph::Constraints::default(),
        metadata: kiln_graph::Metadata::default(),
        locations: Vec::new(),
    }
}
