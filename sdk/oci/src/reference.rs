//! Image references (`docker.io/library/alpine:3.20@sha256:…`), normalised as Docker does.
//!
//! Text comes in, a checked [`Reference`] goes out; the grammar is that of the distribution
//! project's `reference` package.

use std::fmt;
use std::str::FromStr;

use crate::{Digest, DigestError, excerpt};

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
#[non_exhaustive]
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
    /// The name is 64 hexadecimal digits, so that it could be taken for an image's id.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    Identifier(String),
    /// The digest is not of an algorithm anybody uses here.
    #[error("unsupported digest algorithm in `{0}`")]
    DigestAlgorithm(String),
    /// The digest is not as long as its algorithm says.
    #[error("invalid checksum digest length in `{0}`")]
    DigestLength(String),
}

impl ReferenceError {
    /// The error in the words that users of Docker know, without the text itself; what compatible
    /// frontends answer with.
    pub fn docker_text(&self) -> String {
        match self {
            Self::Malformed(_) => "invalid reference format".into(),
            Self::Upper(path) => {
                format!("invalid reference format: repository name ({path}) must be lowercase")
            }
            Self::DigestAlgorithm(_) => "unsupported digest algorithm".into(),
            Self::DigestLength(_) => "invalid checksum digest length".into(),
            Self::Long | Self::Identifier(_) => self.to_string(),
        }
    }
}

impl Reference {
    /// Parses a reference and leaves out the tag if there is none.
    ///
    /// # Errors
    ///
    /// [`ReferenceError`] if the text does not fit the grammar.
    pub fn parse_untagged(text: &str) -> Result<Self, ReferenceError> {
        let malformed = || ReferenceError::Malformed(excerpt(text));
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ReferenceError::Identifier(text.into()));
        }
        let (domain, remainder) = split_domain(text);
        let path = remainder.split(':').next().unwrap_or_default();
        if path.to_lowercase() != path {
            return Err(ReferenceError::Upper(excerpt(path)));
        }
        let (rest, digest) = match remainder.split_once('@') {
            Some((rest, digest)) if digest_shaped(digest) => (rest, Some(digest)),
            Some(_) => return Err(malformed()),
            None => (remainder.as_str(), None),
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) if valid_tag(tag) => (path, Some(tag)),
            Some(_) => return Err(malformed()),
            None => (rest, None),
        };
        if !valid_domain(&domain) || !path.split('/').all(valid_component) {
            return Err(malformed());
        }
        if path.len() > 255 {
            return Err(ReferenceError::Long);
        }
        let digest = digest.map(|digest| match digest.parse::<Digest>() {
            Ok(digest) => Ok(digest),
            Err(DigestError::Sum(_)) => Err(ReferenceError::DigestLength(excerpt(text))),
            Err(_) => Err(ReferenceError::DigestAlgorithm(excerpt(text))),
        });
        Ok(Self {
            domain,
            path: path.to_owned(),
            tag: tag.map(Into::into),
            digest: digest.transpose()?,
        })
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
        let Some(short) = full.strip_prefix("docker.io/") else { return full };
        // Only what is right below `library` is official.
        let official = self.path.strip_prefix("library/").is_some_and(|name| !name.contains('/'));
        let official = official.then(|| short.strip_prefix("library/")).flatten();
        official.unwrap_or(short).to_owned()
    }

    /// As [`Reference::familiar`], and without a tag that says nothing: the name by which clients
    /// give other contexts (`context:<name>`).
    pub fn short(&self) -> String {
        let familiar = self.familiar();
        familiar.strip_suffix(":latest").unwrap_or(&familiar).to_owned()
    }

    /// Whether a text is a reference as it stands, with nothing filled in: `name[:tag][@digest]`.
    /// Gives its parts. Layouts name their images so.
    ///
    /// # Errors
    ///
    /// [`ReferenceError`] if the text does not fit the grammar.
    pub fn parse_verbatim(text: &str) -> Result<VerbatimReference, ReferenceError> {
        VerbatimReference::parse(text)
    }

    /// The same image by this digest; the tag stays.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }
}

/// A reference as it is written, with nothing filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerbatimReference {
    /// Everything before the tag and the digest.
    pub name: String,
    /// The tag, if there is one.
    pub tag: Option<String>,
    /// The digest, if there is one.
    pub digest: Option<Digest>,
}

impl VerbatimReference {
    fn parse(text: &str) -> Result<Self, ReferenceError> {
        let malformed = || ReferenceError::Malformed(excerpt(text));
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) if digest_shaped(digest) => (rest, Some(digest)),
            Some(_) => return Err(malformed()),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        let path = match name.split_once('/') {
            Some((domain, path)) if valid_domain(domain) && !valid_component(domain) => path,
            _ => name,
        };
        if !path.split('/').all(valid_component) || tag.is_some_and(|tag| !valid_tag(tag)) {
            return Err(malformed());
        }
        let digest = digest.map(|digest| match digest.parse::<Digest>() {
            Ok(digest) => Ok(digest),
            Err(DigestError::Sum(_)) => Err(ReferenceError::DigestLength(excerpt(text))),
            Err(_) => Err(ReferenceError::DigestAlgorithm(excerpt(text))),
        });
        Ok(Self { name: name.to_owned(), tag: tag.map(Into::into), digest: digest.transpose()? })
    }
}

impl fmt::Display for VerbatimReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
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

/// `algorithm:hex`, with at least 32 digits; whether it is a digest is another question.
fn digest_shaped(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let mut words = algorithm.split(['+', '.', '-', '_']);
    words.all(|word| {
        word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.chars().all(|c| c.is_ascii_alphanumeric())
    }) && hex.len() >= 32
        && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

fn valid_tag(tag: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= 128 && tag.starts_with(word) && tag.chars().all(|c| word(c) || ".-".contains(c))
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
