//! Tests of build languages without a daemon, root or network.
//!
//! A frontend cannot tell the bridges of this crate from a daemon's. It is given files, image
//! configs and options that a test wrote down, and what it makes of them comes out as plain values:
//! a graph to read, to compare and to check.

mod case;
mod fixture;
mod wait;

mod executable;

pub mod conform;

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
mod words;

pub use case::{
    Base64, Case, CaseError, CaseGit, CaseHttp, CaseImage, CaseInput, CaseMetadata,
    DEFAULT_REQUESTS, ImageKind,
};
pub use compare::{Mismatch, compare};
pub use conform::{Report, Samples, Terms, Verdict, conform};
pub use difference::{Change, Difference, StepName, difference};
pub use executable::Executable;
pub use fixture::{
    Asked, AskedResolve, AskedSolve, Built, BuiltPlatform, Fixture, FixtureBridge, Forward,
};
pub use lint::{Finding, LintOptions, Rule, Severity, lint};
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
