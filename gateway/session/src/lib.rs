//! The daemon's end of the tunnel: sessions, callers and what a client offers.
//!
//! A client opens a session and serves its attachables inside it; [`SessionManager`] keeps the open
//! sessions by id, and a [`Caller`] is how the rest of the daemon uses one: local directories,
//! secrets, SSH agents, registry credentials, content stores, exports. Clients are not trusted: what
//! they send is bounded, and no call outlives its session.

mod call;
mod caller;
mod health;
mod hello;
mod manager;

mod content;
mod credentials;
mod exporters;
mod files;
mod header;
mod policy;
mod secret;
mod ssh;
mod upload;
mod waiting;

pub use call::{CallError, Ended};
pub use caller::Caller;
pub use content::{ContentInfo, ContentStore};
pub use credentials::{Credentials, Token, TokenRequest};
pub use files::{DirRequest, FileWriter, SendTarget};
pub use health::Health;
pub use hello::{Hello, HelloError};
pub use manager::{SessionError, SessionManager};
pub use secret::MAX_SECRET_BYTES;
