//! The handle of an engine: open jobs, wait until everything is saved.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kiln_cache::CacheStore;
use kiln_solver::JobId;
use tokio::sync::{mpsc, oneshot};

use crate::driver::{Driver, Message};
use crate::{Job, JobOptions, Operators};

/// How an engine works.
#[derive(Clone, Debug, Default)]
pub struct EngineOptions {
    /// Processes that run at the same time; `None` is no limit.
    pub max_parallelism: Option<usize>,
}

/// Performs builds. Cheap to clone; stops when the last clone and the last job are gone.
pub struct Engine<R> {
    messages: mpsc::UnboundedSender<Message<R>>,
    jobs: Arc<AtomicU64>,
    requests: Arc<AtomicU64>,
}

impl<R> Clone for Engine<R> {
    fn clone(&self) -> Self {
        Self {
            messages: self.messages.clone(),
            jobs: Arc::clone(&self.jobs),
            requests: Arc::clone(&self.requests),
        }
    }
}

impl<R> std::fmt::Debug for Engine<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl<R: Clone + Send + Sync + 'static> Engine<R> {
    /// Starts an engine on the current runtime. Results are looked up and saved in `cache`.
    pub fn start(
        operators: Arc<dyn Operators<R>>,
        cache: Arc<dyn CacheStore>,
        options: &EngineOptions,
    ) -> Self {
        let (messages, inbox) = mpsc::unbounded_channel();
        let driver = Driver::new(operators, cache, options, &messages);
        tokio::spawn(driver.run(inbox));
        Self { messages, jobs: Arc::new(AtomicU64::new(1)), requests: Arc::new(AtomicU64::new(1)) }
    }

    /// Opens a job.
    pub fn open(&self, options: JobOptions) -> Job<R> {
        let id = JobId(self.jobs.fetch_add(1, Ordering::Relaxed));
        self.messages.send(Message::Opened { job: id, options }).ok();
        Job { id, messages: self.messages.clone(), requests: Arc::clone(&self.requests) }
    }

    /// Waits until all results so far are saved.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        self.messages.send(Message::Flush(done)).ok();
        wait.await.ok();
    }
}
