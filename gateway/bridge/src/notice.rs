//! What a client is shown when its build goes on without something that was asked for.

use std::time::SystemTime;

use kiln_oci::Digest;
use kiln_progress::{Progress, Sender, Vertex, Warning};

/// A step in the progress of a build, with a warning: what is done without, and what to do instead.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Notice {
    /// The name of the step.
    pub step: String,
    /// What is done without, in one line.
    pub short: String,
    /// Why, and what to do instead.
    pub detail: String,
}

impl Notice {
    /// Shows it.
    pub fn show(&self, progress: &Sender) {
        let (vertex, now) = (Digest::sha256(&self.step), Some(SystemTime::now()));
        progress.vertex(Vertex {
            started: now,
            completed: now,
            ..Vertex::new(vertex.clone(), self.step.clone())
        });
        let warning = Warning::new(vertex, self.short.clone(), self.detail.clone());
        progress.send(Progress::Warning(warning));
    }
}
