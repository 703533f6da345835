//! Tests of build languages without a daemon, root or network.
//!
//! A frontend cannot tell the bridges of this crate from a daemon's. It is given files, image
//! configs and options that a test wrote down, and what it makes of them comes out as plain values:
//! a graph to read, to compare and to check.
//!
//! - [`Fixture`] says a build in code: files, images, options. [`snapshot()`] shows what a language
//!   makes of it, [`Fixture::build`] gives it as values.
//! - [`Case`] is the same on disk, in the format of recorded builds. [`assert_replay`] holds a
//!   language to an answer that was recorded, and [`compare()`] says what differs.
//! - [`text()`], [`svg()`], [`difference()`], [`lint()`] and [`simulate()`] show, compare, judge and
//!   predict a graph; [`determinism`] makes it more than once.
//! - [`conform()`] asks a frontend, or an [`Executable`] in any language, for what every frontend
//!   owes its users.
//!
//! ```
//! # use async_trait::async_trait;
//! # use kiln_frontend::{Bridge, BuildResult, Frontend, FrontendError, Ref};
//! # struct MyLanguage;
//! # #[async_trait]
//! # impl Frontend for MyLanguage {
//! #     async fn solve(&self, bridge: &dyn Bridge) -> Result<BuildResult<Ref>, FrontendError> {
//! #         let target = bridge.info().options.target().unwrap_or("nothing").to_owned();
//! #         Err(FrontendError::invalid(format!("target `{target}` does not exist")))
//! #     }
//! # }
//! use kiln_testing::{Fixture, insta, snapshot};
//!
//! let fixture = Fixture::new()
//!     .file("dockerfile", "build.yaml", "targets: [app]\n")
//!     .image("debian:12", kiln_oci::ImageConfig::default())
//!     .option("target", "ap");
//! insta::assert_snapshot!(snapshot(&MyLanguage, &fixture), @"error: target `ap` does not exist");
//! ```

mod case;
mod fixture;
mod wait;

mod executable;

pub mod conform;

mod record;

pub mod gateway_stream;

pub mod render;
mod replay;

mod compare;

mod steps;
pub mod text;

mod snapshot;

pub mod determinism;
pub mod difference;
pub mod lint;
pub mod simulate;
pub mod svg;

mod facts;
mod unanswerable;
mod words;

pub use case::{
    Base64, Case, CaseError, CaseGit, CaseHttp, CaseImage, CaseInput, CaseMetadata,
    DEFAULT_REQUESTS, ImageKind,
};
pub use compare::{Mismatch, compare};
pub use conform::{ConformOptions, Report, Samples, Verdict, conform};
pub use difference::{Change, Difference, StepName, difference};
pub use executable::Executable;
pub use fixture::{
    Asked, AskedResolve, AskedSolve, Built, BuiltPlatform, Fixture, FixtureBridge, Forward,
};
pub use lint::{Finding, LintOptions, Rule, Severity, lint};
pub use record::{Recorder, Recording, RecordingError, Replayed};
pub use replay::{assert_replay, replay, replay_blocking, replay_fixture};
pub use simulate::{
    Edit, Files, Outcome, Reason, Simulated, SimulatedStep, World, simulate, simulate_change,
};
pub use snapshot::snapshot;
pub use steps::{Place, Step, StepInput, Steps, StepsError};
pub use svg::svg;
pub use text::{Text, text};
pub use wait::block_on;

/// The snapshot tests that go with [`snapshot()`], so that a test needs no further dependency.
pub use insta;
