//! The progress of one export: its vertex, and a status for each thing it does.
//!
//! Statuses that are dropped without [`Status::done`] stay open, as an export that failed leaves
//! them.

use std::time::SystemTime;

use kiln_oci::Digest;
use kiln_progress::{Sender, Vertex, VertexStatus};

/// The clock that progress and configs are dated with.
pub type Clock = fn() -> SystemTime;

/// The vertex of one export, as long as it runs. Dropped before its end, it tells that the export
/// was given up.
#[derive(Debug)]
pub(crate) struct Reporter {
    sender: Sender,
    vertex: Vertex,
    clock: Clock,
}

impl Reporter {
    /// Tells that the vertex started.
    pub(crate) fn start(sender: &Sender, digest: Digest, name: &str, clock: Clock) -> Self {
        let mut vertex = Vertex::new(digest, name);
        vertex.started = Some(clock());
        sender.vertex(vertex.clone());
        Self { sender: sender.clone(), vertex, clock }
    }

    /// Tells that the vertex ended.
    pub(crate) fn finish(mut self, error: Option<&dyn std::error::Error>) {
        self.complete(error.map(chain).unwrap_or_default());
    }

    fn complete(&mut self, error: String) {
        self.vertex.completed = Some((self.clock)());
        self.vertex.error = error;
        self.sender.vertex(self.vertex.clone());
    }

    /// The vertex.
    pub(crate) fn vertex(&self) -> Digest {
        self.vertex.digest.clone()
    }

    /// Begins something that is shown by this text.
    pub(crate) fn status(&self, id: impl Into<String>) -> Status {
        let now = (self.clock)();
        let status = VertexStatus {
            id: id.into(),
            vertex: self.vertex.digest.clone(),
            name: String::new(),
            current: 0,
            total: 0,
            timestamp: now,
            started: Some(now),
            completed: None,
        };
        self.sender.status(status.clone());
        Status { sender: self.sender.clone(), status, clock: self.clock }
    }

    /// Tells of something that took no time.
    pub(crate) fn note(&self, id: impl Into<String>) {
        self.status(id).done();
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        if self.vertex.completed.is_none() {
            self.complete("canceled".into());
        }
    }
}

/// Something an export does.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    sender: Sender,
    status: VertexStatus,
    clock: Clock,
}

impl Status {
    /// Tells how much is done.
    pub(crate) fn update(&mut self, current: u64) {
        self.status.current = current;
        self.status.timestamp = (self.clock)();
        self.sender.status(self.status.clone());
    }

    /// Tells that it is done.
    pub(crate) fn done(mut self) {
        let now = (self.clock)();
        self.status.timestamp = now;
        self.status.completed = Some(now);
        self.sender.status(self.status);
    }
}

/// An error with all that is beneath it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
