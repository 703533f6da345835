//! What happens to a build, as values: vertices, statuses, logs and warnings.
//!
//! Rooms that do something are handed the sending end of one channel of [`Progress`] values; the
//! status stream, the terminal and the history read the other end. The same types are used where
//! things happen and where they are watched; conversion to and from the wire is in [`wire`].

mod event;
mod part;
mod sender;
pub mod wire;

pub use event::{Log, Progress, Stream, Vertex, VertexStatus, Warning};
pub use part::Part;
pub use sender::{FanOut, Receiver, Sender, channel};
