//! The channel that progress leaves by.
//!
//! Sending never waits and never fails: a build must not stand still because nobody watches. Memory
//! stays bounded by the reader, which the daemon guarantees to run as long as the build.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use kiln_oci::Digest;
use tokio::sync::mpsc;

use crate::{Log, Progress, Stream, Vertex, VertexStatus};

/// The sending end; cheap to clone. A default one sends nowhere.
#[derive(Clone, Debug, Default)]
pub struct Sender(Target);

#[derive(Clone, Debug, Default)]
enum Target {
    #[default]
    Nowhere,
    Channel(mpsc::UnboundedSender<Progress>),
    Fan(FanOut),
}

/// The receiving end; ends when all senders are gone.
pub type Receiver = mpsc::UnboundedReceiver<Progress>;

/// Makes a channel.
pub fn channel() -> (Sender, Receiver) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Sender(Target::Channel(sender)), receiver)
}

/// Several senders behind one: a vertex that several builds share tells them all.
#[derive(Clone, Debug, Default)]
pub struct FanOut(Arc<Mutex<Fan>>);

#[derive(Debug, Default)]
struct Fan {
    senders: BTreeMap<u64, Sender>,
    /// The latest state of each vertex, for whoever joins late.
    vertices: BTreeMap<Digest, Vertex>,
}

impl FanOut {
    /// A sender that reaches everyone who is added now or later.
    pub fn sender(&self) -> Sender {
        Sender(Target::Fan(self.clone()))
    }

    /// Adds a listener and tells it the latest state. The same key replaces the old one silently.
    pub fn add(&self, key: u64, sender: Sender) {
        let mut fan = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !fan.senders.contains_key(&key) {
            for vertex in fan.vertices.values() {
                sender.vertex(vertex.clone());
            }
        }
        fan.senders.insert(key, sender);
    }

    /// Removes a listener.
    pub fn remove(&self, key: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).senders.remove(&key);
    }

    fn send(&self, progress: Progress) {
        let mut fan = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Progress::Vertex(vertex) = &progress {
            fan.vertices.insert(vertex.digest.clone(), vertex.clone());
        }
        for sender in fan.senders.values() {
            sender.send(progress.clone());
        }
    }
}

impl Sender {
    /// Tells that something happened.
    pub fn send(&self, progress: Progress) {
        match &self.0 {
            Target::Nowhere => {}
            // The reader may have gone; then nobody wants to know.
            Target::Channel(sender) => drop(sender.send(progress)),
            Target::Fan(fan) => fan.send(progress),
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
