//! What a frontend is and all it may ask for; options, contexts and serving over standard streams.
//!
//! A frontend implements [`Frontend`]: it is given a [`Bridge`], reads the user's file through it,
//! lowers it to LLB, asks the bridge to solve that and returns a [`BuildResult`]. Most languages
//! implement [`BuildLanguage`] instead and get all of that but the lowering. A frontend cannot tell
//! whether it is linked into the daemon, a plugin or an image; [`serve::main`] is the one line that
//! makes an executable of it. Absent here: files, environment, network. All of it goes through the
//! bridge.

#![cfg_attr(not(feature = "pb"), expect(unreachable_pub, reason = "public with the feature `pb`"))]

mod attestation;
mod base;
mod bridge;
mod code;
mod compose;
mod config_error;
mod container_request;
#[cfg(feature = "daemon")]
mod container_table;
pub mod containers;
mod contexts;
mod convert;
#[cfg(feature = "pb")]
mod convert_daemon;
mod error;
#[cfg(feature = "daemon")]
mod exec_stream;
mod file_stat;
mod forwarding;
mod frontend;
#[cfg(not(feature = "pb"))]
mod grpc;
#[cfg(feature = "pb")]
pub mod grpc;
mod grpc_containers;
mod image;
mod json_error;
mod language;
mod options;
mod parsed;
mod platforms;
#[cfg(feature = "daemon")]
pub mod process;
#[cfg(not(feature = "pb"))]
mod protobuf_json;
#[cfg(feature = "pb")]
pub mod protobuf_json;
pub mod requests;
mod result;
pub mod serve;
#[cfg(feature = "daemon")]
pub mod service;
mod source_identifier;
mod source_info;
mod source_policy;

pub use attestation::{Attestation, AttestationKind, Subject, SubjectKind};
pub use base::{Base, base};
pub use bridge::{
    AttestationChain, Bridge, BuildInfo, CacheImport, ChecksumAlgorithm, ChecksumAnswer,
    ChecksumQuestion, FileRange, GitFacts, HttpFacts, ImageConfigRequest, ImageFacts, Inputs,
    LayoutStore, MAX_SUFFIX, Ref, ResolvedImage, Solve, SourceMeta, SourceRequest, Timestamp,
    Warning, Worker,
};
pub use code::Code;
pub use compose::{Call, CallResult, forward, state_of};
pub use config_error::image_config_error;
pub use contexts::{
    Age, Contexts, DefinitionFile, FollowPaths, GitRef, GitRefError, IgnoreFile, LoadedContext,
    MainContext, NamedContext, NamedRequest, QueryError,
};
pub use error::{ALSO, FrontendError};
pub use file_stat::FileStat;
pub use forwarding::lend;
pub use frontend::{Frontend, run};
pub use image::{BaseImage, base_image};
pub use json_error::{JsonType, json_error};
pub use kiln_llb::FileMode;
pub use kiln_oci::quoted;
/// The messages that errors, warnings and graphs are made of.
#[cfg(feature = "pb")]
pub use kiln_wire::pb;
pub use language::{BuildLanguage, LANGUAGE_CAPS, Project};
pub use options::{
    AttestError, Attests, CpuSetError, FieldsError, HostsError, NoCache, NumberError, OptionError,
    Options, ResourceError, SbomScanner, Settings, SettingsError, SizeError, UlimitError, attests,
    boolean, check_cpu_set, fields, size_bytes, ulimit,
};
pub use parsed::Parsed;
pub use platforms::{MadeGraph, PlatformResult, TargetPlatform, build_platforms};
pub use result::{BuildResult, PlatformEntry, PlatformResults, Refs, keys};
pub use source_identifier::SourceIdentifier;
pub use source_info::{Location, SourceInfo};
pub use source_policy::SourcePolicy;
