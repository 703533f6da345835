//! Directory trees over a stream: walking, filtering, sending and receiving, as BuildKit's clients do.
//!
//! One side [`send`](send::send)s a [`Root`] through a [`Filter`] as packets, the other
//! [`receive`](receive::receive)s them into a directory and asks only for what changed. The stream
//! itself is the caller's: any stream of packets comes in, and the packets of [`outgoing()`] go out. Every packet that
//! arrives is hostile until checked, and nothing outside the two directories is ever touched.

pub mod ignore_file;
pub mod mode;

pub mod filter;
pub mod listing;
pub mod outgoing;
pub mod receive;
pub mod send;
pub mod walk;

pub mod progress;

mod destination;
mod sys;

pub use filter::Filter;
pub use kiln_paths::{PatternError, Patterns, glob, path, pattern};
pub use listing::Listing;
pub use outgoing::{Outgoing, Packets, outgoing};
pub use progress::{OnProgress, Progress};
pub use receive::{Diff, Limits, Owner, ReceiveError, ReceiveOptions, ReceiveSummary, receive};
pub use send::{SendError, SendOptions, SendSummary, send};
pub use walk::{Root, WalkError, walk};
