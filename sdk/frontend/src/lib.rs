//! What a frontend is and all it may ask for; options, contexts and serving over standard streams.
//!
//! A frontend implements [`Frontend`]: it is given a [`Bridge`], reads the user's file through it,
//! lowers it to LLB, asks the bridge to solve that and returns a [`BuildResult`]. It cannot tell
//! whether it is linked into the daemon, a plugin or an image; [`serve::main`] is the one line that
//! makes an executable of it. Absent here: files, environment, network. All of it goes through the
//! bridge.

mod attestation;
mod bridge;
mod convert;
mod error;
mod frontend;
pub mod grpc;
pub mod guest;
mod image;
mod load;
mod options;
mod relay;
mod result;
pub mod serve;
pub mod service;

pub use attestation::{Attestation, AttestationKind, Subject, SubjectKind};
pub use bridge::{
    Bridge, BuildInfo, CacheImport, FileRange, GitFacts, HttpFacts, ImageConfigRequest, ImageFacts,
    Inputs, LayoutStore, Ref, ResolvedImage, Solve, SourceMeta, SourceRequest, Timestamp, Warning,
    Worker,
};
pub use error::FrontendError;
pub use frontend::{Frontend, run};
pub use image::{BaseImage, base_image};
pub use load::{DefinitionFile, load_definition_file};
pub use options::{NoCache, OptionError, Options};
pub use relay::lend;
pub use result::{BuildResult, PlatformEntry, PlatformResults, Refs, keys};
