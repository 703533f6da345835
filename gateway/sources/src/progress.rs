//! Telling how far a part of a vertex is, not more often than people can see.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use kiln_progress::VertexStatus;

use crate::source::Context;

/// Between two messages about the same part.
const INTERVAL: Duration = Duration::from_millis(100);

/// One part of a vertex, such as a layer that is pulled. Ends when it is dropped.
pub(crate) struct Part {
    context: Context,
    id: String,
    action: &'static str,
    started: SystemTime,
    state: Mutex<State>,
}

struct State {
    current: u64,
    total: u64,
    told: Option<Instant>,
}

impl Part {
    /// Begins a part; `total` is 0 if it is not known.
    pub(crate) fn begin(context: &Context, id: impl Into<String>, total: u64) -> Self {
        Self::of(context, id.into(), "", total)
    }

    /// Begins to receive something of a size that is not known, under the name that clients add up.
    pub(crate) fn transfer(context: &Context, id: impl Into<String>) -> Self {
        Self::of(context, id.into(), "transferring", 0)
    }

    fn of(context: &Context, id: String, action: &'static str, total: u64) -> Self {
        let part = Self {
            context: context.clone(),
            id,
            action,
            started: SystemTime::now(),
            state: Mutex::new(State { current: 0, total, told: None }),
        };
        part.set(0);
        part
    }

    /// Says how much is done.
    pub(crate) fn set(&self, current: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.current = current;
        let now = Instant::now();
        if state.told.is_none_or(|told| now.duration_since(told) >= INTERVAL) {
            state.told = Some(now);
            self.tell(&state, None);
        }
    }

    /// Says how much more is done.
    pub(crate) fn add(&self, more: u64) {
        let current = self.state.lock().unwrap_or_else(PoisonError::into_inner).current;
        self.set(current.saturating_add(more));
    }

    fn tell(&self, state: &State, completed: Option<SystemTime>) {
        self.context.progress.status(VertexStatus {
            id: self.id.clone(),
            vertex: self.context.vertex.clone(),
            name: self.action.into(),
            current: state.current,
            total: state.total,
            timestamp: SystemTime::now(),
            started: Some(self.started),
            completed,
        });
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.tell(&state, Some(SystemTime::now()));
    }
}
