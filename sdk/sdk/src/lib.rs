//! The façade of Kiln's SDK: what a new build language imports, and nothing else.
//!
//! A language reads its file with [`document`], describes images with [`llb`] and answers builds
//! through [`frontend`]; [`oci`] has the words they share. Nothing is defined here. Start with the
//! [`prelude`].
//!
//! ```
//! use kiln_sdk::prelude::*;
//!
//! let source = State::local("context", Local { session_id: "s".into(), ..Local::default() });
//! let image = State::scratch().file(Action::copy(&source, "/hello", "/hello", Copy::default()));
//! let definition = image.marshal(&Marshal::on(Platform::new("linux", "amd64")))?;
//! assert_eq!(definition.ops().count(), 3);
//! # Ok::<(), MarshalError>(())
//! ```

pub mod prelude;

pub use kiln_document as document;
pub use kiln_frontend as frontend;
pub use kiln_llb as llb;
pub use kiln_oci as oci;
