//! Sources as LLB names them.

use std::collections::BTreeMap;

/// A source: what it is called, and what else is said about it.
///
/// ```
/// use kiln_frontend::SourceIdentifier;
///
/// let image = SourceIdentifier::new("docker-image://docker.io/library/alpine:3.22");
/// let bundle = SourceIdentifier::new("git://example.com/tools.git#v1").attr("git.keepgitdir", "true");
/// assert_eq!(image.scheme(), "docker-image");
/// assert_eq!(bundle.attrs["git.keepgitdir"], "true");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct SourceIdentifier {
    /// Scheme and address, such as `docker-image://docker.io/library/alpine:3.22`.
    pub identifier: String,
    /// What else is said about it, under BuildKit's names, such as `http.checksum`.
    pub attrs: BTreeMap<String, String>,
}

impl SourceIdentifier {
    /// A source of which nothing else is said.
    pub fn new(identifier: impl Into<String>) -> Self {
        Self { identifier: identifier.into(), attrs: BTreeMap::new() }
    }

    /// With an attribute.
    #[must_use]
    pub fn attr(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attrs.insert(name.into(), value.into());
        self
    }

    /// With attributes.
    #[must_use]
    pub fn attrs(mut self, attrs: BTreeMap<String, String>) -> Self {
        self.attrs.extend(attrs);
        self
    }

    /// What comes before `://`; empty if nothing does.
    pub fn scheme(&self) -> &str {
        self.identifier.split_once("://").map_or("", |(scheme, _)| scheme)
    }
}
