//! Signatures of caches: what of a cache is signed, and whose signature it needs to be read.
//!
//! A cache that is written is signed over everything that a reader of it believes ([`statement`],
//! [`inline_statement`]): records, and of layers digests, sizes, media types and annotations. Layers
//! themselves are covered by their digests. A cache that is read is held against the keys of its import and
//! of the daemon's policy before any record of it is used. Signatures are those of OpenSSH, for the
//! namespace `kiln-cache`; they stand beside what BuildKit reads, which passes over them.
//!
//! A signature says nothing about when or where: an older cache of the same signer is as good, and so is a
//! copy elsewhere. What a record says of an operation and its result stays true.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_oci::Digest;
use kiln_signatures::SignatureError;
use kiln_signatures::ssh::{Keys, SigningKey, SshSignature};
use serde::Serialize;

use crate::attributes::AttributeError;
use crate::config::{CacheConfig, ConfigRecord};
use crate::import::{ImportedLayer, is_believed};

/// What signatures of caches are for: those for other things do not count.
const NAMESPACE: &str = "kiln-cache";

/// How many signatures of one cache are looked at.
const MOST_SIGNATURES: usize = 16;

/// Who signs a cache that is written. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CacheSigner(Arc<SigningKey>);

impl PartialEq for CacheSigner {
    fn eq(&self, other: &Self) -> bool {
        self.0.fingerprint() == other.0.fingerprint()
    }
}

impl Eq for CacheSigner {}

impl CacheSigner {
    /// Reads the private key of an export: its text, not the name of a file.
    ///
    /// # Errors
    ///
    /// [`AttributeError::Key`] if it is none. It has no part of the key.
    pub fn parse(text: &str) -> Result<Self, AttributeError> {
        match SigningKey::parse(text.as_bytes()) {
            Ok(key) => Ok(Self(Arc::new(key))),
            Err(error) => Err(not_a_key("sign-key", error)),
        }
    }

    /// What people know the key by.
    pub(crate) fn fingerprint(&self) -> String {
        self.0.fingerprint()
    }

    /// The signature of a statement.
    pub(crate) fn sign(&self, statement: &[u8]) -> String {
        self.0.sign(NAMESPACE, statement)
    }
}

/// Keys of which one must have signed a cache for it to be read. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RequiredSigner {
    keys: Arc<Keys>,
    /// What asks for it, such as `verify-key`.
    asked_by: &'static str,
}

impl RequiredSigner {
    /// Reads public keys, one a line: `ssh-ed25519 AAAA… comment`. `asked_by` is what asks for a
    /// signature, as people know it.
    ///
    /// # Errors
    ///
    /// [`SignatureError`] if there is no key.
    pub fn parse(text: &[u8], asked_by: &'static str) -> Result<Self, SignatureError> {
        Ok(Self { keys: Arc::new(Keys::parse(text)?), asked_by })
    }

    /// Reads the public keys of an import.
    pub(crate) fn of_import(text: &str) -> Result<Self, AttributeError> {
        let read = Self::parse(text.as_bytes(), "verify-key");
        read.map_err(|error| not_a_key("verify-key", error))
    }

    /// What people know the keys by.
    pub(crate) fn fingerprints(&self) -> Vec<String> {
        self.keys.fingerprints()
    }

    /// Says whether one of the keys has signed a statement.
    fn check(&self, statement: &[u8], signatures: &[String]) -> Result<(), Untrusted> {
        let wanted = || Wanted { by: self.asked_by, keys: self.fingerprints().join(" or ") };
        if signatures.is_empty() {
            return Err(Untrusted::NotSigned(wanted()));
        }
        let mut first = None;
        for text in signatures.iter().take(MOST_SIGNATURES) {
            let verified = SshSignature::parse(text.as_bytes())
                .and_then(|signature| signature.verify(NAMESPACE, statement, &self.keys));
            match verified {
                Ok(_) => return Ok(()),
                Err(error) => {
                    // That of a wanted key which does not fit says more than those of strangers.
                    let is_better = matches!(error, SignatureError::Wrong { .. });
                    if first.is_none() || is_better {
                        first = Some(error);
                    }
                }
            }
        }
        match first {
            Some(SignatureError::Wrong { by }) => Err(Untrusted::Altered { by, wanted: wanted() }),
            Some(error) => Err(Untrusted::Other { error, wanted: wanted() }),
            None => Err(Untrusted::NotSigned(wanted())),
        }
    }
}

/// Whose signature is wanted.
#[derive(Debug)]
pub struct Wanted {
    by: &'static str,
    keys: String,
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} wants a signature by {}", self.by, self.keys)
    }
}

/// Why a cache is not read although it is there.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// It has no signature.
    #[error("it is not signed, and {0}")]
    NotSigned(Wanted),
    /// A wanted key has signed, but something else.
    #[error("it is not what {by} signed; {wanted}")]
    Altered {
        /// The key.
        by: String,
        /// Whose signature is wanted.
        wanted: Wanted,
    },
    /// Its signature is one of someone else, or none.
    #[error("{wanted}")]
    Other {
        /// Whose signature is wanted.
        wanted: Wanted,
        /// What is wrong with the signature.
        #[source]
        error: SignatureError,
    },
}

/// Holds a cache against everyone whose signature it needs.
///
/// # Errors
///
/// [`Untrusted`] if one of them has not signed it.
pub(crate) fn check(
    required: &[RequiredSigner],
    signatures: &[String],
    statement: impl FnOnce() -> Vec<u8>,
) -> Result<(), Untrusted> {
    if required.is_empty() {
        return Ok(());
    }
    let statement = statement();
    required.iter().try_for_each(|required| required.check(&statement, signatures))
}

/// What is signed of a cache with layers of its own: its config, and of each layer what is believed of it.
/// The bytes are made of what was understood, so that nothing else can be meant by what was signed.
pub(crate) fn statement(config: &CacheConfig, layers: &BTreeMap<Digest, ImportedLayer>) -> Vec<u8> {
    let layer = |layer: &crate::config::ConfigLayer| {
        let descriptor = layers.get(&layer.blob).map(|layer| &layer.descriptor);
        let annotations = descriptor.iter().flat_map(|descriptor| &descriptor.annotations);
        let annotations = annotations.filter(|(name, _)| is_believed(name));
        SignedLayer {
            blob: layer.blob.to_string(),
            parent: layer.parent,
            media_type: descriptor.map(|descriptor| descriptor.media_type.clone()),
            size: descriptor.map(|descriptor| descriptor.size),
            annotations: annotations.map(|(name, value)| (name.clone(), value.clone())).collect(),
        }
    };
    json(&Statement {
        kind: "kiln.cache.v1",
        layers: config.layers.iter().map(layer).collect(),
        diff_ids: &[],
        records: &config.records,
    })
}

/// What is signed of a cache that rides in an image: its records, and what the layers are uncompressed.
pub(crate) fn inline_statement(records: &[ConfigRecord], diff_ids: &[Digest]) -> Vec<u8> {
    json(&Statement { kind: "kiln.inline-cache.v1", layers: Vec::new(), diff_ids, records })
}

fn json(statement: &Statement<'_>) -> Vec<u8> {
    // Texts and numbers always have a form as JSON.
    serde_json::to_vec(statement).unwrap_or_default()
}

/// The form in which a cache is signed. What it is comes first, so that none is taken for another.
#[derive(Serialize)]
struct Statement<'a> {
    kind: &'static str,
    layers: Vec<SignedLayer>,
    diff_ids: &'a [Digest],
    records: &'a [ConfigRecord],
}

#[derive(Serialize)]
struct SignedLayer {
    blob: String,
    parent: i64,
    media_type: Option<String>,
    size: Option<u64>,
    annotations: BTreeMap<String, String>,
}

fn not_a_key(attribute: &'static str, error: SignatureError) -> AttributeError {
    AttributeError::Key { attribute, why: error.to_string() }
}
