//! The names that nearly every build language needs, for one `use`.
//!
//! With these alone a first language can be written: its file is read, images are described, mistakes
//! are shown, and [`serve::main`] makes a program of it. Types whose names mean something else in
//! another of the crates or in Rust's own prelude stay in their module, so that each name here means
//! one thing.

/// Makes `async fn` possible in the traits of the SDK, which are used as objects.
pub use async_trait::async_trait;
pub use kiln_document::{
    Diagnostic, Language, Limits, Severity, Source, Span, Spanned, parse, render_all,
};
pub use kiln_frontend::{
    Base, Bridge, BuildLanguage, BuildResult, Call, Contexts, Frontend, FrontendError, Options,
    Parsed, PlatformResult, Project, Ref, Settings, TargetPlatform, build_platforms, serve,
};
pub use kiln_llb::{
    Action, Constraints, CopyOptions, Definition, Exec, Http, Image, Local, Marshal, MarshalError,
    Mkdir, Mkfile, Mount, Owner, Rm, Secret, Sharing, State, Symlink, args,
};
pub use kiln_oci::{Digest, ImageConfig, Platform, Reference};
