//! What a client asked to be exported, and how: the door at which attributes become types.
//!
//! A map of texts comes in, [`ExportOptions`] go out. Names and meaning are BuildKit's. What is no
//! option of exporters stays in [`ExportOptions::metadata`] and is treated as if the frontend had
//! said it, which is how clients override the image config.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use kiln_oci::{Reference, ReferenceError};
use kiln_store::{Compression, CompressionKind};

use crate::annotation::Annotations;

/// Where a result goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Into the store's images, and on to a registry.
    Image,
    /// To the client, as a tar of an OCI layout.
    Oci,
    /// To the client, as a tar that `docker load` reads.
    Docker,
    /// To the client, as a tar of the files.
    Tar,
    /// To the client, as files in a directory.
    Local,
}

/// All kinds: the kind, its name in requests, the name of its vertex.
const KINDS: &[(Kind, &str, &str)] = &[
    (Kind::Docker, "docker", "exporting to docker image format"),
    (Kind::Image, "image", "exporting to image"),
    (Kind::Local, "local", "exporting to client directory"),
    (Kind::Oci, "oci", "exporting to oci image format"),
    (Kind::Tar, "tar", "exporting to client tarball"),
];

impl Kind {
    /// The name in requests.
    pub fn as_str(self) -> &'static str {
        KINDS.iter().find(|(kind, ..)| *kind == self).map_or("", |(_, name, _)| name)
    }

    /// What people see while it runs.
    pub fn title(self) -> &'static str {
        KINDS.iter().find(|(kind, ..)| *kind == self).map_or("", |(.., title)| title)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        KINDS.iter().find(|(_, name, _)| *name == text).map(|(kind, ..)| *kind).ok_or_else(|| {
            let known: Vec<&str> = KINDS.iter().map(|(_, name, _)| *name).collect();
            OptionError::Kind { kind: shown(text), known: known.join(", ") }
        })
    }
}

/// One thing to be exported.
#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    /// Which of the request's exports it is; the client tells its targets apart by it.
    pub id: String,
    /// Where it goes.
    pub kind: Kind,
    /// How.
    pub options: ExportOptions,
}

impl Export {
    /// Reads one entry of a request.
    ///
    /// # Errors
    ///
    /// [`OptionError`] names the attribute and what it should be.
    pub fn parse(
        id: impl Into<String>,
        kind: &str,
        attributes: &BTreeMap<String, String>,
    ) -> Result<Self, OptionError> {
        let kind = kind.parse()?;
        Ok(Self { id: id.into(), kind, options: ExportOptions::parse(kind, attributes)? })
    }
}

/// Why an entry of a request is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// No exporter has this name.
    #[error("exporter \"{kind}\" could not be found, known exporters are {known}")]
    Kind {
        /// What was asked for.
        kind: String,
        /// What there is.
        known: String,
    },
    /// Not `true` or `false`.
    #[error("non-bool value specified for {attribute}: `{value}` is neither true nor false")]
    Flag {
        /// The attribute.
        attribute: &'static str,
        /// What it was set to.
        value: String,
    },
    /// A compression nobody knows, or nobody here writes.
    #[error("unsupported layer compression type {0}, expected gzip, zstd or uncompressed")]
    Compression(String),
    /// A level that the compression does not have.
    #[error("invalid compression-level `{value}`, expected a number from {low} to {high}")]
    Level {
        /// What it was set to.
        value: String,
        /// The lowest level.
        low: i32,
        /// The highest.
        high: i32,
    },
    /// Not a number of seconds.
    #[error("invalid source-date-epoch: `{0}` is not a number of seconds since 1970")]
    Epoch(String),
    /// Not a name an image can have.
    #[error("image name `{name}`")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        source: ReferenceError,
    },
    /// An annotation that goes nowhere.
    #[error("attribute `{attribute}`: {problem}")]
    Annotation {
        /// The attribute.
        attribute: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A push by digest of something that has a tag.
    #[error("can't push tagged ref {0} by digest, leave the tag out")]
    TaggedDigestPush(String),
}

/// The names an image gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// None.
    #[default]
    None,
    /// These, as they were given.
    Given(Vec<Name>),
    /// Those that the frontend chose (`name=*`).
    FromResult,
}

/// A name as it was given, and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// As given.
    pub text: String,
    /// Normalised, with a tag or digest.
    pub reference: Reference,
}

impl Name {
    /// Reads a list separated by commas.
    ///
    /// # Errors
    ///
    /// [`OptionError::Name`] for the first that is none.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, OptionError> {
        let parse = |name: &str| match name.parse() {
            Ok(reference) => Ok(Self { text: name.to_owned(), reference }),
            Err(source) => Err(OptionError::Name { name: shown(name), source }),
        };
        text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(parse).collect()
    }

    /// Whether a tag was given, rather than added.
    pub fn has_own_tag(&self) -> bool {
        Reference::parse_untagged(&self.text).is_ok_and(|reference| reference.tag().is_some())
    }
}

/// The time that nothing in an export may be later than.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Epoch {
    /// What the frontend says, if it says something.
    #[default]
    FromResult,
    /// None, whatever the frontend says.
    Never,
    /// Seconds since 1970.
    Seconds(i64),
}

/// How to export.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportOptions {
    /// `name`: what the image is called.
    pub names: Names,
    /// `push`: send it to the registries its names are of.
    pub push: bool,
    /// `push-by-digest`: without a tag.
    pub push_by_digest: bool,
    /// `registry.insecure`: plain HTTP and unknown certificates are fine.
    pub insecure: bool,
    /// `store`: note it among the store's images.
    pub store: bool,
    /// `dangling-name-prefix`: a further name, `<prefix>@<digest>`.
    pub dangling_name_prefix: Option<String>,
    /// `danging-name-empty-only` (BuildKit's spelling): only if there is no other name.
    pub dangling_only_if_unnamed: bool,
    /// `name-canonical`: a further name, `<name>@<digest>`, for each.
    pub name_canonical: bool,
    /// `oci-mediatypes`: OCI's media types rather than Docker's.
    pub oci_types: bool,
    /// `compression`, `compression-level` and `force-compression`.
    pub compression: Compression,
    /// `annotation….…`.
    pub annotations: Annotations,
    /// `source-date-epoch`.
    pub epoch: Epoch,
    /// `rewrite-timestamp`: files in new layers too are not later than the epoch.
    pub rewrite_timestamp: bool,
    /// `tar`: one stream, rather than blobs into a content store of the client.
    pub tar: bool,
    /// `platform-split`: a directory per platform; by default if there are several results.
    pub platform_split: Option<bool>,
    /// Everything else; overrides the frontend's metadata.
    pub metadata: BTreeMap<String, String>,
}

/// Attributes of BuildKit that change nothing here: `dest` and `mode` are the client's business,
/// `unpack` concerns containerd's snapshots, the others attestations and blobs that were not
/// fetched, of which there are none yet.
const WITHOUT_EFFECT: &[&str] = &[
    "unpack",
    "oci-artifact",
    "attestation-inline",
    "attestation-prefix",
    "prefer-nondist-layers",
    "unsafe-internal-store-allow-incomplete",
    "dest",
    "mode",
];

impl ExportOptions {
    /// Reads the attributes of an exporter.
    ///
    /// # Errors
    ///
    /// [`OptionError`] names the attribute and what it should be.
    pub fn parse(kind: Kind, attributes: &BTreeMap<String, String>) -> Result<Self, OptionError> {
        let mut attributes = Attributes(attributes.clone());
        for name in WITHOUT_EFFECT {
            attributes.0.remove(*name);
        }
        let names = match attributes.text("name").as_deref() {
            None | Some("") => Names::None,
            Some("*") => Names::FromResult,
            Some(list) => Names::Given(Name::parse_list(list)?),
        };
        let options = Self {
            names,
            push: attributes.flag("push", false, true)?,
            push_by_digest: attributes.flag("push-by-digest", false, true)?,
            insecure: attributes.flag("registry.insecure", false, true)?,
            store: attributes.flag("store", true, true)?,
            dangling_name_prefix: attributes.text("dangling-name-prefix"),
            dangling_only_if_unnamed: attributes.flag("danging-name-empty-only", false, true)?,
            name_canonical: attributes.flag("name-canonical", false, true)?,
            oci_types: attributes.flag("oci-mediatypes", kind != Kind::Docker, true)?,
            compression: attributes.compression()?,
            epoch: attributes.epoch()?,
            rewrite_timestamp: attributes.strict_flag("rewrite-timestamp")?,
            tar: attributes.flag("tar", true, true)?,
            platform_split: attributes.optional_flag("platform-split")?,
            annotations: attributes.annotations()?,
            metadata: attributes.0,
        };
        options.check()?;
        Ok(options)
    }

    /// Attributes that are most likely mistakes: keys of metadata have a dot or a slash.
    pub(crate) fn unknown(&self) -> impl Iterator<Item = String> {
        self.metadata.keys().filter(|key| !key.contains(['.', '/'])).map(|key| shown(key))
    }

    fn check(&self) -> Result<(), OptionError> {
        if let (true, Names::Given(names)) = (self.push_by_digest, &self.names)
            && let Some(tagged) = names.iter().find(|name| name.has_own_tag())
        {
            return Err(OptionError::TaggedDigestPush(shown(&tagged.text)));
        }
        Ok(())
    }
}

/// The attributes that nobody has read yet.
struct Attributes(BTreeMap<String, String>);

impl Attributes {
    fn text(&mut self, attribute: &str) -> Option<String> {
        self.0.remove(attribute)
    }

    /// `when_empty` is the meaning of an attribute without a value.
    fn flag(
        &mut self,
        attribute: &'static str,
        default: bool,
        when_empty: bool,
    ) -> Result<bool, OptionError> {
        match self.text(attribute).as_deref() {
            None => Ok(default),
            Some("") => Ok(when_empty),
            Some(value) => parse_flag(attribute, value),
        }
    }

    fn strict_flag(&mut self, attribute: &'static str) -> Result<bool, OptionError> {
        Ok(self.optional_flag(attribute)?.unwrap_or(false))
    }

    fn optional_flag(&mut self, attribute: &'static str) -> Result<Option<bool>, OptionError> {
        self.text(attribute).map(|value| parse_flag(attribute, &value)).transpose()
    }

    fn compression(&mut self) -> Result<Compression, OptionError> {
        let kind = match self.text("compression").as_deref() {
            None | Some("gzip") => CompressionKind::Gzip,
            Some("zstd") => CompressionKind::Zstd,
            Some("uncompressed") => CompressionKind::Uncompressed,
            Some(other) => return Err(OptionError::Compression(shown(other))),
        };
        let (low, high) = match kind {
            CompressionKind::Zstd => (1, 22),
            CompressionKind::Gzip | CompressionKind::Uncompressed => (0, 12),
        };
        let level = match self.text("compression-level") {
            None => None,
            Some(value) => match value.parse::<i32>() {
                Ok(level) if (low..=high).contains(&level) => Some(level),
                _ => return Err(OptionError::Level { value: shown(&value), low, high }),
            },
        };
        Ok(Compression { kind, level, force: self.strict_flag("force-compression")? })
    }

    fn epoch(&mut self) -> Result<Epoch, OptionError> {
        match self.text("source-date-epoch").as_deref() {
            None => Ok(Epoch::FromResult),
            Some("") => Ok(Epoch::Never),
            Some(value) => parse_epoch(value).map(Epoch::Seconds),
        }
    }

    fn annotations(&mut self) -> Result<Annotations, OptionError> {
        let mut annotations = Annotations::default();
        let mut rest = BTreeMap::new();
        for (attribute, value) in std::mem::take(&mut self.0) {
            if !annotations.take(&attribute, &value)? {
                rest.insert(attribute, value);
            }
        }
        self.0 = rest;
        Ok(annotations)
    }
}

/// Seconds since 1970, as far as a year has four digits.
pub(crate) fn parse_epoch(value: &str) -> Result<i64, OptionError> {
    const LATEST: i64 = 253_402_300_799;
    match value.parse::<i64>() {
        Ok(seconds) if (0..=LATEST).contains(&seconds) => Ok(seconds),
        _ => Err(OptionError::Epoch(shown(value))),
    }
}

/// What Go's `strconv.ParseBool` accepts, because that is what clients send.
fn parse_flag(attribute: &'static str, value: &str) -> Result<bool, OptionError> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(OptionError::Flag { attribute, value: shown(value) }),
    }
}

/// Foreign text, made fit for a message.
pub(crate) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: &str, attributes: &[(&str, &str)]) -> Result<Export, OptionError> {
        let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Export::parse("0", kind, &attributes.collect())
    }

    fn message(kind: &str, attributes: &[(&str, &str)]) -> String {
        parse(kind, attributes).unwrap_err().to_string()
    }

    #[test]
    fn media_types_are_dockers_only_in_a_docker_archive() {
        for (kind, oci_types) in [("image", true), ("oci", true), ("docker", false)] {
            assert_eq!(parse(kind, &[]).unwrap().options.oci_types, oci_types, "{kind}");
        }
        assert!(!parse("image", &[("oci-mediatypes", "false")]).unwrap().options.oci_types);
        assert!(parse("docker", &[("oci-mediatypes", "")]).unwrap().options.oci_types);
    }

    #[test]
    fn an_empty_flag_means_yes_where_clients_send_it_so() {
        assert!(parse("image", &[("push", "")]).unwrap().options.push);
        assert!(parse("image", &[("rewrite-timestamp", "")]).is_err());
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            message("x", &[]),
            "exporter \"x\" could not be found, known exporters are docker, image, local, oci, tar"
        );
        assert_eq!(
            message("image", &[("push", "yes")]),
            "non-bool value specified for push: `yes` is neither true nor false"
        );
        assert_eq!(
            message("oci", &[("source-date-epoch", "soon")]),
            "invalid source-date-epoch: `soon` is not a number of seconds since 1970"
        );
        assert!(message("oci", &[("compression", "lz4")]).contains("lz4"));
        assert!(message("oci", &[("compression-level", "99")]).contains("from 0 to 12"));
        assert!(message("image", &[("name", "A")]).contains("image name `A`"));
        assert!(
            message("image", &[("name", "a/b:1"), ("push-by-digest", "true")])
                .contains("can't push tagged ref a/b:1 by digest")
        );
    }

    #[test]
    fn what_is_no_option_becomes_metadata() {
        let export = parse(
            "image",
            &[("containerimage.config", "{}"), ("annotation.a", "b"), ("unpack", "true")],
        )
        .unwrap();
        assert_eq!(
            export.options.metadata.into_iter().collect::<Vec<_>>(),
            [("containerimage.config".to_owned(), "{}".to_owned())]
        );
    }

    #[test]
    fn an_empty_epoch_is_no_epoch_at_all() {
        let epoch = |attributes: &[(&str, &str)]| parse("oci", attributes).unwrap().options.epoch;
        assert_eq!(epoch(&[]), Epoch::FromResult);
        assert_eq!(epoch(&[("source-date-epoch", "")]), Epoch::Never);
        assert_eq!(epoch(&[("source-date-epoch", "7")]), Epoch::Seconds(7));
    }
}
