//! State to Definition: a builder for LLB and its canonical encoder.
//!
//! A [`State`] is an immutable description of a file system to come. Options come in as plain
//! structs, new states come out, and [`State::marshal`] turns one into a [`Definition`], byte for
//! byte what BuildKit's own client would send. Nothing here waits, reads a clock, the environment
//! or a file, or draws a random number: the same calls give the same bytes. Start with [`State`].

mod setters;

mod state;

mod source;

mod exec;
mod mount;

mod file;
mod file_mode;
mod owner;

mod compose;
mod fallback;

mod constraints;
mod values;

mod deferred;

mod marshal;
mod source_maps;
mod vertex;

mod definition;
mod embedded;

#[cfg(not(feature = "pb"))]
#[expect(unreachable_pub, reason = "public with the feature `pb`")]
mod encode;
#[cfg(feature = "pb")]
pub mod encode;

mod dot;
mod json;

#[cfg(feature = "pb")]
mod messages;
#[doc(hidden)]
pub mod wire;

pub mod caps;
mod path;
mod words;

pub use caps::CapSet;
pub use compose::{Passthrough, PassthroughInput};
pub use constraints::{
    CUSTOM_NAME, Constraints, LinuxResources, ProgressGroup, SourceFile, SourceLocation, SourceMap,
    SourcePosition, SourceRange,
};
pub use deferred::{BoxError, Deferral, ImageRequest, MetaResolver, ResolvedImage};
pub use definition::Definition;
pub use embedded::DefinitionError;
pub use exec::{Exec, Run};
pub use file::{
    Action, CopyFrom, CopyMode, CopyOptions, FileActions, Mkdir, Mkfile, Nanos, Rm, Symlink,
    UNPACK_ZIP,
};
pub use file_mode::{FileMode, FileModeError};
pub use marshal::{Marshal, MarshalError};
pub use mount::{ContentCache, Device, Mount, MountKind, Proxy, Secret, Sharing, Ssh};
pub use owner::{Owner, OwnerId};
pub use source::{
    Blob, Differ, DifferKind, Git, GitBundle, GitSignature, Http, HttpHeader, HttpSignature, Image,
    ImageMeta, Local, MetadataOnly, OciLayout, OciStore, ResolveMode, SourceError,
};
pub use state::State;
pub use values::{NetMode, SecurityMode, Ulimit, Values};
pub use words::{WordsError, words};
