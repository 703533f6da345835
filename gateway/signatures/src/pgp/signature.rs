//! A signature packet: what it says of itself, and whether it is over given bytes.

use crate::cursor::Cursor;
use crate::error::SignatureError;
use crate::hash::Hash;
use crate::pgp::key::{Key, algorithm_name};
use crate::pgp::packet::subpackets;
use crate::primitives::{self, PublicKey};

/// What is signed.
pub(crate) mod kind {
    pub(crate) const BINARY: u8 = 0x00;
    pub(crate) const TEXT: u8 = 0x01;
    pub(crate) const CERTIFICATIONS: std::ops::RangeInclusive<u8> = 0x10..=0x13;
    pub(crate) const SUBKEY: u8 = 0x18;
    /// Of a subkey, about the key that it belongs to.
    pub(crate) const PRIMARY: u8 = 0x19;
    pub(crate) const DIRECT: u8 = 0x1f;
    pub(crate) const KEY_REVOKED: u8 = 0x20;
    pub(crate) const SUBKEY_REVOKED: u8 = 0x28;
    pub(crate) const CERTIFICATION_REVOKED: u8 = 0x30;
}

/// A signature of version 4.
#[derive(Debug, Clone)]
pub(crate) struct Signature {
    pub(crate) kind: u8,
    pub(crate) algorithm: u8,
    hash: u8,
    /// The bytes that are signed with the content.
    trailer: Vec<u8>,
    /// The numbers, and what they look like depends on the algorithm.
    numbers: Vec<u8>,
    /// When it was made, in seconds since 1970.
    pub(crate) created: u64,
    /// How long it is good for, in seconds.
    lifetime: Option<u64>,
    /// How long its key is good for, in seconds from when that was made.
    pub(crate) key_lifetime: Option<u64>,
    /// What its key is for.
    pub(crate) flags: Option<u8>,
    /// Why something is revoked.
    pub(crate) reason: Option<String>,
    /// Signatures within it.
    pub(crate) embedded: Vec<Vec<u8>>,
    /// The key, by its fingerprint or the end of that.
    issuers: Vec<Vec<u8>>,
    /// A part that must be understood, and is not.
    unknown: Option<u8>,
}

impl Signature {
    /// Reads the body of a packet.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, SignatureError> {
        match body.first() {
            Some(4) => Self::version_4(body)
                .ok_or_else(|| SignatureError::Format("a signature packet is cut".into())),
            Some(other) => {
                Err(SignatureError::Unsupported(format!("an OpenPGP signature of version {other}")))
            }
            None => Err(SignatureError::Format("a signature packet is empty".into())),
        }
    }

    fn version_4(body: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(body);
        cursor.u8()?;
        let (kind, algorithm, hash) = (cursor.u8()?, cursor.u8()?, cursor.u8()?);
        let length = cursor.u16()?;
        let hashed = cursor.take(usize::from(length))?;
        let head = &body[..6 + usize::from(length)];
        let size = u32::try_from(head.len()).ok()?;
        let trailer = [head, &[4, 0xff], &size.to_be_bytes()].concat();
        let length = cursor.u16()?;
        let loose = cursor.take(usize::from(length))?;
        // Two bytes of the digest, to tell early what is wrong.
        cursor.u16()?;
        let mut signature = Self {
            kind,
            algorithm,
            hash,
            trailer,
            numbers: cursor.0.to_vec(),
            created: 0,
            lifetime: None,
            key_lifetime: None,
            flags: None,
            reason: None,
            embedded: Vec::new(),
            issuers: Vec::new(),
            unknown: None,
        };
        let mut is_dated = false;
        for (kind, is_critical, body) in subpackets(hashed)? {
            let mut value = Cursor(body);
            match kind {
                2 => {
                    signature.created = value.u32()?.into();
                    is_dated = true;
                }
                3 => signature.lifetime = Some(value.u32()?.into()).filter(|time| *time > 0),
                9 => signature.key_lifetime = Some(value.u32()?.into()).filter(|time| *time > 0),
                27 => signature.flags = Some(body.first().copied().unwrap_or_default()),
                29 => {
                    let text = String::from_utf8_lossy(body.get(1..).unwrap_or_default());
                    let text = text.chars().filter(|c| !c.is_control()).take(200);
                    signature.reason = Some(text.collect());
                }
                // Preferences, and what is said of identities: nothing that is decided here.
                4 | 5 | 6 | 7 | 11 | 12 | 21..=26 | 28 | 30 | 31 | 34 | 35 | 39 => {}
                16 | 32 | 33 => signature.loose(kind, body),
                other if is_critical => signature.unknown = Some(other),
                _ => {}
            }
        }
        for (kind, _, body) in subpackets(loose)? {
            signature.loose(kind, body);
        }
        is_dated.then_some(signature)
    }

    /// What may be said without being signed, because it proves itself.
    fn loose(&mut self, kind: u8, body: &[u8]) {
        match (kind, body) {
            (16, id) if id.len() == 8 => self.issuers.push(id.to_vec()),
            // Its first byte is the version of the key.
            (33, [4, fingerprint @ ..]) if fingerprint.len() == 20 => {
                self.issuers.push(fingerprint.to_vec());
            }
            (32, signature) if self.embedded.len() < 4 => self.embedded.push(signature.to_vec()),
            _ => {}
        }
    }

    /// What people know its key by.
    pub(crate) fn by(&self) -> String {
        let longest = self.issuers.iter().max_by_key(|id| id.len());
        longest.map_or_else(|| "an unnamed key".to_owned(), hex::encode_upper)
    }

    /// Whether it may be of a key.
    pub(crate) fn may_be_of(&self, key: &Key) -> bool {
        self.issuers.iter().all(|id| key.fingerprint.ends_with(id))
    }

    /// When it expired, if it has.
    pub(crate) fn expired(&self, now: u64) -> Option<u64> {
        let end = self.created.saturating_add(self.lifetime?);
        (end <= now).then_some(end)
    }

    /// The hash it is over, for content that others made.
    pub(crate) fn strong_hash(&self) -> Result<Hash, SignatureError> {
        match self.hash() {
            Some(hash) if hash != Hash::Sha1 => Ok(hash),
            _ => {
                let name = match self.hash {
                    1 => "MD5".to_owned(),
                    2 => "SHA-1".to_owned(),
                    3 => "RIPEMD-160".to_owned(),
                    11 => "SHA-224".to_owned(),
                    other => format!("number {other}"),
                };
                Err(SignatureError::Unsupported(format!("a signature over the hash {name}")))
            }
        }
    }

    fn hash(&self) -> Option<Hash> {
        match self.hash {
            2 => Some(Hash::Sha1),
            8 => Some(Hash::Sha256),
            9 => Some(Hash::Sha384),
            10 => Some(Hash::Sha512),
            _ => None,
        }
    }

    /// Whether the bytes that it is over must be at hand, rather than their digest.
    pub(crate) fn needs_bytes(&self) -> bool {
        self.algorithm == 19
    }

    /// What is signed after the content.
    pub(crate) fn trailer(&self) -> &[u8] {
        &self.trailer
    }

    /// Whether a key made it over bytes that are here, such as other keys.
    pub(crate) fn is_over(&self, key: &Key, bytes: &[u8]) -> bool {
        let Some(hash) = self.hash() else { return false };
        let message = [bytes, &self.trailer].concat();
        self.verify(key, hash, &hash.of(&message), &message).unwrap_or(false)
    }

    /// Whether a key made it over a message, which ends with the trailer, with this digest.
    pub(crate) fn verify(
        &self,
        key: &Key,
        hash: Hash,
        digest: &[u8],
        message: &[u8],
    ) -> Result<bool, SignatureError> {
        if let Some(unknown) = self.unknown {
            let what = format!("a signature with the critical part {unknown}");
            return Err(SignatureError::Unsupported(what));
        }
        let unsupported = |what: String| Err(SignatureError::Unsupported(what));
        let Some(public) = &key.public else { return unsupported(key.described()) };
        if let Some(weakness) = public.weakness() {
            return unsupported(weakness);
        }
        let mut numbers = Cursor(&self.numbers);
        Ok(match (public, self.algorithm) {
            (PublicKey::Rsa(modulus, exponent), 1 | 3) => numbers.mpi().is_some_and(|signature| {
                primitives::rsa(modulus, exponent, hash, digest, signature)
            }),
            (PublicKey::Ed25519(key), 22) => {
                let whole = |number: &[u8]| {
                    let mut whole = [0; 32];
                    whole.get_mut(32_usize.checked_sub(number.len())?..)?.copy_from_slice(number);
                    Some(whole)
                };
                let pair = numbers.mpi().zip(numbers.mpi());
                let pair = pair.and_then(|(r, s)| Some([whole(r)?, whole(s)?].concat()));
                pair.is_some_and(|signature| primitives::ed25519(key, digest, &signature))
            }
            (PublicKey::Ed25519(key), 27) => primitives::ed25519(key, digest, numbers.0),
            (PublicKey::Ecdsa(curve, point), 19) => {
                let Some(pair) = numbers.mpi().zip(numbers.mpi()) else { return Ok(false) };
                match primitives::ecdsa(*curve, point, hash, message, pair) {
                    Some(is_right) => is_right,
                    None => return unsupported("a signature over that hash by that curve".into()),
                }
            }
            (_, other) if other != key.algorithm => false,
            (_, other) => return unsupported(format!("a signature by {}", algorithm_name(other))),
        })
    }
}
