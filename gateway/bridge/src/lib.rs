//! FrontendRegistry frontends: built in, plugin, image or client; the gateway service.
//!
//! A frontend asks a [`kiln_frontend::Bridge`]; [`BuildBridge`] is that for one build, wherever
//! the frontend runs. [`FrontendRegistry`] knows the frontends by name; [`service`] speaks the gateway protocol for
//! those that are not linked in. Refs that a frontend holds are names in a table here; they become
//! results only when somebody looks inside.

mod build_bridge;
mod caches;
mod constraints;
mod containers;
mod error;
mod frontend_image;
mod frontend_process;
mod frontend_registry;
mod jobs;
mod leftovers;
mod lending;
mod materials;
mod notice;
mod plugins;
mod policies;
mod producers;
mod provenance;
mod request_judge;
mod rules;
mod scan;
mod stack;
mod steps;
mod trace;

pub use build_bridge::{BuildBridge, BuildParts};
pub use constraints::fits_worker;
pub use error::{failed_status, op_status, solve_status};
pub use frontend_registry::{FrontendLookupError, FrontendRegistry, FrontendRegistryParts};
pub use jobs::{BuildJob, BuildJobs};
pub use kiln_frontend::service;
pub use notice::Notice;
pub use plugins::{PluginDirectory, PluginError, Plugins};
pub use policies::BuildPolicies;
pub use producers::Producers;
pub use provenance::Origin;
pub use rules::{FrontendRules, RuleError};
pub use scan::Scanner;
pub use steps::BuildSteps;
