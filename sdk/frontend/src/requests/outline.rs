//! `frontend.outline`: what the user may say to a build of one target.

use bytes::Bytes;
use kiln_wire::pb;
use serde::Serialize;

use super::answer::{files, location, result};
use super::table::table;
use crate::{BuildResult, Ref};

/// What one target takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Outline {
    /// The target; empty if it has no name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What it is for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Build arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Arg>,
    /// Secrets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Needed>,
    /// SSH agents.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh: Vec<Needed>,
    /// Cache mounts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cache: Vec<CacheMount>,
    /// The files that the places are in.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "files")]
    pub sources: Vec<Bytes>,
}

/// A build argument.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Arg {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its value, if the user says nothing or as the user said.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "location")]
    pub location: Option<pb::Location>,
}

/// A secret or an agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Needed {
    /// Its name.
    pub name: String,
    /// Whether the build fails without it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "location")]
    pub location: Option<pb::Location>,
}

/// A cache mount.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CacheMount {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "location")]
    pub location: Option<pb::Location>,
}

impl Outline {
    /// The answer.
    pub fn to_result(&self) -> BuildResult<Ref> {
        result(self, Some(self.to_text()), "1.0.0")
    }

    /// The answer for people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut add = |rows: Vec<Vec<&str>>, gap: usize| {
            text.push_str(&table(&rows, gap));
            text.push('\n');
        };
        if !self.name.is_empty() || !self.description.is_empty() {
            let name = if self.name.is_empty() { "(default)" } else { &self.name };
            let mut rows = vec![vec!["TARGET:", name]];
            if !self.description.is_empty() {
                rows.push(vec!["DESCRIPTION:", &self.description]);
            }
            add(rows, 1);
        }
        if !self.args.is_empty() {
            let mut rows = vec![vec!["BUILD ARG", "VALUE", "DESCRIPTION"]];
            rows.extend(self.args.iter().map(|a| vec![&*a.name, &*a.value, &*a.description]));
            add(rows, 3);
        }
        for (title, list) in [("SECRET", &self.secrets), ("SSH", &self.ssh)] {
            if !list.is_empty() {
                let mut rows = vec![vec![title, "REQUIRED"]];
                let required = |one: &Needed| if one.required { "true" } else { "" };
                rows.extend(list.iter().map(|one| vec![&*one.name, required(one)]));
                add(rows, 3);
            }
        }
        text
    }
}
