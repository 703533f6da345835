//! The history of an image: one line per instruction.

use super::gojson::Time;
use super::image::{History, Image};

/// Says which kind of frontend made a step.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// What an instruction leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// A change of the config only.
    Config,
    /// A layer.
    Layer,
    /// A layer, made by a step of the build.
    Step,
}

impl Image {
    /// Adds an instruction to the history.
    pub(crate) fn remember(&mut self, mut text: String, leaves: Leaves, time: Option<&Time>) {
        if leaves == Leaves::Step {
            text.push_str(" # buildkit");
        }
        self.history.push(History {
            created: time.cloned(),
            created_by: text,
            author: String::new(),
            comment: COMMENT.into(),
            empty_layer: leaves == Leaves::Config,
        });
    }
}
