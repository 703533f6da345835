//! Support for the tests of whole builds: programs, servers, fixtures.
//!
//! Tests name what they need (a registry, a base image, a project) and get it on a free port or in
//! a directory that goes away with it. Kiln is only ever run as its users run it: the binaries are
//! started as processes, no crate of the runtime is imported. Begin with [`Kiln`].

pub mod archive;
mod binaries;
mod cargo;
mod cloud;
mod command;
mod debian;
mod disk;
mod dockerd;
mod footprint;
mod foreign;
mod image;
mod kiln;
mod kilnd;
mod layout;
mod machine;
mod project;
mod registry;
mod steps;
mod terminal;
pub mod tree;
mod web;
mod workflow;

pub use binaries::{Binaries, binaries};
pub use cargo::without_cargo;
pub use cloud::{Azurite, S3};
pub use command::{Outcome, Running, run, start};
pub use debian::{Debian, debian_mirror_is_reachable};
pub use disk::{Disk, Sampled};
pub use dockerd::Dockerd;
pub use footprint::{Footprint, Watched};
pub use foreign::foreign_busybox;
pub use image::{Image, ImageConfig, sha256};
pub use kiln::{Build, Kiln};
pub use kilnd::Kilnd;
pub use layout::{ImageFile, OciImage};
pub use machine::{has_program, is_root, skip};
pub use project::Project;
pub use registry::Registry;
pub use steps::Step;
pub use terminal::Terminal;
pub use web::WebServer;
pub use workflow::WorkflowCache;
