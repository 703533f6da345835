//! What a client asked to be exported, and how: the boundary at which attributes become types.
//!
//! A map of texts comes in, [`ExportOptions`] go out. Names and meaning are BuildKit's; an attribute
//! that this exporter has no use for is refused, because whoever set it expects something of it.
//! Keys of metadata stay in [`ExportOptions::metadata`] and are treated as if the frontend had said
//! them, which is how clients override the image config.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use kiln_document::did_you_mean;
use kiln_frontend::keys;
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
    #[error("unsupported layer compression type {0}, expected gzip, zstd, estargz or uncompressed")]
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
    #[error("image name `{name}`: {}", source.docker_text())]
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
    /// An attribute that no exporter has.
    #[error("the {kind} exporter has no attribute `{attribute}`{}", meant.map_or_else(String::new, |name| format!(", did you mean `{name}`?")))]
    Unknown {
        /// The exporter.
        kind: Kind,
        /// The attribute.
        attribute: String,
        /// What it may have been meant to be.
        meant: Option<&'static str>,
    },
    /// An attribute of another exporter.
    #[error("the {kind} exporter has no attribute `{attribute}`, it is one of {owners}")]
    Elsewhere {
        /// The exporter.
        kind: Kind,
        /// The attribute.
        attribute: &'static str,
        /// The exporters that have it.
        owners: String,
    },
    /// Two attributes that exclude each other.
    #[error("exporter option \"{0}\" conflicts with \"{1}\"")]
    Conflict(&'static str, &'static str),
    /// A mode of the local exporter that there is not.
    #[error("invalid local exporter mode \"{0}\", expected copy or delete")]
    Mode(String),
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
    /// `oci-artifact`: attestations say of themselves that they are no image.
    pub artifact: bool,
    /// `attestation-inline`: attestations that are only wanted beside an image make an index.
    pub attestation_inline: bool,
    /// `attestation-prefix`: what the names of files with attestations begin with.
    pub attestation_prefix: String,
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
    /// `prefer-nondist-layers`: layers that may not be passed on keep saying so, with the addresses
    /// where they can be had, and are not pushed.
    pub prefer_nondistributable: bool,
    /// `platform-split`: a directory per platform; by default if there are several results.
    pub platform_split: Option<bool>,
    /// `mode=delete`: the client deletes what the export does not have, so it is sent as a whole.
    pub delete: bool,
    /// Everything else; overrides the frontend's metadata.
    pub metadata: BTreeMap<String, String>,
}

const IMAGES: &[Kind] = &[Kind::Image, Kind::Oci, Kind::Docker];
const FILES: &[Kind] = &[Kind::Local, Kind::Tar];
const ALL: &[Kind] = &[Kind::Docker, Kind::Image, Kind::Local, Kind::Oci, Kind::Tar];

/// All attributes, and the exporters that have them.
///
/// Some change nothing here. `dest` and `context` are the client's business, and clients send them
/// on. The layers of images in the store are unpacked and complete anyway (`unpack`,
/// `unsafe-internal-store-allow-incomplete`).
const ATTRIBUTES: &[(&str, &[Kind])] = &[
    ("attestation-inline", IMAGES),
    ("attestation-prefix", FILES),
    ("compression", IMAGES),
    ("compression-level", IMAGES),
    ("context", &[Kind::Docker]),
    ("danging-name-empty-only", &[Kind::Image]),
    ("dangling-name-prefix", &[Kind::Image]),
    ("dest", ALL),
    ("force-compression", IMAGES),
    ("mode", &[Kind::Local]),
    ("name", IMAGES),
    ("name-canonical", &[Kind::Image]),
    ("oci-artifact", IMAGES),
    ("oci-mediatypes", IMAGES),
    ("platform-split", FILES),
    ("prefer-nondist-layers", IMAGES),
    ("push", &[Kind::Image]),
    ("push-by-digest", &[Kind::Image]),
    ("registry.insecure", &[Kind::Image]),
    ("rewrite-timestamp", IMAGES),
    ("source-date-epoch", ALL),
    ("store", &[Kind::Image]),
    ("tar", &[Kind::Oci, Kind::Docker]),
    ("unpack", &[Kind::Image]),
    ("unsafe-internal-store-allow-incomplete", &[Kind::Image]),
];

impl ExportOptions {
    /// Reads the attributes of an exporter.
    ///
    /// # Errors
    ///
    /// [`OptionError`] names the attribute and what it should be.
    pub fn parse(kind: Kind, attributes: &BTreeMap<String, String>) -> Result<Self, OptionError> {
        for attribute in attributes.keys() {
            check_name(kind, attribute)?;
        }
        let mut attributes = Attributes(attributes.clone());
        for ignored in ["context", "dest"] {
            attributes.text(ignored);
        }
        attributes.flag("unsafe-internal-store-allow-incomplete", false, true)?;
        let unpack = attributes.flag("unpack", false, true)?;
        let names = match attributes.text("name").as_deref() {
            None | Some("") => Names::None,
            Some("*") => Names::FromResult,
            Some(list) => Names::Given(Name::parse_list(list)?),
        };
        let oci_types = attributes.flag("oci-mediatypes", true, true)?;
        let artifact = attributes.optional_flag("oci-artifact")?;
        if artifact == Some(true) && !oci_types {
            return Err(OptionError::Conflict("oci-artifact=true", "oci-mediatypes=false"));
        }
        let compression = attributes.compression()?;
        if compression.kind == CompressionKind::Estargz && !oci_types {
            return Err(OptionError::Conflict("compression=estargz", "oci-mediatypes=false"));
        }
        let inline = attributes.optional_flag("attestation-inline")?;
        let options = Self {
            names,
            artifact: artifact.unwrap_or(oci_types),
            attestation_inline: inline.unwrap_or(kind == Kind::Image),
            attestation_prefix: attributes.text("attestation-prefix").unwrap_or_default(),
            push: attributes.flag("push", false, true)?,
            push_by_digest: attributes.flag("push-by-digest", false, true)?,
            insecure: attributes.flag("registry.insecure", false, true)?,
            store: attributes.flag("store", true, true)?,
            dangling_name_prefix: attributes.text("dangling-name-prefix"),
            dangling_only_if_unnamed: attributes.flag("danging-name-empty-only", false, true)?,
            name_canonical: attributes.flag("name-canonical", false, true)?,
            oci_types,
            compression,
            epoch: attributes.epoch()?,
            rewrite_timestamp: attributes.strict_flag("rewrite-timestamp")?,
            tar: attributes.flag("tar", true, true)?,
            prefer_nondistributable: attributes.strict_flag("prefer-nondist-layers")?,
            platform_split: attributes.optional_flag("platform-split")?,
            delete: attributes.delete()?,
            annotations: attributes.annotations()?,
            metadata: attributes.0,
        };
        if unpack && options.rewrite_timestamp {
            return Err(OptionError::Conflict("rewrite-timestamp", "unpack"));
        }
        if let Some(key) = options.metadata.keys().find(|key| !is_metadata(key)) {
            return Err(unknown(kind, key));
        }
        options.check()?;
        Ok(options)
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

/// Whether an exporter has an attribute, or it is one of metadata.
fn check_name(kind: Kind, attribute: &str) -> Result<(), OptionError> {
    let known = ATTRIBUTES.iter().find(|(name, _)| *name == attribute);
    if let Some((name, kinds)) = known {
        if kinds.contains(&kind) {
            return Ok(());
        }
        let owners: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        return Err(OptionError::Elsewhere { kind, attribute: name, owners: owners.join(", ") });
    }
    // What begins like an annotation is looked at when annotations are read.
    if is_metadata(attribute) || attribute.starts_with("annotation") {
        return Ok(());
    }
    Err(unknown(kind, attribute))
}

fn unknown(kind: Kind, attribute: &str) -> OptionError {
    let own = ATTRIBUTES.iter().filter(|(_, kinds)| kinds.contains(&kind));
    let meant = did_you_mean(attribute, own.map(|(name, _)| *name));
    OptionError::Unknown { kind, attribute: shown(attribute), meant }
}

/// Whether exporters read a key of metadata: for the whole result, or for one platform.
fn is_metadata(key: &str) -> bool {
    let of = |known: &str| {
        key.strip_prefix(known).is_some_and(|id| id.is_empty() || id.starts_with('/'))
    };
    METADATA.iter().any(|known| of(known))
}

/// The metadata that exporters read.
const METADATA: &[&str] = &[
    keys::BASE_CONFIG,
    keys::IMAGE_CONFIG,
    keys::IMAGE_NAME,
    keys::PLATFORMS,
    keys::SOURCE_DATE_EPOCH,
];

/// The attributes that have not been read yet.
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
            None => CompressionKind::default(),
            Some(text) => {
                CompressionKind::parse(text).ok_or_else(|| OptionError::Compression(shown(text)))?
            }
        };
        let (low, high) = kind.levels();
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

    fn delete(&mut self) -> Result<bool, OptionError> {
        match self.text("mode").as_deref() {
            None | Some("" | "copy") => Ok(false),
            Some("delete") => Ok(true),
            Some(other) => Err(OptionError::Mode(shown(other))),
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
    fn media_types_are_ocis_unless_dockers_are_wanted() {
        for kind in ["image", "oci", "docker"] {
            assert!(parse(kind, &[]).unwrap().options.oci_types, "{kind}");
            let docker = parse(kind, &[("oci-mediatypes", "false")]).unwrap();
            assert!(!docker.options.oci_types, "{kind}");
            assert!(parse(kind, &[("oci-mediatypes", "")]).unwrap().options.oci_types, "{kind}");
        }
    }

    #[test]
    fn what_an_exporter_has_no_use_for_is_refused_by_name() {
        for (kind, attribute, problem) in [
            ("image", "pusch", "the image exporter has no attribute `pusch`, did you mean `push`?"),
            ("oci", "push", "the oci exporter has no attribute `push`, it is one of image"),
            ("local", "name", "has no attribute `name`, it is one of image, oci, docker"),
            ("image", "registry.insecur", "did you mean `registry.insecure`?"),
            ("tar", "nothing-like-it", "the tar exporter has no attribute `nothing-like-it`"),
            ("tar", "mode", "it is one of local"),
            ("local", "frontend.caps/x", "has no attribute `frontend.caps/x`"),
            ("image", "annotations.x", "has no attribute `annotations.x`"),
            ("image", "attest:provenance", "has no attribute `attest:provenance`"),
        ] {
            assert!(message(kind, &[(attribute, "true")]).contains(problem), "{kind} {attribute}");
        }
        for (kind, attribute) in [
            ("docker", "context"),
            ("docker", "dest"),
            ("local", "dest"),
            ("image", "containerimage.config"),
            ("oci", "refs.platforms"),
            ("image", "annotation-index.org.example"),
            ("image", "containerimage.base.config/linux/amd64"),
        ] {
            parse(kind, &[(attribute, "")]).unwrap();
        }
    }

    #[test]
    fn every_attribute_is_read() {
        for (attribute, kinds) in ATTRIBUTES {
            let value = match *attribute {
                "compression" => "zstd",
                "compression-level" | "source-date-epoch" => "1",
                "mode" => "delete",
                "name" => "example.com/a",
                _ => "true",
            };
            for kind in *kinds {
                let export = parse(kind.as_str(), &[(attribute, value)]).unwrap();
                assert!(export.options.metadata.is_empty(), "{kind} {attribute}");
            }
        }
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
        assert_eq!(
            message("local", &[("mode", "move")]),
            "invalid local exporter mode \"move\", expected copy or delete"
        );
        assert!(
            message("image", &[("unpack", ""), ("rewrite-timestamp", "true")])
                .contains("\"rewrite-timestamp\" conflicts with \"unpack\"")
        );
        assert!(message("oci", &[("compression", "lz4")]).contains("lz4"));
        assert!(message("oci", &[("compression-level", "99")]).contains("from 0 to 12"));
        assert_eq!(
            message("image", &[("compression", "estargz"), ("oci-mediatypes", "false")]),
            "exporter option \"compression=estargz\" conflicts with \"oci-mediatypes=false\""
        );
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
