//! Records of builds, running and ended: what is remembered, for how long, and who hears of it.
//!
//! Records of builds that begin and end come in, with their progress, errors and results; events and
//! blobs go out, in BuildKit's formats. Deciding is apart from storing: [`Policy`] says which records
//! go, the question of a listener which ones it gets. Nothing here runs a build or speaks gRPC, and
//! nothing on the path of a build's answer waits for the disk.
//!
//! Start with [`History::open`], then [`History::begin`] → [`Running::finish`]; clients ask through
//! [`History::listen`].

mod history;
mod listener;
mod running;

mod policy;
mod question;

mod archive;
mod blobs;
mod index;
mod log;
mod records;
mod text;
mod trace;

mod error;
#[cfg(test)]
mod tests;

pub use blobs::BlobFile;
pub use error::{HistoryError, OpenError};
pub use history::History;
pub use kiln_provenance::without_credentials;
pub use log::LOG_MEDIA_TYPE;
pub use policy::Policy;
pub use running::{Document, Ended, Running};
pub use text::bounded;
pub use trace::{SentSpan, TraceParent, TraceParentError, daemon_resource, spans};
