//! Directories of the client (`local://`).

use super::{SourceVertex, flag};
use crate::{Constraints, State, caps};

/// Options of [`State::local`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Local {
    /// The session that has the directory; any session of the build if empty.
    pub session_id: String,
    /// Transfer only what matches one of these.
    pub include_patterns: Vec<String>,
    /// Leave out what matches one of these.
    pub exclude_patterns: Vec<String>,
    /// Transfer these paths and what their symbolic links point at.
    pub follow_paths: Vec<String>,
    /// Transfers with the same hint start from each other's files.
    pub shared_key_hint: String,
    /// How changes since the last transfer are found.
    pub differ: Option<Differ>,
    /// Transfer names and attributes but no contents.
    pub metadata_only: Option<MetadataOnly>,
    /// What is said about the op.
    pub constraints: Constraints,
}

crate::setters!(Local {
    with_session_id(session_id: impl Into<String>),
    with_include_patterns(include_patterns: Vec<String>),
    with_exclude_patterns(exclude_patterns: Vec<String>),
    with_follow_paths(follow_paths: Vec<String>),
    with_shared_key_hint(shared_key_hint: impl Into<String>),
    with_differ(differ: impl Into<Option<Differ>>),
    with_metadata_only(metadata_only: impl Into<Option<MetadataOnly>>),
    with_constraints(constraints: Constraints),
});

/// How changes since the last transfer are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Differ {
    /// The way.
    pub kind: DifferKind,
    /// A daemon that does not know it must refuse.
    pub required: bool,
}

impl Differ {
    /// A way that a daemon may ignore.
    pub fn new(kind: DifferKind) -> Self {
        Self { kind, required: false }
    }
}

crate::setters!(Differ {
    with_required(required: bool),
});

/// Ways to find changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DifferKind {
    /// Take every file as changed.
    None,
    /// Compare names, sizes, times and modes.
    Metadata,
}

/// A transfer without contents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetadataOnly {
    /// Paths whose contents are transferred nevertheless.
    pub exceptions: Vec<String>,
}

crate::setters!(MetadataOnly {
    with_exceptions(exceptions: Vec<String>),
});

impl State {
    /// A directory of the client, by the name the client gave it, such as `context`.
    pub fn local(name: &str, local: Local) -> Self {
        let mut source = SourceVertex::new(caps::SOURCE_LOCAL);
        source.identifier = format!("local://{name}");
        source.set_capable("local.session", local.session_id, caps::SOURCE_LOCAL_SESSION_ID);
        let lists = [
            // The singular is BuildKit's.
            ("local.includepattern", &local.include_patterns, caps::SOURCE_LOCAL_INCLUDE_PATTERNS),
            ("local.excludepatterns", &local.exclude_patterns, caps::SOURCE_LOCAL_EXCLUDE_PATTERNS),
            ("local.followpaths", &local.follow_paths, caps::SOURCE_LOCAL_FOLLOW_PATHS),
        ];
        for (name, values, cap) in lists {
            source.set_list(name, values, cap);
        }
        let hint = local.shared_key_hint;
        source.set_capable("local.sharedkeyhint", hint, caps::SOURCE_LOCAL_SHARED_KEY_HINT);
        if let Some(differ) = local.differ {
            let kind = match differ.kind {
                DifferKind::None => "none",
                DifferKind::Metadata => "metadata",
            };
            source.set("local.differ", kind);
            if differ.required {
                source.caps.push(caps::SOURCE_LOCAL_DIFFER);
            }
        }
        if let Some(only) = local.metadata_only {
            let cap = caps::SOURCE_LOCAL_METADATA_TRANSFER;
            source.set_capable("local.metadatatransfer", flag(true), cap);
            source.set_list("local.metadatatransferexclude", &only.exceptions, cap);
        }
        source.state(local.constraints)
    }
}
