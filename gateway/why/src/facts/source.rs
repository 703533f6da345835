//! Sources as facts: what they were resolved to, and the attributes that count.

use kiln_keys::source::filename;
use kiln_oci::Platform;
use kiln_pb::pb;

use crate::fact::{Fact, What};

/// What a source was resolved to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// An image.
    Image {
        /// What its name stood for: the digest of an index or a manifest.
        digest: String,
    },
    /// A file by URL.
    Download {
        /// Its digest.
        digest: String,
        /// Its name.
        filename: String,
        /// When the server says it was changed; empty if it does not.
        last_modified: String,
    },
    /// A git repository.
    Git {
        /// The full name of the reference.
        reference: String,
        /// The commit.
        commit: String,
        /// The object that the reference names, if that is a tag.
        object: String,
    },
}

pub(super) fn facts(
    source: &pb::SourceOp,
    platform: &Platform,
    found: Option<&Found>,
) -> Vec<Fact> {
    let (scheme, rest) = source.identifier.split_once("://").unwrap_or_default();
    let text = |key: &str| source.attrs.get(key).map_or("", String::as_str);
    match scheme {
        "docker-image" | "oci-layout" => image(rest, text, platform, found),
        "http" | "https" => download(&source.identifier, text, found),
        "git" => git(rest, text, found),
        "local" => {
            let lists = ["local.includepattern", "local.excludepatterns", "local.followpaths"];
            let lists = lists.into_iter().filter(|key| !text(key).is_empty());
            let name = Fact::named(What::Operation, "directory of the client", rest);
            let patterns = lists.map(|key| Fact::named(What::Patterns, key, text(key)));
            std::iter::once(name).chain(patterns).collect()
        }
        _ => {
            let attributes = source.attrs.iter().map(|(key, value)| format!("{key}={value}"));
            let attributes = attributes.collect::<Vec<_>>().join(" ");
            vec![
                Fact::named(What::Operation, "source", source.identifier.as_str()),
                Fact::named(What::Operation, "attributes", attributes),
            ]
        }
    }
}

/// An image counts by its digest, whatever it is called.
fn image<'a>(
    name: &str,
    text: impl Fn(&'static str) -> &'a str,
    platform: &Platform,
    found: Option<&Found>,
) -> Vec<Fact> {
    let (bare, named) = name.split_once('@').unwrap_or((name, ""));
    let digest = match found {
        Some(Found::Image { digest }) => digest.as_str(),
        _ => named,
    };
    let mut facts = vec![
        Fact::new(What::Image, digest).shown(format!("{bare}@{digest}")),
        Fact::new(What::Platform, platform.format_all()).shown(platform.format()),
    ];
    let limit = [text("image.layerlimit"), text("oci.layerlimit")].concat();
    if !limit.is_empty() {
        facts.push(Fact::named(What::Setting, "layer limit", limit));
    }
    facts
}

/// A file counts by its digest, its name and its attributes, whatever its address is.
fn download<'a>(
    url: &str,
    text: impl Fn(&'static str) -> &'a str,
    found: Option<&Found>,
) -> Vec<Fact> {
    let given = text("http.checksum");
    let (digest, name, modified) = match found {
        Some(Found::Download { digest, filename, last_modified }) => {
            (digest.as_str(), filename.clone(), last_modified.as_str())
        }
        _ => (given, filename(url, text("http.filename"), None), ""),
    };
    let shown = if digest.is_empty() { url.to_owned() } else { format!("{url} ({digest})") };
    let mut facts = vec![
        Fact::new(What::Download, digest).shown(shown),
        Fact::named(What::Setting, "file name", name),
    ];
    // Of a file whose digest the user gives, nobody asks the server.
    if given.is_empty() && !modified.is_empty() {
        facts.push(Fact::named(What::Time, "Last-Modified", modified));
    }
    let settings = [
        (What::Mode, "permissions", "http.perm"),
        (What::Owner, "user", "http.uid"),
        (What::Owner, "group", "http.gid"),
        (What::Secret, "Authorization", "http.authheadersecret"),
        (What::Setting, "Accept", "http.header.accept"),
        (What::Setting, "User-Agent", "http.header.user-agent"),
    ];
    let settings = settings.into_iter().filter(|(_, _, key)| !text(key).is_empty());
    facts.extend(settings.map(|(what, name, key)| Fact::named(what, name, text(key))));
    facts
}

/// A checkout counts by its commit, whatever repository it is of.
fn git<'a>(
    address: &str,
    text: impl Fn(&'static str) -> &'a str,
    found: Option<&Found>,
) -> Vec<Fact> {
    let (remote, fragment) = address.split_once('#').unwrap_or((address, ""));
    let (wanted, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
    let keeps_git = text("git.keepgitdir") == "true";
    let (commit, reference) = match found {
        Some(Found::Git { reference, commit, object }) => {
            let counts = if keeps_git && !object.is_empty() { object } else { commit };
            (counts.as_str(), reference.as_str())
        }
        _ => (wanted, wanted),
    };
    let shown = match reference {
        "" => format!("{remote} at {commit}"),
        reference => format!("{remote} {reference} at {commit}"),
    };
    let mut facts = vec![Fact::new(What::Commit, commit).shown(shown)];
    if keeps_git {
        facts.push(Fact::named(What::Setting, ".git of", reference));
    }
    let settings = [
        ("directory", subdir),
        ("submodules left out", text("git.skipsubmodules")),
        ("times of files", text("git.mtime")),
        ("bundle", text("git.checkoutbundle")),
    ];
    let settings = settings.into_iter().filter(|(_, value)| !matches!(*value, "" | "false"));
    facts.extend(settings.map(|(name, value)| Fact::named(What::Setting, name, value)));
    facts
}
