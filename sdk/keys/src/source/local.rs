//! Keys of the client's directories, which mean something to one session only.

use kiln_oci::Digest;
use kiln_pb::gojson::{Object, list};

use super::SourceKey;

/// What the key of a client's directory is made of. A list that was not given is not an empty one.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalKey<'a> {
    /// Its name.
    pub name: &'a str,
    /// The session that has it.
    pub session: &'a str,
    /// Only what fits one of these.
    pub include: Option<&'a [String]>,
    /// Not what fits one of these.
    pub exclude: Option<&'a [String]>,
    /// Only these paths and what they point to.
    pub follow: Option<&'a [String]>,
    /// Only names and attributes travel.
    pub metadata_only: bool,
    /// Files that travel nevertheless.
    pub metadata_exceptions: &'a [String],
}

impl<'a> LocalKey<'a> {
    /// Splits a session attribute: `prefix:id` renames the directory to `prefix-name`.
    pub fn addressed(name: &str, session: &'a str) -> (String, &'a str) {
        match session.split_once(':') {
            Some((prefix, id)) => (format!("{prefix}-{name}"), id),
            None => (name.to_owned(), session),
        }
    }

    /// The key.
    pub fn key(&self) -> SourceKey {
        let mut json = String::new();
        let mut object = Object::open(&mut json);
        let or_null = |values: Option<&[String]>| values.map_or_else(|| "null".to_owned(), list);
        object.always_text("SessionID", self.session);
        object.always("IncludePatterns", or_null(self.include));
        object.always("ExcludePatterns", or_null(self.exclude));
        object.always("FollowPaths", or_null(self.follow));
        object.number("MetadataTransfer", self.metadata_only);
        object.texts("MetadataExceptions", self.metadata_exceptions);
        object.close();
        SourceKey::new(format!("session:{}:{}", self.name, Digest::sha256(json)))
    }
}
