//! The progress of one export or import: its vertex, and a status for each thing it does.

use std::time::SystemTime;

use kiln_oci::Digest;
use kiln_progress::{Progress, Sender, Vertex, VertexStatus, Warning};

/// A vertex, as long as something is done. Dropped before its end, it says that it was given up.
#[derive(Debug)]
pub(crate) struct Reporter {
    sender: Sender,
    vertex: Vertex,
}

impl Reporter {
    /// Says that it started.
    pub(crate) fn start(sender: &Sender, id: &str, name: &str) -> Self {
        let mut vertex = Vertex::new(Digest::sha256(id), name);
        vertex.started = Some(SystemTime::now());
        sender.vertex(vertex.clone());
        Self { sender: sender.clone(), vertex }
    }

    /// Says that it ended.
    pub(crate) fn finish(mut self, error: Option<&str>) {
        self.complete(error.unwrap_or_default().to_owned());
    }

    /// Begins something that is shown by this text.
    pub(crate) fn status(&self, id: impl Into<String>) -> Status {
        let now = SystemTime::now();
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
        Status { sender: self.sender.clone(), status }
    }

    /// Shows what is done without.
    pub(crate) fn warn(&self, short: String, detail: String) {
        let warning = Warning::new(self.vertex.digest.clone(), short, detail);
        self.sender.send(Progress::Warning(warning));
    }

    fn complete(&mut self, error: String) {
        self.vertex.completed = Some(SystemTime::now());
        self.vertex.error = error;
        self.sender.vertex(self.vertex.clone());
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        if self.vertex.completed.is_none() {
            self.complete("canceled".into());
        }
    }
}

/// Something that is done.
#[derive(Debug)]
pub(crate) struct Status {
    sender: Sender,
    status: VertexStatus,
}

impl Status {
    /// Says that it is done.
    pub(crate) fn done(mut self) {
        let now = SystemTime::now();
        self.status.timestamp = now;
        self.status.completed = Some(now);
        self.sender.status(self.status);
    }
}

/// An error with all that is beneath it, on one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
