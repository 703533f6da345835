//! A client of any daemon that speaks BuildKit's Control API, with its session and attachables.
//!
//! [`Client`] is a connection. [`Client::solve`] runs one build: it opens a [`Session`] in which the
//! daemon can call back for local files, secrets, agents and credentials, asks for the build and
//! passes on its progress. [`Client::build`] does the same with a frontend that runs in this process.
//! What the daemon asks for is bounded by what was attached; nothing else can be reached.
//!
//! What is asked of a daemon is in the types of the SDK. What it answers about itself, and its errors,
//! are the messages of the protocol as `kiln-wire` has them.

mod address;
mod build;
mod client;
mod id;
mod request;
mod solve;

pub mod attach;
mod session;

pub use address::{Address, AddressError};
pub use attach::{Auth, Content, DirTarget, ExportTarget, LocalDir, SecretSource, Uploads};
pub use client::{Client, ConnectError};
pub use id::new_id;
pub use request::{CacheEntry, Export, SolveOptions, What};
pub use session::{OpenSession, Session};
pub use solve::{SolveError, SolveResult};
