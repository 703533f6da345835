//! Signatures of OpenSSH (`PROTOCOL.sshsig`), as git and `ssh-keygen -Y sign` make them.
//!
//! The signature carries its key. It is accepted if that is one of those that are given, which are lines of
//! a file of authorized keys. Keys that live in a device (`sk-…`) are taken as well. What a signature is for
//! is its namespace; [`SigningKey`] makes signatures.

mod signing;

pub use signing::SigningKey;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::armor::{self, Block};
use crate::cursor::Cursor;
use crate::error::SignatureError;
use crate::hash::Hash;
use crate::primitives::{self, Curve, PublicKey};

/// What begins an armored signature.
pub(crate) const BEGIN: &[u8] = b"-----BEGIN SSH SIGNATURE-----";

/// What git signs for.
pub(crate) const GIT: &str = "git";
const MAGIC: &[u8] = b"SSHSIG";
/// How many keys may be given.
const MOST_KEYS: usize = 1024;
/// Somebody was there when the device signed.
const USER_PRESENT: u8 = 1;

/// Keys that signatures may be of.
#[derive(Debug)]
pub struct Keys(Vec<Vec<u8>>);

impl Keys {
    /// Reads public keys, one a line: `ssh-ed25519 AAAA… comment`.
    ///
    /// # Errors
    ///
    /// [`SignatureError::SshKey`] if there is none.
    pub fn parse(text: &[u8]) -> Result<Self, SignatureError> {
        let failed = |why: &str| SignatureError::SshKey(why.to_owned());
        let text = std::str::from_utf8(text).map_err(|_| failed("it is no text"))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        let keys: Vec<_> = lines.filter_map(key_of).take(MOST_KEYS).collect();
        if keys.is_empty() {
            return Err(failed(
                "no key found, expected a line such as `ssh-ed25519 AAAA… comment`",
            ));
        }
        Ok(Self(keys))
    }

    /// What people know the keys by: `SHA256:…` of each, as `ssh-keygen -l` shows it.
    pub fn fingerprints(&self) -> Vec<String> {
        self.0.iter().map(|key| fingerprint(key)).collect()
    }
}

/// The key of a line. What stands before it are its options, which are for logins.
fn key_of(line: &str) -> Option<Vec<u8>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    words.windows(2).find_map(|pair| {
        let key = STANDARD.decode(pair[1]).ok()?;
        (Cursor(&key).text()? == pair[0]).then_some(key)
    })
}

/// A signature, with the key it says it is of.
#[derive(Debug)]
pub struct SshSignature {
    key: Vec<u8>,
    namespace: String,
    reserved: Vec<u8>,
    hash: String,
    signature: Vec<u8>,
}

impl SshSignature {
    /// Reads an armored signature.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Format`] and [`SignatureError::Unsupported`].
    pub fn parse(text: &[u8]) -> Result<Self, SignatureError> {
        let failed = |why: String| SignatureError::Format(why);
        let blocks = armor::blocks(text).map_err(failed)?;
        let [Block { label, bytes }] = blocks.as_slice() else {
            return Err(failed("expected one SSH SIGNATURE".into()));
        };
        if label != "SSH SIGNATURE" {
            return Err(failed(format!("expected an SSH SIGNATURE, got a {label}")));
        }
        let mut cursor = Cursor(bytes);
        if cursor.take(MAGIC.len()) != Some(MAGIC) {
            return Err(failed("it does not begin as one of SSH does".into()));
        }
        match cursor.u32() {
            Some(1) => {}
            other => {
                let version = other.unwrap_or_default();
                let what = format!("an SSH signature of version {version}");
                return Err(SignatureError::Unsupported(what));
            }
        }
        let read = |cursor: &mut Cursor<'_>| {
            Some(Self {
                key: cursor.string()?.to_vec(),
                namespace: cursor.text()?.to_owned(),
                reserved: cursor.string()?.to_vec(),
                hash: cursor.text()?.to_owned(),
                signature: cursor.string()?.to_vec(),
            })
        };
        let found = read(&mut cursor).ok_or_else(|| failed("it is cut".into()))?;
        match cursor.is_empty() {
            true => Ok(found),
            false => Err(failed("something follows it".into())),
        }
    }

    /// Says who signed `content` for a namespace such as `git`, as OpenSSH writes the hash of a key.
    ///
    /// # Errors
    ///
    /// [`SignatureError`].
    pub fn verify(
        &self,
        wanted: &'static str,
        content: &[u8],
        keys: &Keys,
    ) -> Result<String, SignatureError> {
        let by = fingerprint(&self.key);
        if self.namespace != wanted {
            let namespace = self.namespace.chars().take(100).collect();
            return Err(SignatureError::Namespace { by, namespace, wanted });
        }
        if !keys.0.contains(&self.key) {
            return Err(SignatureError::Foreign { by });
        }
        let hash = match self.hash.as_str() {
            "sha256" => Hash::Sha256,
            "sha512" => Hash::Sha512,
            other => {
                let name: String = other.chars().take(20).collect();
                let what = format!("an SSH signature over the hash {name}");
                return Err(SignatureError::Unsupported(what));
            }
        };
        let digest = hash.of(content);
        match self.is_over(&signed_message(wanted, &self.reserved, &self.hash, &digest))? {
            true => Ok(by),
            false => Err(SignatureError::Wrong { by }),
        }
    }

    fn is_over(&self, message: &[u8]) -> Result<bool, SignatureError> {
        let unsupported = |name: &str| {
            let name: String = name.chars().take(60).collect();
            Err(SignatureError::Unsupported(format!("an SSH key or signature of type {name}")))
        };
        let cut = || SignatureError::Format("its key or its numbers are cut".into());
        let mut key = Cursor(&self.key);
        let mut signature = Cursor(&self.signature);
        let name = key.text().ok_or_else(cut)?;
        let Some((public, application)) = public_key(name, &mut key) else {
            return unsupported(name);
        };
        if let Some(weakness) = public.weakness() {
            return Err(SignatureError::Unsupported(weakness));
        }
        let kind = signature.text().ok_or_else(cut)?;
        let numbers = signature.string().ok_or_else(cut)?;
        // A device signs more than the message: for whom, whether somebody was there, how often it has.
        let message = match application {
            None => message.to_vec(),
            Some(application) => {
                let flags = signature.u8().ok_or_else(cut)?;
                let count = signature.u32().ok_or_else(cut)?;
                if flags & USER_PRESENT == 0 {
                    return Ok(false);
                }
                let (of, over) = (Hash::Sha256.of(application), Hash::Sha256.of(message));
                [&of[..], &[flags], &count.to_be_bytes(), &over].concat()
            }
        };
        if !signature.is_empty() {
            return Ok(false);
        }
        Ok(match (&public, kind) {
            (PublicKey::Rsa(modulus, exponent), "rsa-sha2-256" | "rsa-sha2-512") => {
                let hash = if kind.ends_with("256") { Hash::Sha256 } else { Hash::Sha512 };
                primitives::rsa(modulus, exponent, hash, &hash.of(&message), numbers)
            }
            (PublicKey::Ed25519(key), kind) if kind == name => {
                primitives::ed25519(key, &message, numbers)
            }
            (PublicKey::Ecdsa(curve, point), kind) if kind == name => {
                let mut numbers = Cursor(numbers);
                let pair = numbers.string().zip(numbers.string()).ok_or_else(cut)?;
                let hash = match curve {
                    Curve::P256 => Hash::Sha256,
                    Curve::P384 => Hash::Sha384,
                };
                primitives::ecdsa(*curve, point, hash, &message, pair).unwrap_or(false)
            }
            (_, kind) => return unsupported(kind),
        })
    }
}

/// What people know a key by.
fn fingerprint(key: &[u8]) -> String {
    let sum = STANDARD.encode(Hash::Sha256.of(key));
    format!("SHA256:{}", sum.trim_end_matches('='))
}

/// The bytes over which a key signs, of content with this digest.
fn signed_message(namespace: &str, reserved: &[u8], hash: &str, digest: &[u8]) -> Vec<u8> {
    let mut message = MAGIC.to_vec();
    for part in [namespace.as_bytes(), reserved, hash.as_bytes(), digest] {
        put(&mut message, part);
    }
    message
}

/// Adds a string of SSH: its length in bytes, then its bytes.
fn put(to: &mut Vec<u8>, part: &[u8]) {
    let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
    to.extend_from_slice(&length.to_be_bytes());
    to.extend_from_slice(part);
}

/// A key, and for whom it signs if it lives in a device.
fn public_key<'a>(name: &str, key: &mut Cursor<'a>) -> Option<(PublicKey, Option<&'a [u8]>)> {
    let public = match name {
        "ssh-rsa" => {
            let exponent = key.string()?.to_vec();
            PublicKey::Rsa(key.string()?.to_vec(), exponent)
        }
        "ssh-ed25519" | "sk-ssh-ed25519@openssh.com" => {
            PublicKey::Ed25519(key.string()?.try_into().ok()?)
        }
        "ecdsa-sha2-nistp256" | "sk-ecdsa-sha2-nistp256@openssh.com" => {
            key.string().filter(|curve| *curve == b"nistp256")?;
            PublicKey::Ecdsa(Curve::P256, key.string()?.to_vec())
        }
        "ecdsa-sha2-nistp384" => {
            key.string().filter(|curve| *curve == b"nistp384")?;
            PublicKey::Ecdsa(Curve::P384, key.string()?.to_vec())
        }
        _ => return None,
    };
    let application = match name.starts_with("sk-") {
        true => Some(key.string()?),
        false => None,
    };
    key.is_empty().then_some((public, application))
}
