//! Shows what happens to a build.
//!
//! Progress values come in from a channel; text for a terminal, a log file or a program goes out.
//! [`model`] knows the steps, [`plain`], [`screen`] and [`raw_json`] turn them into text and are pure;
//! [`watch()`] reads the channel, the clock and the size of the terminal. Nothing here ends a build.

mod amount;
mod colours;
mod display;
mod error_block;
mod intervals;
mod log;
mod log_lines;
mod mode;
mod model;
mod plain;
mod raw_json;
mod sanitize;
mod screen;
mod terminal;
#[cfg(test)]
mod tests;
mod watch;

pub(crate) use amount::{bytes, log_stamp};
pub(crate) use colours::{Palette, Tone};
pub(crate) use display::{Display, DisplayOptions};
pub(crate) use intervals::Intervals;
pub(crate) use log::Log;
pub(crate) use log_lines::{Line, LogLines};
pub(crate) use mode::{Mode, ModeError};
pub(crate) use raw_json::{encode as to_json_line, rfc3339_nano};
pub(crate) use sanitize::{coloured, name as one_line};
pub(crate) use watch::watch;
