//! Who has blobs that are not in the store, and for whom they are fetched.
//!
//! The traits are here, their implementations with those who know registries and clients. A ref
//! whose files are not here yet holds descriptors and such a [`BlobProvider`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use kiln_oci::{Descriptor, Digest};
use kiln_progress::{Sender, VertexStatus};

/// What went wrong far away.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Bytes of a blob, in order.
pub type ByteStream = BoxStream<'static, Result<Bytes, Cause>>;

/// Somebody who has blobs.
pub trait BlobProvider: Send + Sync {
    /// What people know it by, such as the name of an image; for messages.
    fn name(&self) -> String;

    /// Opens a blob from its beginning. Whoever reads it checks digest and size.
    ///
    /// Nothing is asked until the stream is read. Dropping the stream ends what it began.
    fn open(&self, blob: &Descriptor, requester: &Requester) -> ByteStream;
}

/// Finds those who have the blobs of a ref that was kept by an earlier build.
#[async_trait]
pub trait Providers: Send + Sync {
    /// Those who should have a blob, as far as they are known; the one to be asked first is the last.
    async fn find(&self, blob: &Descriptor) -> Vec<Arc<dyn BlobProvider>>;
}

/// For whom files are fetched: in whose name, and where it is shown.
#[derive(Clone, Debug)]
pub struct Requester {
    /// The sessions whose credentials and stores may be used. Without any, those of whoever named the
    /// place that has a blob are; an empty text is the session of nobody.
    pub sessions: Vec<String>,
    /// The step that waits.
    pub vertex: Digest,
    /// Who watches it.
    pub progress: Sender,
}

impl Requester {
    /// A step of builds with these sessions, or of builds without one.
    pub fn of(mut sessions: Vec<String>, vertex: &Digest, progress: &Sender) -> Self {
        if sessions.is_empty() {
            sessions.push(String::new());
        }
        Self { sessions, vertex: vertex.clone(), progress: progress.clone() }
    }

    /// One without a session, whom nobody watches.
    pub fn nobody() -> Self {
        Self { sessions: Vec::new(), vertex: Digest::sha256(""), progress: Sender::default() }
    }

    /// Shows that something of the step began; it ends with the value. `total` is 0 if there is
    /// nothing to count.
    pub(crate) fn begin(&self, id: impl Into<String>, total: u64) -> Part {
        let part = Part {
            requester: self.clone(),
            id: id.into(),
            total,
            started: SystemTime::now(),
            state: Mutex::new((0, Instant::now())),
        };
        part.tell(0, None);
        part
    }
}

/// Between two messages about the same part.
const INTERVAL: Duration = Duration::from_millis(100);

/// A part of a step that is shown while it is done.
pub(crate) struct Part {
    requester: Requester,
    id: String,
    total: u64,
    started: SystemTime,
    /// How much is done, and when that was said last.
    state: Mutex<(u64, Instant)>,
}

impl Part {
    /// Shows how much more is done.
    pub(crate) fn add(&self, more: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = state.0.saturating_add(more);
        if state.1.elapsed() >= INTERVAL {
            state.1 = Instant::now();
            self.tell(state.0, None);
        }
    }

    fn tell(&self, current: u64, completed: Option<SystemTime>) {
        self.requester.progress.status(VertexStatus {
            id: self.id.clone(),
            vertex: self.requester.vertex.clone(),
            name: String::new(),
            current,
            total: self.total,
            timestamp: SystemTime::now(),
            started: Some(self.started),
            completed,
        });
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let current = self.state.lock().unwrap_or_else(PoisonError::into_inner).0;
        self.tell(current, Some(SystemTime::now()));
    }
}
