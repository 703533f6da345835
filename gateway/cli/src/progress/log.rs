//! The progress of a build that is read again: messages come in, lines go out.

use std::time::SystemTime;

use kiln_progress::wire::{from_response, system_time};
use kiln_wire::proto::control::{BuildHistoryRecord, StatusResponse};

use super::plain::Plain;
use super::sanitize::Colour;

/// The progress of one build, as plain lines.
pub(crate) struct Log {
    plain: Plain,
    /// When the build ended, or now.
    now: SystemTime,
}

impl Log {
    /// The progress of a build.
    pub(crate) fn of(record: &BuildHistoryRecord) -> Self {
        let now = SystemTime::now();
        let began = record.created_at.map_or(now, system_time);
        let ended = record.completed_at.map_or(now, system_time);
        Self { plain: Plain::new(began, Colour::Drop), now: ended }
    }

    /// What one message says.
    pub(crate) fn message(&mut self, message: StatusResponse) -> String {
        for progress in from_response(message) {
            self.plain.apply(progress, self.now);
        }
        self.plain.print(self.now)
    }

    /// What is left at the end.
    pub(crate) fn end(mut self) -> String {
        self.plain.finish(self.now)
    }
}
