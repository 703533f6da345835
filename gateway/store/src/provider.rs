//! Who has blobs that are not in the store, and for whom they are fetched.
//!
//! The traits are here, their implementations with those who know registries and clients. A ref
//! whose files are not here yet holds descriptors and such a [`BlobProvider`].

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use kiln_oci::{Descriptor, Digest};
use kiln_progress::{Part, Progress, Sender, Warning};

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

    /// Whether it is to be asked no more for a blob that it has not given for this reason, because what
    /// is in it can be made anew: the layer counts as lost then, which is a miss. Otherwise the next who
    /// needs it tries again.
    fn has_lost(&self, _error: &(dyn std::error::Error + 'static)) -> bool {
        false
    }
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
        Part::begin(&self.progress, &self.vertex, id, total)
    }

    /// Shows what is done without, and what happens instead.
    pub fn warn(&self, short: impl Into<String>, instead: impl Into<String>) {
        let warning = Warning::new(self.vertex.clone(), short, instead);
        self.progress.send(Progress::Warning(warning));
    }
}
