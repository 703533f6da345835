//! The names that nearly every build language needs, for one `use`.
//!
//! Types whose names mean something else in another of the crates stay in their module, so that
//! each name here means one thing.

pub use kiln_document::{Diagnostic, Severity, Span, Spanned, render_all};
pub use kiln_frontend::{
    Base, Bridge, BuildLanguage, BuildResult, Call, Contexts, Frontend, FrontendError, Options,
    PlatformResult, Project, Ref, Settings, TargetPlatform, build_platforms,
};
pub use kiln_llb::{
    Action, Constraints, Copy, Definition, Exec, Http, Image, Local, Marshal, MarshalError, Mkdir,
    Mkfile, Mount, Owner, Rm, Secret, Sharing, State, Symlink, args,
};
pub use kiln_oci::{Digest, ImageConfig, Platform, Reference};
