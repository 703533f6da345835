//! `frontend.outline`: what the user may say to a build of one target.

use bytes::Bytes;
use serde::Serialize;

use super::answer::{files, location, result};
use super::table::table;
use crate::{BuildResult, Location, Ref};

/// What one target takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
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

kiln_llb::setters!(Outline {
    with_name(name: impl Into<String>),
    with_description(description: impl Into<String>),
    with_args(args: Vec<Arg>),
    with_secrets(secrets: Vec<Needed>),
    with_ssh(ssh: Vec<Needed>),
    with_cache(cache: Vec<CacheMount>),
    with_sources(sources: Vec<Bytes>),
});

/// A build argument.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
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
    pub location: Option<Location>,
}

kiln_llb::setters!(Arg {
    with_name(name: impl Into<String>),
    with_description(description: impl Into<String>),
    with_value(value: impl Into<String>),
    with_location(location: impl Into<Option<Location>>),
});

/// A secret or an agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Needed {
    /// Its name.
    pub name: String,
    /// Whether the build fails without it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "location")]
    pub location: Option<Location>,
}

kiln_llb::setters!(Needed {
    with_name(name: impl Into<String>),
    with_required(required: bool),
    with_location(location: impl Into<Option<Location>>),
});

/// A cache mount.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CacheMount {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "location")]
    pub location: Option<Location>,
}

kiln_llb::setters!(CacheMount {
    with_id(id: impl Into<String>),
    with_location(location: impl Into<Option<Location>>),
});

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
