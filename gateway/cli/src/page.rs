//! A build as one page of HTML: what was asked for, what happened and when, what came of it.
//!
//! A [`Report`] comes in, text goes out. The page needs no network and no other file, and may not load
//! any: its own policy forbids it. Everything that a build can say (names, output, options, files) is
//! escaped where it enters the page, by type: only [`html::Html`] writes markup, and it takes markup
//! from this program alone. Nothing here reads a file, a clock or a connection; `commands::history`
//! and `commands::build` gather the report.

mod document;
mod graph;
mod html;
mod outputs;
mod path;
mod provenance;
mod report;
mod sgr;
mod step_log;
mod steps;
mod text;
mod timeline;

#[cfg(test)]
mod tests;

pub(crate) use document::document;
pub(crate) use outputs::{ImageManifest, Output};
pub(crate) use provenance::Provenance;
pub(crate) use report::{Failure, Report};
pub(crate) use steps::Steps;
