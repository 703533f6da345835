//! The channel that progress leaves by.
//!
//! Sending never waits and never fails: a build must not stand still because nobody watches. Memory
//! stays bounded by the reader, which the daemon guarantees to run as long as the build.

use std::time::SystemTime;

use bytes::Bytes;
use kiln_oci::Digest;
use tokio::sync::mpsc;

use crate::{Log, Progress, Stream, Vertex, VertexStatus};

/// The sending end; cheap to clone. A default one sends nowhere.
#[derive(Clone, Debug, Default)]
pub struct Sender(Option<mpsc::UnboundedSender<Progress>>);

/// The receiving end; ends when all senders are gone.
pub type Receiver = mpsc::UnboundedReceiver<Progress>;

/// Makes a channel.
pub fn channel() -> (Sender, Receiver) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Sender(Some(sender)), receiver)
}

impl Sender {
    /// Tells that something happened.
    pub fn send(&self, progress: Progress) {
        if let Some(sender) = &self.0 {
            // The reader may have gone; then nobody wants to know.
            sender.send(progress).ok();
        }
    }

    /// Tells about a vertex.
    pub fn vertex(&self, vertex: Vertex) {
        self.send(Progress::Vertex(vertex));
    }

    /// Passes on output of a process.
    pub fn log(&self, vertex: &Digest, stream: Stream, timestamp: SystemTime, data: Bytes) {
        self.send(Progress::Log(Log { vertex: vertex.clone(), timestamp, stream, data }));
    }

    /// Tells how far a part of a vertex is.
    pub fn status(&self, status: VertexStatus) {
        self.send(Progress::Status(status));
    }
}
