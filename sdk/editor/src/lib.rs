//! What editors ask about build files, answered over the Language Server Protocol.
//!
//! A [`Language`] says what is wrong with a text, what a place in it means and what may stand there;
//! [`Described`] makes one of a JSON Schema and a function that reads, which is all that a language
//! on the SDK has to bring. [`Server`] is the protocol: a message in, messages out, nothing waited
//! for. [`serve`] moves bytes between it and two streams. Input is taken to be hostile: messages,
//! documents and their number are bounded.
//!
//! ```
//! use kiln_editor::{Described, Server, serve};
//!
//! let schema = serde_json::json!({"properties": {"from": {"description": "The base image."}}});
//! let language = Described::new("recipe", &["recipe.yaml"], schema);
//! let mut server = Server::new(vec![Box::new(language)]);
//! let message = "Content-Length: 33\r\n\r\n{\"jsonrpc\":\"2.0\",\"method\":\"exit\"}";
//! let mut answers = Vec::new();
//! serve(&mut server, &mut message.as_bytes(), &mut answers)?;
//! # assert!(answers.is_empty());
//! # Ok::<(), kiln_editor::ServeError>(())
//! ```
//!
//! Absent here: files, the environment, clocks. A document is what the editor says it is.

mod described;
mod language;
mod outline;
mod schema;
mod serve;
mod server;
mod utf16;

pub use described::Described;
pub use language::{Completion, CompletionKind, Hover, Language};
pub use serve::{MAX_MESSAGE_BYTES, ServeError, serve};
pub use server::{MAX_DOCUMENTS, Server};
pub use utf16::{Utf16Position, offset, position};
