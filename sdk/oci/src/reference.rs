//! Image references (`docker.io/library/alpine:3.20@sha256:…`), normalised as Docker does.
//!
//! Text comes in, a checked [`Reference`] goes out; the grammar is that of the distribution
//! project's `reference` package.

use std::fmt;
use std::str::FromStr;

use crate::Digest;

/// A normalised image reference: registry host, repository, and a tag, a digest or both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not an image reference.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum ReferenceError {
    /// Characters or an order the grammar has no place for.
    #[error("invalid reference format: `{0}`")]
    Malformed(String),
    /// The repository has upper-case letters.
    #[error("invalid reference format: repository name `{0}` must be lowercase")]
    Upper(String),
    /// The repository is longer than 255 characters.
    #[error("repository name must not be more than 255 characters")]
    Long,
}

impl Reference {
    /// Parses a reference and leaves out the tag if there is none.
    ///
    /// # Errors
    ///
    /// [`ReferenceError`] if the text does not fit the grammar.
    pub fn parse_untagged(text: &str) -> Result<Self, ReferenceError> {
        let malformed = || ReferenceError::Malformed(text.chars().take(160).collect());
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(digest.parse::<Digest>().map_err(|_| malformed())?))
            }
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if let Some(tag) = tag {
            let first = tag.chars().next().ok_or_else(malformed)?;
            let fine = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
            if tag.len() > 128
                || !(first.is_ascii_alphanumeric() || first == '_')
                || !tag.chars().all(fine)
            {
                return Err(malformed());
            }
        }
        let (domain, path) = split_domain(name);
        if path.len() + domain.len() >= 255 {
            return Err(ReferenceError::Long);
        }
        if path.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(ReferenceError::Upper(path.chars().take(160).collect()));
        }
        if !valid_domain(&domain) || !path.split('/').all(valid_component) {
            return Err(malformed());
        }
        Ok(Self { domain, path, tag: tag.map(Into::into), digest })
    }

    /// The registry's host and port, such as `docker.io` or `127.0.0.1:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository without the host, such as `library/alpine`.
    pub fn repository(&self) -> &str {
        &self.path
    }

    /// The tag, if the reference has one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if the reference has one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// `domain/repository`, without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The reference as people write it: without `docker.io/` and `library/`.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let short = full.strip_prefix("docker.io/").unwrap_or(&full);
        short.strip_prefix("library/").unwrap_or(short).to_owned()
    }

    /// The same image by this digest; the tag stays.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    /// Parses and normalises: `alpine` becomes `docker.io/library/alpine:latest`.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let mut reference = Self::parse_untagged(text)?;
        if reference.tag.is_none() && reference.digest.is_none() {
            reference.tag = Some("latest".into());
        }
        Ok(reference)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Splits the host off, as Docker does: a first component is a host if it has a dot or a colon, is
/// `localhost`, or has upper-case letters.
fn split_domain(name: &str) -> (String, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.chars().any(|c| c.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => ("docker.io", name),
    };
    let domain = if domain == "index.docker.io" { "docker.io" } else { domain };
    if domain == "docker.io" && !path.contains('/') {
        return (domain.into(), format!("library/{path}"));
    }
    (domain.into(), path.into())
}

fn valid_domain(domain: &str) -> bool {
    if let Some(rest) = domain.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        return address.parse::<std::net::Ipv6Addr>().is_ok()
            && (port.is_empty() || port.strip_prefix(':').is_some_and(valid_port));
    }
    let (host, port) =
        domain.split_once(':').map_or((domain, None), |(host, port)| (host, Some(port)));
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    host.split('.').all(label) && port.is_none_or(valid_port)
}

fn valid_port(port: &str) -> bool {
    !port.is_empty() && port.chars().all(|c| c.is_ascii_digit())
}

/// Lower-case letters and digits, in between single `.`, `_`, `__` or any run of `-`.
fn valid_component(component: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separator = |s: &str| matches!(s, "." | "_" | "__") || s.chars().all(|c| c == '-');
    let (Some(first), Some(last)) = (component.chars().next(), component.chars().last()) else {
        return false;
    };
    alphanumeric(first)
        && alphanumeric(last)
        && component.chars().all(|c| alphanumeric(c) || "._-".contains(c))
        && component.split(alphanumeric).filter(|s| !s.is_empty()).all(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_completed() {
        for (text, want) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("user/app:1", "docker.io/user/app:1"),
            ("localhost/app", "localhost/app:latest"),
            ("127.0.0.1:5000/library/ubuntu:22.04", "127.0.0.1:5000/library/ubuntu:22.04"),
            ("index.docker.io/alpine", "docker.io/library/alpine:latest"),
            ("[::1]:5000/a", "[::1]:5000/a:latest"),
        ] {
            assert_eq!(text.parse::<Reference>().map(|r| r.to_string()), Ok(want.into()), "{text}");
        }
    }

    #[test]
    fn a_digest_keeps_the_tag_away() {
        let digest = Digest::sha256("x");
        let reference: Reference = format!("alpine@{digest}").parse().unwrap();
        assert_eq!(reference.tag(), None);
        assert_eq!(reference.digest(), Some(&digest));
        assert_eq!(reference.familiar(), format!("alpine@{digest}"));
    }

    #[test]
    fn malformed_references_are_refused() {
        for text in [
            "",
            ":tag",
            "a//b",
            "Alpine",
            "a:",
            "a b",
            "a@sha256:00",
            "-a/b",
            "a._b",
            "http://x/y",
            "[::1]é/a",
            "[::1]x5000/a",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
