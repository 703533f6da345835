//! Sources in words.
//!
//! Attributes that name the session of one build are left out: they change from build to build and
//! say nothing about what is made.

use kiln_wire::pb;

use super::Facts;
use crate::words::{inline, word};

/// Attributes of one build only.
const PASSING: &[&str] = &["local.session", "local.unique", "oci.session"];

/// How attributes are called, where their own name needs help.
const NAMES: &[(&str, &str)] = &[
    ("image.recordtype", "record type"),
    ("image.resolvemode", "resolve"),
    ("image.layerlimit", "layers"),
    ("image.checksum", "checksum"),
    ("oci.layerlimit", "layers"),
    ("oci.store", "store"),
    ("git.fullurl", "url"),
    ("git.keepgitdir", "keep .git"),
    ("git.skipsubmodules", "skip submodules"),
    ("git.checksum", "checksum"),
    ("git.authtokensecret", "token secret"),
    ("git.authheadersecret", "header secret"),
    ("git.knownsshhosts", "known ssh hosts"),
    ("git.mountsshsock", "ssh agent"),
    ("http.checksum", "checksum"),
    ("http.filename", "filename"),
    ("http.perm", "mode"),
    ("http.uid", "uid"),
    ("http.gid", "gid"),
    ("http.authheadersecret", "header secret"),
    ("local.includepattern", "include"),
    ("local.excludepatterns", "exclude"),
    ("local.followpaths", "follow"),
    ("local.sharedkeyhint", "shared key"),
    ("local.differ", "differ"),
    ("local.metadatatransfer", "metadata only"),
    ("local.metadatatransferexclude", "with content"),
];

/// The kind of a source, and what is left of its identifier.
pub(crate) fn kind(identifier: &str) -> (&'static str, &str) {
    match identifier.split_once("://") {
        Some(("docker-image", rest)) => ("image", rest),
        Some(("docker-image+blob", rest)) => ("image blob", rest),
        Some(("oci-layout", rest)) => ("oci-layout", rest),
        Some(("oci-layout+blob", rest)) => ("oci-layout blob", rest),
        Some(("git", rest)) => ("git", rest),
        Some(("local", rest)) => ("local", rest),
        Some(("http" | "https", _)) => ("http", identifier),
        _ => ("source", identifier),
    }
}

pub(super) fn name(op: &pb::SourceOp) -> String {
    let (kind, rest) = kind(&op.identifier);
    crate::words::shortened(&format!("{kind} {}", inline(rest)))
}

pub(super) fn facts(op: &pb::SourceOp) -> Facts {
    let (kind, rest) = kind(&op.identifier);
    let mut facts = Facts::new(kind);
    facts.title("source", " ", word(rest));
    for (name, value) in &op.attrs {
        if PASSING.contains(&name.as_str()) {
            continue;
        }
        let known = NAMES.iter().find(|(attr, _)| attr == name);
        for value in values(value) {
            match known {
                Some((_, key)) => facts.add(key, word(&value)),
                None => facts.add("with", format!("{}={}", word(name), word(&value))),
            }
        }
    }
    facts
}

/// The elements of a JSON list of strings, or the value itself.
pub(crate) fn values(value: &str) -> Vec<String> {
    let list = value.starts_with('[').then(|| serde_json::from_str(value).ok());
    list.flatten().unwrap_or_else(|| vec![value.to_owned()])
}
