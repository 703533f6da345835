//! The mockerfile language: images, packages and external files in YAML (or TOML, or JSON).
//!
//! [`Mockerfile`] is the frontend. It reads the file into a plan of which every word is understood,
//! asks what it must know of the base image, and lowers the plan to LLB. Checking and lowering are
//! pure; only the file `frontend.rs` waits. The path of a build through the modules is `file`,
//! `check`, `plan`, `actions`, `lower`, `place`.
//!
//! ```yaml
//! apiVersion: v1alpha1
//! images:
//! - name: demo
//!   from: ubuntu:22.04
//!   package:
//!     install: [ca-certificates, curl]
//!   external:
//!   - src: https://get.helm.sh/helm-v3.9.1-linux-amd64.tar.gz
//!     dst: /tmp/helm
//!     install: [install /tmp/helm/linux-amd64/helm /usr/local/bin/helm]
//!   steps: [helm version]
//! ```
//!
//! An image is made in this order: package sources and packages, the working directory, external
//! files with their `install` commands, `steps`, and at last `output`, which keeps its paths and
//! drops the rest. Commands of the build run as root. `from` with the name of an earlier image
//! starts from that image's result; `parent` goes on from what it was before its `output` was taken.
//!
//! Absent here: any package manager but Debian's, and any copying between images other than
//! starting from one.
//!
//! Archives are unpacked by the file op that copies them. Zip files are unpacked only by daemons that
//! know the filter which asks for it; others copy a `.zip` as it is.

mod actions;
mod check;
mod choices;
mod config;
mod file;
mod frontend;
mod lower;
mod paths;
mod place;
mod plan;
mod schema;

#[cfg(test)]
mod lowering;
#[cfg(test)]
mod mistakes;

pub use frontend::Mockerfile;
pub use schema::schema;
