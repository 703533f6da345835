//! Identifiers of sources: what to get from outside, parsed once.
//!
//! The wire has a URL-like text and a map of attributes; past this boundary there are only types.
//! An attribute that is not understood is refused, because whoever set it relies on it: a signature
//! that is to be verified, say.

use std::collections::BTreeMap;

use kiln_oci::{Digest, Reference};
use kiln_paths::path::join_in_root;
use kiln_pb::attribute::number;
use serde::{Serialize, Serializer};

use crate::ids;

/// What to get from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Identifier {
    /// An image of a registry.
    Image(ImageSource),
    /// An image of an OCI layout that the client holds.
    OciLayout(OciLayoutSource),
    /// A single blob of a registry or an OCI layout, as a file.
    Blob(BlobSource),
    /// A file by URL.
    Http(HttpSource),
    /// A git repository.
    Git(GitSource),
    /// A directory of the client.
    Local(LocalSource),
}

/// An image of a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageSource {
    /// Which.
    #[serde(serialize_with = "as_text")]
    pub reference: Reference,
    /// Whether to ask the registry.
    pub resolve_mode: ResolveMode,
    /// The digest it must have.
    pub checksum: Option<Digest>,
    /// Only that many layers, from the bottom.
    pub layer_limit: Option<usize>,
    /// It is the image of a frontend.
    pub frontend: bool,
}

/// Whether to ask the registry for an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum ResolveMode {
    /// Yes, and use what is here if it does not answer.
    #[default]
    Default,
    /// Always.
    Pull,
    /// Only if the image is not here.
    Local,
}

/// An image of an OCI layout that the client holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OciLayoutSource {
    /// Which; always with a digest.
    #[serde(serialize_with = "as_text")]
    pub reference: Reference,
    /// The session that has it; empty is the build's.
    pub session: String,
    /// The name of the layout in the session.
    pub store: String,
    /// Only that many layers, from the bottom.
    pub layer_limit: Option<usize>,
    /// The digest it must have.
    pub checksum: Option<Digest>,
}

/// Where a single blob is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlobAddress {
    /// The repository that has it, and its digest.
    #[serde(serialize_with = "as_text")]
    pub reference: Reference,
    /// The layout that has it; none is a registry.
    pub layout: Option<Layout>,
}

/// A single blob of a registry or an OCI layout, as a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlobSource {
    /// Where it is.
    pub address: BlobAddress,
    /// The name it gets; empty is its digest without the algorithm.
    pub filename: String,
    /// Its permissions.
    pub perm: Option<u32>,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// An OCI layout that the client holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Layout {
    /// The session that has it; empty is the build's.
    pub session: String,
    /// The name of the layout in the session.
    pub store: String,
}

/// How a file has to be signed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileSignature {
    /// Who may have signed it: armored keys of OpenPGP.
    pub keys: String,
    /// The signature: detached, armored.
    pub signature: String,
}

/// A file by URL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HttpSource {
    /// Where.
    pub url: String,
    /// The digest it must have.
    pub checksum: Option<Digest>,
    /// The name it gets; empty is the server's or the URL's.
    pub filename: String,
    /// Its permissions.
    pub perm: Option<u32>,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The secret with the Authorization header; empty is the host's own.
    pub auth_header_secret: String,
    /// The Accept header.
    pub accept: String,
    /// The User-Agent header.
    pub user_agent: String,
    /// How it has to be signed, if it has.
    pub signature: Option<FileSignature>,
}

/// How a commit, or the tag that leads to it, has to be signed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GitSignature {
    /// Who may have signed it: armored keys of OpenPGP, or lines of keys of OpenSSH.
    pub keys: String,
    /// Not by a key that has expired since.
    pub reject_expired_keys: bool,
    /// It has to be the tag.
    pub require_signed_tag: bool,
    /// It has to be the commit.
    pub ignore_signed_tag: bool,
}

/// A git repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GitSource {
    /// The URL as git takes it.
    pub remote: String,
    /// A branch, tag, commit or full reference; empty is the default branch.
    pub reference: String,
    /// Only this directory.
    pub subdir: String,
    /// Keep `.git`.
    pub keep_git_dir: bool,
    /// The commit or tag object it must be; may be abbreviated.
    pub checksum: String,
    /// Leave submodules out.
    pub skip_submodules: bool,
    /// The secret with the Authorization header.
    pub auth_header_secret: String,
    /// The secret with a token.
    pub auth_token_secret: String,
    /// Known hosts for ssh.
    pub known_hosts: String,
    /// The id of the SSH agent to use; empty is none.
    pub ssh_agent: String,
    /// Give every entry the time of the commit.
    pub commit_mtime: bool,
    /// The reference is only a name for the commit of `checksum`; the remote is not asked for it.
    pub fetch_by_commit: bool,
    /// A git bundle that has the commit; the remote is not asked for anything then.
    pub bundle: Option<BlobAddress>,
    /// Give a git bundle in the file `bundle` instead of files.
    pub checkout_bundle: bool,
    /// How it has to be signed, if it has.
    pub signature: Option<GitSignature>,
}

/// How to tell which files of a directory changed since they were transferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Differ {
    /// By their metadata, where that can be relied on.
    #[default]
    Default,
    /// By their metadata, whatever that is worth: the author of the graph says so.
    Metadata,
    /// Not at all; everything is transferred again.
    None,
}

/// A directory of the client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LocalSource {
    /// Its name in the session.
    pub name: String,
    /// The session that has it; empty is the build's.
    pub session: String,
    /// Only what fits one of these.
    pub include_patterns: Vec<String>,
    /// Not what fits one of these.
    pub exclude_patterns: Vec<String>,
    /// Only these paths, symbolic links followed.
    pub follow_paths: Vec<String>,
    /// Directories with the same hint share what was transferred before.
    pub shared_key_hint: String,
    /// How to tell what changed since the last transfer.
    pub differ: Differ,
    /// Not the directory, but a list of what is in it, with the files that fit one of these.
    pub listing: Option<Vec<String>>,
    /// Makes the vertex unique.
    pub unique: String,
}

/// Why a source is none.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdentifierError {
    /// Not `scheme://…` with a scheme Kiln has.
    #[error(
        "unknown source `{0}`, expected docker-image://, docker-image+blob://, oci-layout://, \
         oci-layout+blob://, git://, http(s):// or local://"
    )]
    Scheme(String),
    /// An image reference that is none.
    #[error("source `{identifier}`: {reason}")]
    Reference {
        /// The source.
        identifier: String,
        /// What is wrong.
        reason: String,
    },
    /// A checksum of a commit that is none.
    #[error(
        "source `{identifier}`: invalid checksum {value} for Git URL, expected hex commit hash"
    )]
    Commit {
        /// The source.
        identifier: String,
        /// The checksum.
        value: String,
    },
    /// Attributes that do not go together.
    #[error("source `{identifier}`: {reason}")]
    Together {
        /// The source.
        identifier: String,
        /// Which, and why not.
        reason: &'static str,
    },
    /// A number of layers that is none.
    #[error(
        "source `{identifier}`: invalid layer limit {value} ({key}), expected a number above 0"
    )]
    LayerLimit {
        /// The source.
        identifier: String,
        /// The attribute.
        key: String,
        /// Its value.
        value: String,
    },
    /// An attribute whose value makes no sense.
    #[error("source `{identifier}`: invalid {key} `{value}`")]
    Attribute {
        /// The source.
        identifier: String,
        /// The attribute.
        key: String,
        /// Its value.
        value: String,
    },
    /// An attribute that nothing here acts on.
    #[error(
        "source `{identifier}`: attribute {key} is not supported by this version; leave it out"
    )]
    Unsupported {
        /// The source.
        identifier: String,
        /// The attribute.
        key: String,
    },
}

/// The attributes that each scheme has.
const ATTRIBUTES: &[(&str, &[&str])] = &[
    (
        "docker-image",
        &["image.checksum", "image.layerlimit", "image.recordtype", "image.resolvemode"],
    ),
    ("docker-image+blob", BLOB_ATTRIBUTES),
    (
        "git",
        &[
            "git.authheadersecret",
            "git.authtokensecret",
            "git.bundle",
            "git.checkoutbundle",
            "git.checksum",
            "git.fetchbycommit",
            "git.fullurl",
            "git.keepgitdir",
            "git.knownsshhosts",
            "git.mountsshsock",
            "git.mtime",
            "git.sig.ignoresignedtag",
            "git.sig.pubkey",
            "git.sig.rejectexpired",
            "git.sig.requiresignedtag",
            "git.skipsubmodules",
            "oci.session",
            "oci.store",
        ],
    ),
    ("http", HTTP_ATTRIBUTES),
    ("https", HTTP_ATTRIBUTES),
    (
        "local",
        &[
            "local.differ",
            "local.excludepatterns",
            "local.followpaths",
            "local.includepattern",
            "local.metadatatransfer",
            "local.metadatatransferexclude",
            "local.session",
            "local.sharedkeyhint",
            "local.unique",
        ],
    ),
    ("oci-layout", &["image.checksum", "oci.layerlimit", "oci.session", "oci.store"]),
    (
        "oci-layout+blob",
        &["http.filename", "http.gid", "http.perm", "http.uid", "oci.session", "oci.store"],
    ),
];

const BLOB_ATTRIBUTES: &[&str] = &["http.filename", "http.gid", "http.perm", "http.uid"];

const HTTP_ATTRIBUTES: &[&str] = &[
    "http.authheadersecret",
    "http.checksum",
    "http.filename",
    "http.gid",
    "http.header.accept",
    "http.header.user-agent",
    "http.perm",
    "http.sig.pubkey",
    "http.sig.signature",
    "http.uid",
];

/// Whether an attribute asks for nothing: clients that know a feature say that they do without it.
fn is_off(value: &str) -> bool {
    matches!(value, "" | "false")
}

type Attrs = BTreeMap<String, String>;

impl Identifier {
    /// Reads a source as it travels.
    ///
    /// # Errors
    ///
    /// [`IdentifierError`] with the source and what is wrong with it.
    pub fn parse(identifier: &str, attrs: &Attrs) -> Result<Self, IdentifierError> {
        let shown: String = identifier.chars().take(300).collect();
        let Some((scheme, rest)) = identifier.split_once("://") else {
            return Err(IdentifierError::Scheme(shown));
        };
        let from = Attributes { identifier: &shown, attrs };
        from.check_names(scheme)?;
        match scheme {
            "docker-image" => image(rest, &from).map(Self::Image),
            "oci-layout" => oci_layout(rest, &from).map(Self::OciLayout),
            "docker-image+blob" => blob(rest, &from, None).map(Self::Blob),
            "oci-layout+blob" => {
                let layout =
                    Layout { session: from.text("oci.session"), store: from.text("oci.store") };
                blob(rest, &from, Some(layout)).map(Self::Blob)
            }
            "http" | "https" => http(identifier, &from).map(Self::Http),
            "git" => git(rest, &from).map(Self::Git),
            "local" => local(rest, &from).map(Self::Local),
            _ => Err(IdentifierError::Scheme(shown)),
        }
    }

    /// The one spelling that all ways to write a source have in common. Policies are matched against
    /// it, so that a rule cannot be slipped past by writing the same source another way.
    pub fn canonical(&self) -> String {
        match self {
            Self::Image(image) => format!("docker-image://{}", image.reference),
            Self::OciLayout(layout) => format!("oci-layout://{}", layout.reference),
            Self::Blob(BlobSource { address, .. }) => match address.layout {
                None => format!("docker-image+blob://{}", address.reference),
                Some(_) => format!("oci-layout+blob://{}", address.reference),
            },
            Self::Http(http) => http.url.clone(),
            Self::Git(git) => canonical_git(git),
            Self::Local(local) => format!("local://{}", local.name),
        }
    }
}

/// `git://HOST/PATH#REFERENCE:DIRECTORY`, whatever the protocol and the login are.
fn canonical_git(git: &GitSource) -> String {
    let remote = git.remote.as_str();
    let (authority, path) = match remote.split_once("://") {
        Some((_, rest)) => rest.split_once('/').unwrap_or((rest, "")),
        None => remote.split_once(':').unwrap_or((remote, "")),
    };
    let host = authority.rsplit('@').next().unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let path = join_in_root("", path);
    let mut text = format!("git://{host}/{path}");
    if !(git.reference.is_empty() && git.subdir.is_empty()) {
        text.push_str(&format!("#{}", git.reference));
    }
    if !git.subdir.is_empty() {
        text.push_str(&format!(":{}", git.subdir));
    }
    text
}

/// Attributes with the source they belong to, for errors.
struct Attributes<'a> {
    identifier: &'a str,
    attrs: &'a Attrs,
}

impl Attributes<'_> {
    fn text(&self, key: &str) -> String {
        self.attrs.get(key).cloned().unwrap_or_default()
    }

    /// Refuses what the scheme has no use for.
    fn check_names(&self, scheme: &str) -> Result<(), IdentifierError> {
        let known = ATTRIBUTES.iter().find(|(name, _)| *name == scheme);
        let known = known.map_or(&[][..], |(_, attributes)| *attributes);
        // All that sources act on is `scheme.name`; other names are notes of policies to each other.
        let is_asked = |(key, value): &(&String, &String)| key.contains('.') && !is_off(value);
        let mut asked = self.attrs.iter().filter(is_asked);
        match asked.find(|(key, _)| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some((key, _)) => Err(IdentifierError::Unsupported {
                identifier: self.identifier.into(),
                key: key.chars().take(100).collect(),
            }),
        }
    }

    fn flag(&self, key: &str) -> Result<bool, IdentifierError> {
        let flag = |text: &str| text.parse().ok();
        Ok(self.parse(key, flag)?.unwrap_or(false))
    }

    /// Whether an attribute has the value it may have, rather than none.
    fn is(&self, key: &str, value: &str, default: &str) -> Result<bool, IdentifierError> {
        let known = |text: &str| (text == value || text == default).then(|| text == value);
        Ok(self.parse(key, known)?.unwrap_or(false))
    }

    fn parse<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, IdentifierError> {
        match self.attrs.get(key).filter(|value| !value.is_empty()) {
            None => Ok(None),
            Some(value) => parse(value).map(Some).ok_or_else(|| IdentifierError::Attribute {
                identifier: self.identifier.into(),
                key: key.into(),
                value: value.clone(),
            }),
        }
    }

    fn list(&self, key: &str) -> Result<Vec<String>, IdentifierError> {
        Ok(self.parse(key, |json| serde_json::from_str(json).ok())?.unwrap_or_default())
    }

    fn reference(&self, text: &str) -> Result<Reference, IdentifierError> {
        text.parse().map_err(|error: kiln_oci::ReferenceError| IdentifierError::Reference {
            identifier: self.identifier.into(),
            reason: error.to_string(),
        })
    }

    /// Permissions, owner and group of a file that is made.
    fn file_attributes(&self) -> Result<(Option<u32>, u32, u32), IdentifierError> {
        let id = |what, text: &str| ids::checked(what, number(text)?).ok();
        let mode = |text: &str| number(text).filter(|mode| *mode <= 0o7777);
        let perm = self.parse("http.perm", mode)?;
        let uid = self.parse("http.uid", |text| id("user", text))?.unwrap_or(0);
        let gid = self.parse("http.gid", |text| id("group", text))?.unwrap_or(0);
        Ok((perm, uid, gid))
    }

    fn layer_limit(&self, key: &str) -> Result<Option<usize>, IdentifierError> {
        let limit = self.parse(key, |text| text.parse().ok().filter(|limit| *limit > 0));
        limit.map_err(|error| match error {
            IdentifierError::Attribute { identifier, key, value } => {
                IdentifierError::LayerLimit { identifier, key, value }
            }
            error => error,
        })
    }
}

fn image(rest: &str, from: &Attributes<'_>) -> Result<ImageSource, IdentifierError> {
    let mode = |text: &str| match text {
        "default" => Some(ResolveMode::Default),
        "pull" => Some(ResolveMode::Pull),
        "local" => Some(ResolveMode::Local),
        _ => None,
    };
    // Records of the daemon's own are as good as those of users.
    let record = |text: &str| match text {
        "frontend" => Some(true),
        "regular" | "internal" => Some(false),
        _ => None,
    };
    Ok(ImageSource {
        reference: from.reference(rest)?,
        resolve_mode: from.parse("image.resolvemode", mode)?.unwrap_or_default(),
        checksum: from.parse("image.checksum", |text| text.parse().ok())?,
        layer_limit: from.layer_limit("image.layerlimit")?,
        frontend: from.parse("image.recordtype", record)?.unwrap_or(false),
    })
}

fn oci_layout(rest: &str, from: &Attributes<'_>) -> Result<OciLayoutSource, IdentifierError> {
    let reference = from.reference(rest)?;
    if reference.digest().is_none() {
        let reason = "an OCI layout is addressed by digest (name@sha256:…)".into();
        return Err(IdentifierError::Reference { identifier: from.identifier.into(), reason });
    }
    Ok(OciLayoutSource {
        reference,
        session: from.text("oci.session"),
        store: from.text("oci.store"),
        layer_limit: from.layer_limit("oci.layerlimit")?,
        checksum: from.parse("image.checksum", |text| text.parse().ok())?,
    })
}

fn blob(
    rest: &str,
    from: &Attributes<'_>,
    layout: Option<Layout>,
) -> Result<BlobSource, IdentifierError> {
    let address = blob_address(rest, from, layout)?;
    let (perm, uid, gid) = from.file_attributes()?;
    Ok(BlobSource { address, filename: from.text("http.filename"), perm, uid, gid })
}

fn blob_address(
    rest: &str,
    from: &Attributes<'_>,
    layout: Option<Layout>,
) -> Result<BlobAddress, IdentifierError> {
    let wrong = |reason: &str| IdentifierError::Reference {
        identifier: from.identifier.into(),
        reason: reason.into(),
    };
    let reference = Reference::parse_untagged(rest).map_err(|error| wrong(&error.to_string()))?;
    if reference.digest().is_none() {
        return Err(wrong("a blob is addressed by digest (name@sha256:…)"));
    }
    if layout.as_ref().is_some_and(|layout| layout.store.is_empty()) {
        return Err(wrong("a blob of an OCI layout needs the name of the layout (oci.store)"));
    }
    Ok(BlobAddress { reference, layout })
}

/// The bundle of a git source, `docker-image+blob://…` or `oci-layout+blob://…`. A layout without a
/// name has that of the repository.
fn bundle(locator: &str, from: &Attributes<'_>) -> Result<BlobAddress, IdentifierError> {
    let layout = |rest: &str| {
        let named = rest.split('@').next().unwrap_or_default().to_owned();
        let store = Some(from.text("oci.store")).filter(|store| !store.is_empty());
        Layout { session: from.text("oci.session"), store: store.unwrap_or(named) }
    };
    match locator.split_once("://") {
        Some(("docker-image+blob", rest)) => blob_address(rest, from, None),
        Some(("oci-layout+blob", rest)) => blob_address(rest, from, Some(layout(rest))),
        _ => Err(IdentifierError::Attribute {
            identifier: from.identifier.into(),
            key: "git.bundle".into(),
            value: locator.chars().take(300).collect(),
        }),
    }
}

fn http(identifier: &str, from: &Attributes<'_>) -> Result<HttpSource, IdentifierError> {
    let (perm, uid, gid) = from.file_attributes()?;
    let (keys, signature) = (from.text("http.sig.pubkey"), from.text("http.sig.signature"));
    if keys.is_empty() != signature.is_empty() {
        let reason = "http signature verification requires both pubkey and signature";
        return Err(IdentifierError::Together { identifier: from.identifier.into(), reason });
    }
    let signature = (!keys.is_empty()).then_some(FileSignature { keys, signature });
    Ok(HttpSource {
        url: identifier.to_owned(),
        checksum: from.parse("http.checksum", |text| text.parse().ok())?,
        filename: from.text("http.filename"),
        perm,
        uid,
        gid,
        auth_header_secret: from.text("http.authheadersecret"),
        accept: from.text("http.header.accept"),
        user_agent: from.text("http.header.user-agent"),
        signature,
    })
}

fn git(rest: &str, from: &Attributes<'_>) -> Result<GitSource, IdentifierError> {
    let (address, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
    let full = from.text("git.fullurl");
    let remote = if full.is_empty() { format!("https://{address}") } else { full };
    // The full URL carries its own fragment in some clients; what it points at is in the identifier.
    let remote = remote.split('#').next().unwrap_or_default().to_owned();
    let checksum = from.text("git.checksum");
    if !checksum.chars().all(|c| c.is_ascii_hexdigit()) {
        let (identifier, value) = (from.identifier.into(), checksum.chars().take(100).collect());
        return Err(IdentifierError::Commit { identifier, value });
    }
    let bundle = match from.text("git.bundle") {
        none if none.is_empty() => None,
        locator => Some(bundle(&locator, from)?),
    };
    let signature = GitSignature {
        keys: from.text("git.sig.pubkey"),
        reject_expired_keys: from.flag("git.sig.rejectexpired")?,
        require_signed_tag: from.flag("git.sig.requiresignedtag")?,
        ignore_signed_tag: from.flag("git.sig.ignoresignedtag")?,
    };
    let source = GitSource {
        remote,
        reference: reference.to_owned(),
        // As if the repository were the root of everything: no directory is above it.
        subdir: join_in_root("", subdir),
        keep_git_dir: from.flag("git.keepgitdir")?,
        checksum: checksum.to_lowercase(),
        skip_submodules: from.flag("git.skipsubmodules")?,
        auth_header_secret: from.text("git.authheadersecret"),
        auth_token_secret: from.text("git.authtokensecret"),
        known_hosts: from.text("git.knownsshhosts"),
        ssh_agent: from.text("git.mountsshsock"),
        commit_mtime: from.is("git.mtime", "commit", "checkout")?,
        fetch_by_commit: from.flag("git.fetchbycommit")?,
        bundle,
        checkout_bundle: from.flag("git.checkoutbundle")?,
        signature: (signature != GitSignature::default()).then_some(signature),
    };
    match together(&source) {
        None => Ok(source),
        Some(reason) => {
            Err(IdentifierError::Together { identifier: from.identifier.into(), reason })
        }
    }
}

/// Why the attributes of a git source do not go together.
fn together(source: &GitSource) -> Option<&'static str> {
    let is_whole = |id: &str| matches!(id.len(), 40 | 64);
    let is_commit = is_whole(&source.reference)
        && source.reference.bytes().all(|byte| byte.is_ascii_hexdigit());
    let lacks_commit = !is_commit && !is_whole(&source.checksum);
    if source.bundle.is_some() && source.checksum.is_empty() {
        return Some("git.bundle requires git.checksum to be set");
    }
    if source.fetch_by_commit && lacks_commit {
        return Some("git.fetchbycommit requires a whole commit, as git.checksum or as reference");
    }
    if source.bundle.is_some() && source.reference.is_empty() && lacks_commit {
        return Some("git.bundle requires a reference or a whole commit as git.checksum");
    }
    if source.checkout_bundle && source.keep_git_dir {
        return Some("git.checkoutbundle is incompatible with git.keepgitdir");
    }
    if source.checkout_bundle && !source.subdir.is_empty() {
        return Some("git.checkoutbundle is incompatible with git.subdir");
    }
    let signature = source.signature.as_ref();
    if signature.is_some_and(|signature| signature.keys.is_empty()) {
        return Some("git.sig attributes require git.sig.pubkey, the keys that may have signed");
    }
    let no_object = |of: &GitSignature| of.require_signed_tag && of.ignore_signed_tag;
    if signature.is_some_and(no_object) {
        return Some("git.sig.requiresignedtag is incompatible with git.sig.ignoresignedtag");
    }
    None
}

fn local(rest: &str, from: &Attributes<'_>) -> Result<LocalSource, IdentifierError> {
    let differ = |text: &str| match text {
        "none" => Some(Differ::None),
        "metadata" => Some(Differ::Metadata),
        _ => None,
    };
    let files = from.list("local.metadatatransferexclude")?;
    Ok(LocalSource {
        name: rest.to_owned(),
        session: from.text("local.session"),
        include_patterns: from.list("local.includepattern")?,
        exclude_patterns: from.list("local.excludepatterns")?,
        follow_paths: from.list("local.followpaths")?,
        shared_key_hint: from.text("local.sharedkeyhint"),
        differ: from.parse("local.differ", differ)?.unwrap_or_default(),
        listing: from.flag("local.metadatatransfer")?.then_some(files),
        unique: from.text("local.unique"),
    })
}

fn as_text<S: Serializer>(reference: &Reference, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(reference)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(identifier: &str, attrs: &[(&str, &str)]) -> Result<Identifier, IdentifierError> {
        let attrs = attrs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Identifier::parse(identifier, &attrs)
    }

    #[test]
    fn an_image_keeps_its_normalised_reference() {
        let Ok(Identifier::Image(image)) =
            parse("docker-image://alpine", &[("image.resolvemode", "pull")])
        else {
            panic!("no image")
        };
        assert_eq!(image.reference.to_string(), "docker.io/library/alpine:latest");
        assert_eq!(image.resolve_mode, ResolveMode::Pull);
    }

    #[test]
    fn a_blob_has_a_digest_and_no_tag_is_made_up() {
        let attrs = [("http.filename", "a.tar"), ("http.perm", "420")];
        let Ok(Identifier::Blob(blob)) = parse(&format!("docker-image+blob://x.io/{SUM}"), &attrs)
        else {
            panic!("no blob")
        };
        assert_eq!((blob.address.reference.tag(), blob.address.layout), (None, None));
        assert_eq!(blob.perm, Some(0o644));
        for (identifier, attrs) in [
            ("docker-image+blob://x.io/a", &[][..]),
            ("docker-image+blob://x.io/a:1", &[]),
            (&format!("oci-layout+blob://x.io/{SUM}"), &[("oci.session", "s")]),
        ] {
            let error = parse(identifier, attrs).unwrap_err();
            assert!(matches!(error, IdentifierError::Reference { .. }), "{error}");
        }
    }

    #[test]
    fn a_git_fragment_is_reference_and_directory() {
        let attrs = [("git.fullurl", "https://example.com/a.git"), ("git.keepgitdir", "true")];
        let Ok(Identifier::Git(git)) = parse("git://example.com/a.git#main:/docs", &attrs) else {
            panic!("no git")
        };
        assert_eq!(
            (git.remote.as_str(), git.reference.as_str(), git.subdir.as_str()),
            ("https://example.com/a.git", "main", "docs")
        );
        assert!(git.keep_git_dir);
    }

    #[test]
    fn a_bundle_has_a_commit_and_a_layout_has_the_name_of_its_repository() {
        let attrs = [("git.bundle", BUNDLE), ("git.checksum", COMMIT)];
        let Ok(Identifier::Git(git)) = parse("git://example.com/a.git#main", &attrs) else {
            panic!("no git")
        };
        let layout = git.bundle.unwrap().layout.unwrap();
        assert_eq!((layout.store.as_str(), layout.session.as_str()), ("a/b", ""));
        for (attrs, words) in [
            (&[("git.bundle", BUNDLE)][..], "git.bundle requires git.checksum to be set"),
            (&[("git.bundle", BUNDLE), ("git.checksum", "abc")], "a whole commit"),
            (&[("git.bundle", "https://x"), ("git.checksum", COMMIT)], "invalid git.bundle"),
            (&[("git.fetchbycommit", "true")], "git.fetchbycommit requires a whole commit"),
            (&[("git.checkoutbundle", "true"), ("git.keepgitdir", "true")], "git.keepgitdir"),
        ] {
            let error = parse("git://example.com/a.git", attrs).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn who_may_have_signed_is_said_wherever_a_signature_is_wanted() {
        let git = "git://example.com/a.git";
        for (identifier, attrs, words) in [
            (git, &[("git.sig.requiresignedtag", "true")][..], "require git.sig.pubkey"),
            ("https://example.com/a", &[("http.sig.signature", "x")], "both pubkey and signature"),
            ("https://example.com/a", &[("http.sig.pubkey", "x")], "both pubkey and signature"),
            (
                git,
                &[
                    ("git.sig.pubkey", "x"),
                    ("git.sig.requiresignedtag", "true"),
                    ("git.sig.ignoresignedtag", "true"),
                ],
                "incompatible",
            ),
        ] {
            let error = parse(identifier, attrs).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let Ok(Identifier::Git(git)) = parse(git, &[("git.sig.rejectexpired", "false")]) else {
            panic!("no git")
        };
        assert_eq!(git.signature, None);
    }

    #[test]
    fn a_source_has_one_spelling() {
        let url = |url: &'static str| [("git.fullurl", url)];
        let layout = format!("oci-layout://x.io/{SUM}");
        for (identifier, attrs, canonical) in [
            ("docker-image://alpine", &[][..], "docker-image://docker.io/library/alpine:latest"),
            (&layout, &[], &layout),
            ("local://context", &[], "local://context"),
            ("https://x/a/../b", &[], "https://x/a/../b"),
            ("git://x.io/a/b.git", &[], "git://x.io/a/b.git"),
            ("git://x.io//a/./b.git#main:../c/../d/", &[], "git://x.io/a/b.git#main:d"),
            ("git://x.io/a#:docs", &[], "git://x.io/a#:docs"),
            ("git://y", &url("https://me:pw@x.io/a.git?x=y"), "git://x.io/a.git"),
            ("git://y", &url("git@x.io:a/b.git"), "git://x.io/a/b.git"),
            ("git://y", &url("ssh://git@x.io:22/a"), "git://x.io:22/a"),
        ] {
            assert_eq!(parse(identifier, attrs).unwrap().canonical(), canonical, "{identifier}");
        }
    }

    #[test]
    fn an_attribute_that_nothing_acts_on_is_refused_by_name() {
        for (identifier, key) in [
            ("git://example.com/a.git", "git.sig.pubkeys"),
            ("git://example.com/a.git", "local.differ"),
            ("https://example.com/a", "http.sig.signatures"),
            ("https://example.com/a", "http.header.x-other"),
            ("local://context", "local.metadatatransfers"),
            ("docker-image://alpine", "image.checksums"),
        ] {
            let error = parse(identifier, &[(key, "true")]).unwrap_err().to_string();
            let words = format!("source `{identifier}`: attribute {key} is not supported");
            assert!(error.starts_with(&words), "{error}");
            assert!(parse(identifier, &[(key, "")]).is_ok(), "{key}");
        }
        assert!(parse("git://example.com/a.git", &[("git.sig.pubkey", "")]).is_ok());
    }

    #[test]
    fn every_attribute_of_a_source_is_read() {
        for (scheme, attributes) in ATTRIBUTES {
            let is_by_digest = *scheme == "oci-layout" || scheme.ends_with("+blob");
            let name = if is_by_digest { SUM } else { "example.com/a" };
            let identifier = format!("{scheme}://{name}");
            for attribute in *attributes {
                let value = match *attribute {
                    "git.mtime" => "commit",
                    "git.fullurl" => "https://example.com/b",
                    "git.checksum" => "abc",
                    "git.bundle" => BUNDLE,
                    "git.keepgitdir"
                    | "git.skipsubmodules"
                    | "git.checkoutbundle"
                    | "git.fetchbycommit"
                    | "git.sig.ignoresignedtag"
                    | "git.sig.rejectexpired"
                    | "git.sig.requiresignedtag"
                    | "local.metadatatransfer" => "true",
                    "http.checksum" | "image.checksum" => SUM.split_once('@').unwrap().1,
                    "http.perm" | "http.uid" | "http.gid" => "7",
                    "image.layerlimit" | "oci.layerlimit" => "1",
                    "image.recordtype" => "frontend",
                    "image.resolvemode" => "pull",
                    "local.differ" => "none",
                    "local.excludepatterns"
                    | "local.followpaths"
                    | "local.includepattern"
                    | "local.metadatatransferexclude" => "[\"a\"]",
                    _ => "text",
                };
                // A layout has to have a name.
                let base: &[_] = match *scheme {
                    "oci-layout+blob" if *attribute != "oci.store" => &[("oci.store", "layout")],
                    "oci-layout+blob" => &[("oci.store", "other")],
                    "git" if attribute.starts_with("oci.") => {
                        &[("git.bundle", BUNDLE), ("git.checksum", COMMIT)]
                    }
                    "git" if matches!(*attribute, "git.bundle" | "git.fetchbycommit") => {
                        &[("git.checksum", COMMIT)]
                    }
                    "git" if attribute.starts_with("git.sig.") => &[("git.sig.pubkey", "key")],
                    "http" | "https" if attribute.starts_with("http.sig.") => {
                        &[("http.sig.pubkey", "key"), ("http.sig.signature", "signature")]
                    }
                    "local" if *attribute == "local.metadatatransferexclude" => {
                        &[("local.metadatatransfer", "true")]
                    }
                    _ => &[],
                };
                let with = parse(&identifier, &[base, &[(*attribute, value)]].concat()).unwrap();
                assert_ne!(with, parse(&identifier, base).unwrap(), "{attribute}");
            }
        }
    }

    const COMMIT: &str = "0123456789012345678901234567890123456789";
    const BUNDLE: &str = "oci-layout+blob://a/b@sha256:9ac1c43a60e31dca741a6fe8314130a9cd4c4db0311fbbc636ff992ef60ae76d";
    const SUM: &str = "a@sha256:9ac1c43a60e31dca741a6fe8314130a9cd4c4db0311fbbc636ff992ef60ae76d";

    #[test]
    fn nonsense_names_the_source_and_the_attribute() {
        assert!(matches!(parse("alpine", &[]), Err(IdentifierError::Scheme(_))));
        assert!(matches!(parse("oci-layout://a:b", &[]), Err(IdentifierError::Reference { .. })));
        for (key, value) in [("git.keepgitdir", "yes"), ("git.mtime", "now")] {
            let error = parse("git://x/y", &[(key, value)]).unwrap_err();
            assert_eq!(error.to_string(), format!("source `git://x/y`: invalid {key} `{value}`"));
        }
        let error = parse("https://x/y", &[("http.perm", "09")]).unwrap_err();
        assert_eq!(error.to_string(), "source `https://x/y`: invalid http.perm `09`");
        for id in ["4294967295", "-1", "4294967296"] {
            let error = parse("https://x/y", &[("http.uid", id)]).unwrap_err();
            assert_eq!(error.to_string(), format!("source `https://x/y`: invalid http.uid `{id}`"));
        }
    }
}
