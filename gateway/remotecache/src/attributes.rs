//! What a client asks of caches: types and attributes as text come in, values go out.
//!
//! The names of attributes are BuildKit's. What this version cannot do is refused by name; what has
//! no meaning for a type of cache is listed, so that its client can be shown that. What those of
//! clouds mean is said in `cloud`.

use std::collections::BTreeMap;

use kiln_frontend::{CacheImport, boolean};
use kiln_oci::{Digest, Reference};
use kiln_store::{Compression, CompressionKind};

use crate::cloud::{CloudCache, Clouds, without_login};
use crate::mounts::{self, MountExport};
use crate::signing::{CacheSigner, RequiredSigner};

/// The attribute of an export with the text of the private key that signs it.
const SIGN_KEY: &str = "sign-key";

/// The attribute of an import with the lines of the public keys of which one must have signed it.
const VERIFY_KEY: &str = "verify-key";

/// The types of caches that are written and read here.
const SUPPORTED: &[&str] = &["azblob", "gha", "inline", "local", "registry", "s3"];

/// The attributes of exports by type; those of the client's end are among them.
const EXPORT_ATTRIBUTES: &[(&str, &[&str])] = &[
    (
        "azblob",
        &[
            "account_url",
            "account_name",
            "container",
            "prefix",
            "blobs_prefix",
            "manifests_prefix",
            "name",
            "secret_access_key",
            "mode",
            "mounts",
            "mounts-max-size",
            SIGN_KEY,
            "ignore-error",
            "compression",
            "compression-level",
            "force-compression",
        ],
    ),
    (
        "gha",
        &[
            "url",
            "url_v2",
            "token",
            "scope",
            "version",
            "repository",
            "ghtoken",
            "timeout",
            "mode",
            "mounts",
            "mounts-max-size",
            SIGN_KEY,
            "ignore-error",
            "compression",
            "compression-level",
            "force-compression",
        ],
    ),
    ("inline", &["mode", SIGN_KEY, "ignore-error"]),
    (
        "local",
        &[
            "dest",
            "tag",
            "reset",
            "mode",
            "mounts",
            "mounts-max-size",
            SIGN_KEY,
            "ignore-error",
            "image-manifest",
            "oci-mediatypes",
            "compression",
            "compression-level",
            "force-compression",
        ],
    ),
    (
        "registry",
        &[
            "ref",
            "registry.insecure",
            "mode",
            "mounts",
            "mounts-max-size",
            SIGN_KEY,
            "ignore-error",
            "image-manifest",
            "oci-mediatypes",
            "compression",
            "compression-level",
            "force-compression",
        ],
    ),
    (
        "s3",
        &[
            "bucket",
            "region",
            "prefix",
            "blobs_prefix",
            "manifests_prefix",
            "name",
            "touch_refresh",
            "endpoint_url",
            "use_path_style",
            "access_key_id",
            "secret_access_key",
            "session_token",
            "upload_parallelism",
            "disable_accept_encoding",
            "retry_mode",
            "retry_max_attempts",
            "mode",
            "mounts",
            "mounts-max-size",
            SIGN_KEY,
            "ignore-error",
            "compression",
            "compression-level",
            "force-compression",
        ],
    ),
];

/// The attributes of imports by type. Those of clouds that are for exports may be there, too, because
/// both are often given the same.
const IMPORT_ATTRIBUTES: &[(&str, &[&str])] = &[
    (
        "azblob",
        &[
            "account_url",
            "account_name",
            "container",
            "prefix",
            "blobs_prefix",
            "manifests_prefix",
            "name",
            "secret_access_key",
            VERIFY_KEY,
        ],
    ),
    (
        "gha",
        &[
            "url",
            "url_v2",
            "token",
            "scope",
            "version",
            "repository",
            "ghtoken",
            "timeout",
            VERIFY_KEY,
        ],
    ),
    ("local", &["src", "digest", "tag", VERIFY_KEY]),
    ("registry", &["ref", "registry.insecure", VERIFY_KEY]),
    (
        "s3",
        &[
            "bucket",
            "region",
            "prefix",
            "blobs_prefix",
            "manifests_prefix",
            "name",
            "touch_refresh",
            "endpoint_url",
            "use_path_style",
            "access_key_id",
            "secret_access_key",
            "session_token",
            "upload_parallelism",
            "disable_accept_encoding",
            "retry_mode",
            "retry_max_attempts",
            VERIFY_KEY,
        ],
    ),
];

/// Which results an export of a cache has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// That of the whole build, and others only if they are there already as they are to be written.
    #[default]
    Min,
    /// Those of all steps.
    Max,
}

/// A cache in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryCache {
    /// Its name.
    pub reference: Reference,
    /// The registry may have whatever certificate, or none.
    pub insecure: bool,
}

/// Where a cache is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportTo {
    /// Into the config of the images that the build exports.
    Inline,
    /// Into a content store of the client, by its name.
    Local(String),
    /// Into a registry.
    Registry(RegistryCache),
    /// Into a cloud.
    Cloud(CloudCache),
}

/// An export of the cache, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheExport {
    /// Where.
    pub to: ExportTo,
    /// What.
    pub mode: Mode,
    /// The build goes on when it fails.
    pub ignore_error: bool,
    /// How layers that have to be made are compressed.
    pub compression: Compression,
    /// The manifest is that of an image; otherwise an index.
    pub image_manifest: bool,
    /// The media types are OCI's; otherwise Docker's.
    pub oci_types: bool,
    /// The cache mounts that go along.
    pub mounts: MountExport,
    /// Who signs it, if anyone.
    pub signer: Option<CacheSigner>,
    /// What it is called in the progress.
    pub name: String,
}

/// Where a cache is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportFrom {
    /// From a content store of the client, by its name; its root is the manifest of this digest.
    Local {
        /// The name of the store.
        store: String,
        /// The manifest.
        digest: Digest,
    },
    /// From a registry.
    Registry(RegistryCache),
    /// From a cloud.
    Cloud(CloudCache),
}

/// Why caches cannot be as they are asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// There is no such type.
    #[error("unknown cache {direction}: {kind:?}, known types are {}", SUPPORTED.join(", "))]
    UnknownKind {
        /// Importer or exporter.
        direction: &'static str,
        /// The type.
        kind: String,
    },
    /// What is asked for is not there, or not any more.
    #[error("{attribute} of a {kind} cache is not supported: {instead}")]
    Refused {
        /// The type.
        kind: &'static str,
        /// The attribute.
        attribute: &'static str,
        /// Why, and what to do instead.
        instead: &'static str,
    },
    /// Something is missing, which the daemon might have known.
    #[error(
        "{kind} cache requires {attribute}{}",
        variable.map(|name| format!(" (or ${name} of the daemon)")).unwrap_or_default()
    )]
    MissingInCloud {
        /// The type.
        kind: &'static str,
        /// The attribute.
        attribute: &'static str,
        /// The variable that may stand for it.
        variable: Option<&'static str>,
    },
    /// There is no login, or one that is of no use.
    #[error("no login for the {kind} cache: {why}")]
    Login {
        /// The type.
        kind: &'static str,
        /// What is wrong.
        why: String,
    },
    /// Something is missing.
    #[error("{kind} cache {direction} requires {attribute}")]
    Missing {
        /// The type.
        kind: &'static str,
        /// Importer or exporter.
        direction: &'static str,
        /// The attribute.
        attribute: &'static str,
    },
    /// A value that is none.
    #[error("invalid {name} of a cache: `{value}`, expected {expected}")]
    Value {
        /// The attribute.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A key that is none. The text has no part of it.
    #[error(
        "{attribute} of a cache is the text of a key, which `kiln` reads from the file that is named: {why}"
    )]
    Key {
        /// The attribute.
        attribute: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Two things that exclude each other.
    #[error(
        "image-manifest=true needs oci-mediatypes=true: a cache as an image has OCI media types"
    )]
    DockerImageManifest,
}

/// Attributes that nobody is shown: logins, and keys that sign.
const SECRET_ATTRIBUTES: &[&str] =
    &["access_key_id", "ghtoken", "secret_access_key", "session_token", SIGN_KEY, "token"];

/// A list of caches, as frontends are given it (`cache-imports`), without logins in it; empty if it is
/// no such list.
pub fn without_secrets(imports: &str) -> String {
    let Ok(mut imports) = serde_json::from_str::<Vec<serde_json::Value>>(imports) else {
        return String::new();
    };
    for import in &mut imports {
        let fields = import.as_object_mut().into_iter().flatten();
        let attrs = fields.filter(|(name, _)| name.eq_ignore_ascii_case("attrs"));
        for (name, value) in attrs.filter_map(|(_, attrs)| attrs.as_object_mut()).flatten() {
            let text = value.as_str().unwrap_or_default();
            *value = match SECRET_ATTRIBUTES.contains(&name.as_str()) {
                true => "xxxxx".into(),
                false => without_login(text).into(),
            };
        }
    }
    serde_json::to_string(&imports).unwrap_or_default()
}

/// The attributes that say which cache it is, by which it is called in progress.
const NAMES: &[&str] = &["ref", "src", "dest", "scope", "name", "bucket", "account_url", "url"];

/// A cache as people call it: its type and where it is.
pub fn cache_name(cache: &CacheImport) -> String {
    match named(cache) {
        Some(name) => format!("{name} ({})", cache.kind),
        None => cache.kind.clone(),
    }
}

/// Where a cache is, without a login, if it says it.
fn named(cache: &CacheImport) -> Option<String> {
    let name = NAMES.iter().find_map(|name| cache.attrs.get(*name).filter(|text| !text.is_empty()));
    name.map(|name| without_login(name))
}

/// The attributes that say nothing for a cache of its type.
fn without_effect(table: &[(&str, &[&str])], cache: &CacheImport) -> Vec<String> {
    let known = table.iter().find(|(kind, _)| *kind == cache.kind).map(|(_, names)| *names);
    let known = known.unwrap_or_default();
    cache.attrs.keys().filter(|name| !known.contains(&name.as_str())).cloned().collect()
}

fn check_kind(
    cache: &CacheImport,
    direction: &'static str,
    supported: &[(&str, &[&str])],
) -> Result<(), AttributeError> {
    match supported.iter().any(|(kind, _)| *kind == cache.kind) {
        true => Ok(()),
        false => {
            let kind = cache.kind.chars().take(100).collect();
            Err(AttributeError::UnknownKind { direction, kind })
        }
    }
}

impl CacheExport {
    /// Reads the attributes of an export; also those that have no effect.
    ///
    /// # Errors
    ///
    /// [`AttributeError`].
    pub fn parse(
        cache: &CacheImport,
        clouds: &Clouds,
    ) -> Result<(Self, Vec<String>), AttributeError> {
        check_kind(cache, "exporter", EXPORT_ATTRIBUTES)?;
        let attributes = Attributes(&cache.attrs);
        let to = match clouds.open(&cache.kind, &cache.attrs)? {
            Some(cloud) => ExportTo::Cloud(cloud),
            None => match cache.kind.as_str() {
                "local" => ExportTo::Local(attributes.required("local", "exporter", "dest")?),
                "registry" => ExportTo::Registry(attributes.registry("exporter")?),
                _ => ExportTo::Inline,
            },
        };
        let oci_types = attributes.flag("oci-mediatypes")?.unwrap_or(true);
        let image_manifest = attributes.flag("image-manifest")?.unwrap_or(oci_types);
        if image_manifest && !oci_types {
            return Err(AttributeError::DockerImageManifest);
        }
        let mode = match attributes.text("mode") {
            None | Some("min") => Mode::Min,
            Some("max") => Mode::Max,
            Some(other) => return Err(value("mode", other, "min or max")),
        };
        let export = Self {
            to,
            mode,
            ignore_error: attributes.flag("ignore-error")?.unwrap_or(false),
            compression: attributes.compression()?,
            image_manifest,
            oci_types,
            mounts: attributes.mounts()?,
            // An empty one is no key, rather than none.
            signer: cache.attrs.get(SIGN_KEY).map(|key| CacheSigner::parse(key)).transpose()?,
            name: cache_name(cache),
        };
        Ok((export, without_effect(EXPORT_ATTRIBUTES, cache)))
    }
}

impl ImportFrom {
    /// Checks that there is this type of cache.
    ///
    /// # Errors
    ///
    /// [`AttributeError::UnknownKind`] if there is not.
    pub fn check_kind(cache: &CacheImport) -> Result<(), AttributeError> {
        check_kind(cache, "importer", IMPORT_ATTRIBUTES)
    }

    /// The signer that an import itself asks for, if it does.
    ///
    /// # Errors
    ///
    /// [`AttributeError::Key`] if its keys are none.
    pub(crate) fn signer(cache: &CacheImport) -> Result<Option<RequiredSigner>, AttributeError> {
        // Whoever asks for a signature and names no key gets no cache, rather than an unsigned one.
        cache.attrs.get(VERIFY_KEY).map(|keys| RequiredSigner::of_import(keys)).transpose()
    }

    /// What a policy knows the cache by: the whole reference in a registry; for other caches the type,
    /// `://`, and what the client calls it.
    pub(crate) fn address(&self, cache: &CacheImport) -> String {
        match self {
            Self::Registry(registry) => registry.reference.to_string(),
            Self::Local { store, .. } => format!("local://{store}"),
            Self::Cloud(_) => format!("{}://{}", cache.kind, named(cache).unwrap_or_default()),
        }
    }

    /// Reads the attributes of an import; also those that have no effect.
    ///
    /// # Errors
    ///
    /// [`AttributeError`].
    pub fn parse(
        cache: &CacheImport,
        clouds: &Clouds,
    ) -> Result<(Self, Vec<String>), AttributeError> {
        Self::check_kind(cache)?;
        let attributes = Attributes(&cache.attrs);
        let from = match clouds.open(&cache.kind, &cache.attrs)? {
            Some(cloud) => Self::Cloud(cloud),
            None if cache.kind == "local" => {
                let digest = attributes.required("local", "importer", "digest")?;
                let digest =
                    digest.parse().map_err(|_| value("digest", &digest, "a digest, sha256:…"))?;
                Self::Local { store: attributes.required("local", "importer", "src")?, digest }
            }
            None => Self::Registry(attributes.registry("importer")?),
        };
        Ok((from, without_effect(IMPORT_ATTRIBUTES, cache)))
    }
}

/// A number of bytes, with a unit or without one. Units are powers of 1024, as in the configuration.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let power = match text[digits.len()..].trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(1024_u64.pow(power))
}

fn value(name: &'static str, value: &str, expected: &'static str) -> AttributeError {
    AttributeError::Value { name, value: value.chars().take(200).collect(), expected }
}

struct Attributes<'a>(&'a BTreeMap<String, String>);

impl Attributes<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    fn required(
        &self,
        kind: &'static str,
        direction: &'static str,
        attribute: &'static str,
    ) -> Result<String, AttributeError> {
        let missing = AttributeError::Missing { kind, direction, attribute };
        self.text(attribute).map(str::to_owned).ok_or(missing)
    }

    fn flag(&self, name: &'static str) -> Result<Option<bool>, AttributeError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        boolean(text).map(Some).ok_or_else(|| value(name, text, "true or false"))
    }

    fn registry(&self, direction: &'static str) -> Result<RegistryCache, AttributeError> {
        let name = self.required("registry", direction, "ref")?;
        let reference = name.parse::<Reference>();
        let reference = reference.map_err(|_| value("ref", &name, "the name of an image"))?;
        Ok(RegistryCache { reference, insecure: self.flag("registry.insecure")?.unwrap_or(false) })
    }

    fn mounts(&self) -> Result<MountExport, AttributeError> {
        let ids = self.text("mounts").unwrap_or_default().split(',').map(str::trim);
        let ids = ids.filter(|id| !id.is_empty()).map(str::to_owned).collect();
        let limit = match self.text("mounts-max-size") {
            None => mounts::LIMIT,
            Some(text) => bytes(text).ok_or_else(|| {
                value("mounts-max-size", text, "bytes, or a size such as 500MB or 2GB")
            })?,
        };
        Ok(MountExport { ids, limit })
    }

    fn compression(&self) -> Result<Compression, AttributeError> {
        let kind = match self.text("compression") {
            None => CompressionKind::default(),
            Some(text) => CompressionKind::parse(text)
                .ok_or_else(|| value("compression", text, "gzip, zstd, estargz or uncompressed"))?,
        };
        let (low, high) = kind.levels();
        let expected = match kind {
            CompressionKind::Zstd => "a number from 1 to 22",
            _ => "a number from 0 to 12",
        };
        let level = match self.text("compression-level") {
            None => None,
            Some(text) => {
                let level = text.parse::<i32>().ok().filter(|level| (low..=high).contains(level));
                Some(level.ok_or_else(|| value("compression-level", text, expected))?)
            }
        };
        Ok(Compression { kind, level, force: self.flag("force-compression")?.unwrap_or(false) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(kind: &str, attrs: &[(&str, &str)]) -> CacheImport {
        let attrs = attrs.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        CacheImport::default().with_kind(kind).with_attrs(attrs.collect())
    }

    fn exported(kind: &str, attrs: &[(&str, &str)]) -> Result<CacheExport, String> {
        CacheExport::parse(&cache(kind, attrs), &Clouds::default())
            .map(|(export, _)| export)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn attributes_of_exports_are_read_as_buildkit_has_them() {
        let local = exported("local", &[("dest", "/c")]).unwrap();
        assert_eq!(local.to, ExportTo::Local("/c".into()));
        assert_eq!((local.mode, local.ignore_error), (Mode::Min, false));
        assert!(local.image_manifest && local.oci_types);
        let attrs = [
            ("ref", "example.com/c"),
            ("registry.insecure", "true"),
            ("mode", "max"),
            ("ignore-error", "1"),
            ("oci-mediatypes", "false"),
            ("compression", "zstd"),
            ("compression-level", "9"),
            ("force-compression", "true"),
        ];
        let registry = exported("registry", &attrs).unwrap();
        let ExportTo::Registry(to) = &registry.to else { panic!("{registry:?}") };
        assert_eq!(
            (to.reference.to_string().as_str(), to.insecure),
            ("example.com/c:latest", true)
        );
        assert_eq!((registry.mode, registry.ignore_error), (Mode::Max, true));
        assert!(!registry.image_manifest, "Docker has no such manifest of a cache");
        let compression = Compression { kind: CompressionKind::Zstd, level: Some(9), force: true };
        assert_eq!(registry.compression, compression);
        assert_eq!(exported("inline", &[]).unwrap().to, ExportTo::Inline);
    }

    #[test]
    fn cache_mounts_are_named_by_id_and_limited_in_size() {
        let mounts = |attrs: &[(&str, &str)]| {
            let attrs = [&[("dest", "/c")], attrs].concat();
            exported("local", &attrs).map(|export| export.mounts)
        };
        assert_eq!(mounts(&[]), Ok(MountExport { ids: Vec::new(), limit: 1 << 30 }));
        let chosen = mounts(&[("mounts", "go, /root/.cache,"), ("mounts-max-size", "5MB")]);
        let ids = vec!["go".into(), "/root/.cache".into()];
        assert_eq!(chosen, Ok(MountExport { ids, limit: 5 << 20 }));
        let limit = |text| mounts(&[("mounts-max-size", text)]).map(|mounts| mounts.limit);
        assert_eq!((limit("77"), limit("1GiB"), limit("2k")), (Ok(77), Ok(1 << 30), Ok(2048)));
        for bad in ["MB", "-1", "10 apples", "99999999999TB", "1.5GB"] {
            assert!(limit(bad).unwrap_err().contains("mounts-max-size"), "{bad}");
        }
        let inline = cache("inline", &[("mounts", "go")]);
        let (_, unused) = CacheExport::parse(&inline, &Clouds::default()).unwrap();
        assert_eq!(unused, ["mounts"], "it has no blobs of its own");
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (kind, attrs, words) in [
            ("local", &[][..], "local cache exporter requires dest"),
            ("registry", &[], "registry cache exporter requires ref"),
            ("registry", &[("ref", "A b")], "invalid ref of a cache: `A b`"),
            ("inline", &[("mode", "mx")], "invalid mode of a cache: `mx`, expected min or max"),
            ("inline", &[("ignore-error", "maybe")], "invalid ignore-error of a cache: `maybe`"),
            ("local", &[("dest", "c"), ("compression", "lz4")], "expected gzip, zstd, estargz"),
            ("local", &[("dest", "c"), ("compression-level", "99")], "a number from 0 to 12"),
            (
                "local",
                &[("dest", "c"), ("image-manifest", "true"), ("oci-mediatypes", "false")],
                "image-manifest=true needs oci-mediatypes=true",
            ),
            ("s3", &[("bucket", "b")], "s3 cache requires region (or $AWS_REGION of the daemon)"),
            ("s4", &[], "unknown cache exporter: \"s4\", known types are azblob, gha, inline"),
        ] {
            let error = exported(kind, attrs).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn attributes_of_imports_say_where_the_cache_is() {
        let digest = Digest::sha256("manifest");
        let local = cache("local", &[("src", "/c"), ("digest", digest.as_str()), ("tag", "t")]);
        let clouds = Clouds::default();
        let (from, unused) = ImportFrom::parse(&local, &clouds).unwrap();
        assert_eq!((from, unused.len()), (ImportFrom::Local { store: "/c".into(), digest }, 0));
        let registry = cache("registry", &[("ref", "example.com/c:1"), ("mode", "max")]);
        let (from, unused) = ImportFrom::parse(&registry, &clouds).unwrap();
        assert!(matches!(from, ImportFrom::Registry(cache) if !cache.insecure));
        assert_eq!(unused, ["mode"]);
        let error = |kind, attrs: &[(&str, &str)]| {
            ImportFrom::parse(&cache(kind, attrs), &clouds).unwrap_err().to_string()
        };
        assert!(error("local", &[("src", "/c")]).contains("requires digest"));
        assert!(error("inline", &[]).contains("unknown cache importer: \"inline\""));
        assert!(error("gha", &[]).contains("gha cache requires token"));
    }

    #[test]
    fn logins_are_taken_out_of_lists_of_caches() {
        let list = r#"[{"Type":"s3","Attrs":{"bucket":"b","secret_access_key":"k"}},{"Type":"x"}]"#;
        let shown =
            r#"[{"Attrs":{"bucket":"b","secret_access_key":"xxxxx"},"Type":"s3"},{"Type":"x"}]"#;
        assert_eq!(without_secrets(list), shown);
        let list = r#"[{"Type":"azblob","attrs":{"account_url":"https://a:b@c/d?sig=e"}}]"#;
        assert!(without_secrets(list).contains(r#""https://c/d""#));
        assert_eq!(without_secrets("token"), "");
    }

    #[test]
    fn keys_are_texts_and_no_part_of_one_is_shown() {
        let key = include_str!("../../signatures/fixtures/signs");
        for kind in ["inline", "local", "registry"] {
            let attrs = [("dest", "/c"), ("ref", "example.com/c"), ("sign-key", key)];
            let export = exported(kind, &attrs).unwrap();
            let shown = format!("{export:?}");
            assert!(export.signer.is_some() && !shown.contains("PRIVATE"), "{shown}");
        }
        let part = &key[40..80];
        for bad in ["", "/home/me/key", &key[..200], &key.replace("OPENSSH", "EC")] {
            let error = exported("inline", &[("sign-key", bad)]).unwrap_err();
            assert!(error.starts_with("sign-key of a cache is the text of a key"), "{error}");
            assert!(!error.contains(part) && !error.contains("/home/me"), "{error}");
        }
        let list = serde_json::json!([{"Type": "s3", "Attrs": {"sign-key": key}}]).to_string();
        assert_eq!(without_secrets(&list), r#"[{"Attrs":{"sign-key":"xxxxx"},"Type":"s3"}]"#);
        let import = |keys| ImportFrom::signer(&cache("registry", &[("verify-key", keys)]));
        let public = include_str!("../../signatures/fixtures/signs.pub");
        assert!(import(public).unwrap().is_some());
        for bad in ["", "cache.pub", key] {
            let error = import(bad).unwrap_err().to_string();
            assert!(error.starts_with("verify-key of a cache is the text of a key"), "{error}");
            assert!(error.contains("ssh-ed25519 AAAA"), "{error}");
        }
        assert!(ImportFrom::signer(&cache("registry", &[])).unwrap().is_none());
    }

    #[test]
    fn a_policy_knows_a_cache_by_its_whole_reference_or_its_type() {
        let clouds = Clouds::default();
        let address = |kind, attrs: &[(&str, &str)]| {
            let cache = cache(kind, attrs);
            ImportFrom::parse(&cache, &clouds).unwrap().0.address(&cache)
        };
        let digest = Digest::sha256("x");
        assert_eq!(address("registry", &[("ref", "alpine")]), "docker.io/library/alpine:latest");
        let local = [("src", "/c"), ("digest", digest.as_str())];
        assert_eq!(address("local", &local), "local:///c");
        assert_eq!(address("s3", &[("bucket", "b"), ("region", "r"), ("name", "n")]), "s3://n");
    }

    #[test]
    fn a_cache_is_called_by_where_it_is() {
        assert_eq!(
            cache_name(&cache("registry", &[("ref", "example.com/c")])),
            "example.com/c (registry)"
        );
        assert_eq!(cache_name(&cache("gha", &[])), "gha");
    }
}
