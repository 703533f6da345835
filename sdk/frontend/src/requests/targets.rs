//! `frontend.targets`: what the user's file has to build.

use bytes::Bytes;
use serde::Serialize;

use super::answer::{files, location, null_if_empty, result};
use super::table::table;
use crate::{BuildResult, Location, Ref};

/// All targets of a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TargetList {
    /// The targets, in the order of the file.
    #[serde(serialize_with = "null_if_empty")]
    pub targets: Vec<Target>,
    /// The files that the places are in.
    #[serde(serialize_with = "files")]
    pub sources: Vec<Bytes>,
}

kiln_llb::setters!(TargetList {
    with_targets(targets: Vec<Target>),
    with_sources(sources: Vec<Bytes>),
});

/// Something to build.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Target {
    /// Its name; empty if it has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Whether it is built if the user names none.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
    /// What it is for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What it is based on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub base: String,
    /// The platform it is for, if the file says.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub platform: String,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "location")]
    pub location: Option<Location>,
}

kiln_llb::setters!(Target {
    with_name(name: impl Into<String>),
    with_default(default: bool),
    with_description(description: impl Into<String>),
    with_base(base: impl Into<String>),
    with_platform(platform: impl Into<String>),
    with_location(location: impl Into<Option<Location>>),
});

impl TargetList {
    /// The answer.
    pub fn to_result(&self) -> BuildResult<Ref> {
        result(self, Some(self.to_text()), "1.0.0")
    }

    /// The answer for people.
    pub fn to_text(&self) -> String {
        let names: Vec<String> = self.targets.iter().map(Target::title).collect();
        let mut rows = vec![vec!["TARGET", "DESCRIPTION"]];
        let pairs = names.iter().zip(&self.targets);
        rows.extend(pairs.map(|(name, target)| vec![name.as_str(), target.description.as_str()]));
        table(&rows, 1)
    }
}

impl Target {
    fn title(&self) -> String {
        match (self.name.as_str(), self.default) {
            ("", true) => "(default)".to_owned(),
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        }
    }
}
