//! Telling how far a part of a vertex is, not more often than people can see.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use kiln_oci::Digest;

use crate::{Sender, VertexStatus};

/// Between two messages about the same part.
const INTERVAL: Duration = Duration::from_millis(100);

/// A part of a vertex, such as a layer that is pulled, that is shown while it is done. Ends when it is
/// dropped.
#[derive(Debug)]
pub struct Part {
    sender: Sender,
    vertex: Digest,
    id: String,
    action: &'static str,
    total: u64,
    started: SystemTime,
    /// How much is done, and when that was said last.
    state: Mutex<(u64, Instant)>,
}

impl Part {
    /// Shows that a part began; `total` is 0 if it is not known.
    pub fn begin(sender: &Sender, vertex: &Digest, id: impl Into<String>, total: u64) -> Self {
        Self::of(sender, vertex, id.into(), "", total)
    }

    /// Shows that something of a size that is not known begins to come, under the name that clients add
    /// up.
    pub fn transfer(sender: &Sender, vertex: &Digest, id: impl Into<String>) -> Self {
        Self::of(sender, vertex, id.into(), "transferring", 0)
    }

    fn of(sender: &Sender, vertex: &Digest, id: String, action: &'static str, total: u64) -> Self {
        let part = Self {
            sender: sender.clone(),
            vertex: vertex.clone(),
            id,
            action,
            total,
            started: SystemTime::now(),
            state: Mutex::new((0, Instant::now())),
        };
        part.tell(0, None);
        part
    }

    /// Says how much is done.
    pub fn set(&self, current: u64) {
        self.change(|_| current);
    }

    /// Says how much more is done.
    pub fn add(&self, more: u64) {
        self.change(|current| current.saturating_add(more));
    }

    fn change(&self, change: impl FnOnce(u64) -> u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = change(state.0);
        if state.1.elapsed() >= INTERVAL {
            state.1 = Instant::now();
            self.tell(state.0, None);
        }
    }

    fn tell(&self, current: u64, completed: Option<SystemTime>) {
        self.sender.status(VertexStatus {
            id: self.id.clone(),
            vertex: self.vertex.clone(),
            name: self.action.into(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Progress, channel};

    #[test]
    fn a_part_is_shown_when_it_begins_and_when_it_ends_and_not_at_each_step() {
        let (sender, mut receiver) = channel();
        let part = Part::transfer(&sender, &Digest::sha256("v"), "a");
        part.add(1);
        part.set(5);
        part.add(2);
        drop(part);
        let mut shown = Vec::new();
        while let Ok(Progress::Status(status)) = receiver.try_recv() {
            assert_eq!((status.id.as_str(), status.name.as_str()), ("a", "transferring"));
            shown.push((status.current, status.completed.is_some()));
        }
        assert_eq!(shown.first(), Some(&(0, false)));
        assert_eq!(shown.last(), Some(&(7, true)));
    }
}
