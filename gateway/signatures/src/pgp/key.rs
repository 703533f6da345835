//! Keys of OpenPGP with what they say of themselves.
//!
//! A [`Certificate`] is a key with its identities and subkeys as they were written down. What of it
//! holds is found out for the one that is said to have signed something: see [`Certificate::check`].

use crate::cursor::Cursor;
use crate::error::SignatureError;
use crate::hash::Hash;
use crate::pgp::packet::{Packet, tag};
use crate::pgp::signature::{Signature, kind};
use crate::primitives::{Curve, PublicKey};

/// How many signatures of a certificate are looked at.
const MOST_SIGNATURES: usize = 512;

/// A key is for signing what others rely on.
const SIGNS: u8 = 0x02;

/// A key, or subkey, of version 4.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) fingerprint: Vec<u8>,
    pub(crate) algorithm: u8,
    /// When it was made, in seconds since 1970.
    created: u64,
    /// `None` if nothing here can tell what it signed.
    pub(crate) public: Option<PublicKey>,
    body: Vec<u8>,
}

/// A key with all that belongs to it.
#[derive(Debug)]
pub(crate) struct Certificate {
    primary: Key,
    /// What says something of the key itself.
    direct: Vec<Signature>,
    /// Identities as they are hashed, each with what says something of it.
    identities: Vec<(Vec<u8>, Vec<Signature>)>,
    subkeys: Vec<(Key, Vec<Signature>)>,
}

/// What holds of a key at some time.
struct Claims<'a> {
    newest: &'a Signature,
}

impl Key {
    fn parse(body: &[u8]) -> Result<Self, String> {
        match body.first() {
            Some(4) => Self::version_4(body).ok_or_else(|| "a key is cut".to_owned()),
            Some(other) => Err(format!("a key of version {other} is not supported")),
            None => Err("a key is empty".to_owned()),
        }
    }

    fn version_4(body: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(body);
        cursor.u8()?;
        let (created, algorithm) = (cursor.u32()?, cursor.u8()?);
        let public = match algorithm {
            1 | 3 => Some(PublicKey::Rsa(cursor.mpi()?.to_vec(), cursor.mpi()?.to_vec())),
            19 => {
                let length = cursor.u8()?;
                let curve = match cursor.take(usize::from(length))? {
                    [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07] => Some(Curve::P256),
                    [0x2b, 0x81, 0x04, 0x00, 0x22] => Some(Curve::P384),
                    _ => None,
                };
                let point = cursor.mpi()?.to_vec();
                curve.map(|curve| PublicKey::Ecdsa(curve, point))
            }
            22 => {
                let length = cursor.u8()?;
                let curve = cursor.take(usize::from(length))?;
                let is_25519 = curve == [0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01];
                match cursor.mpi()? {
                    // The byte before a point that is one number.
                    [0x40, point @ ..] if is_25519 => point.try_into().ok().map(PublicKey::Ed25519),
                    _ => None,
                }
            }
            27 => cursor.take(32)?.try_into().ok().map(PublicKey::Ed25519),
            _ => None,
        };
        let hashed = hashed(body)?;
        let fingerprint = Hash::Sha1.of(&hashed);
        let (created, body) = (created.into(), body.to_vec());
        Some(Self { fingerprint, algorithm, created, public, body })
    }

    /// What people know it by.
    pub(crate) fn name(&self) -> String {
        hex::encode_upper(&self.fingerprint)
    }

    /// What kind of key it is.
    pub(crate) fn described(&self) -> String {
        format!("a key of {}", algorithm_name(self.algorithm))
    }

    /// The bytes that are signed when it is signed.
    fn hashed(&self) -> Vec<u8> {
        hashed(&self.body).unwrap_or_default()
    }
}

fn hashed(body: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(body.len()).ok()?;
    Some([&[0x99][..], &length.to_be_bytes(), body].concat())
}

/// What an algorithm is called.
pub(crate) fn algorithm_name(number: u8) -> String {
    let name = match number {
        1..=3 => "RSA",
        16 | 20 => "ElGamal",
        17 => "DSA",
        18 => "ECDH",
        19 => "ECDSA on a curve other than P-256 and P-384",
        22 => "EdDSA on a curve other than Ed25519",
        27 => "Ed25519",
        28 => "Ed448",
        _ => return format!("algorithm {number}"),
    };
    name.to_owned()
}

impl Certificate {
    /// Reads the certificates of a block.
    pub(crate) fn read(packets: &[Packet<'_>]) -> Result<Vec<Self>, String> {
        let mut found: Vec<Self> = Vec::new();
        let (mut signatures, mut unknown) = (0, None);
        for packet in packets {
            match packet.tag {
                tag::PUBLIC_KEY => match Key::parse(packet.body) {
                    Ok(primary) => {
                        unknown = None;
                        let (direct, identities, subkeys) = Default::default();
                        found.push(Self { primary, direct, identities, subkeys });
                    }
                    // Another key of the same text may do.
                    Err(error) => unknown = Some(error),
                },
                tag::SECRET_KEY | tag::SECRET_SUBKEY => {
                    return Err("it is a private key; keep it, and give the public one".into());
                }
                tag::MARKER | tag::TRUST | tag::PADDING => {}
                _ if unknown.is_some() => {}
                _ => {
                    let certificate = found.last_mut().ok_or("it does not begin with a key")?;
                    if packet.tag == tag::SIGNATURE {
                        signatures += 1;
                        if signatures > MOST_SIGNATURES {
                            return Err(format!("it has more than {MOST_SIGNATURES} signatures"));
                        }
                    }
                    certificate.add(packet);
                }
            }
        }
        match unknown {
            Some(error) if found.is_empty() => Err(error),
            _ => Ok(found),
        }
    }

    /// Takes the next packet. What is not understood says nothing.
    fn add(&mut self, packet: &Packet<'_>) {
        let hashed = |mark: u8| {
            let length = u32::try_from(packet.body.len()).unwrap_or(u32::MAX);
            [&[mark][..], &length.to_be_bytes(), packet.body].concat()
        };
        match packet.tag {
            tag::USER_ID => self.identities.push((hashed(0xb4), Vec::new())),
            tag::USER_ATTRIBUTE => self.identities.push((hashed(0xd1), Vec::new())),
            tag::PUBLIC_SUBKEY => {
                if let Ok(key) = Key::parse(packet.body) {
                    self.subkeys.push((key, Vec::new()));
                }
            }
            tag::SIGNATURE => {
                let Ok(signature) = Signature::parse(packet.body) else { return };
                // What others say of a key is not asked here.
                if !signature.may_be_of(&self.primary) {
                    return;
                }
                match (self.subkeys.last_mut(), self.identities.last_mut()) {
                    (Some((_, of)), _) | (None, Some((_, of))) => of.push(signature),
                    (None, None) => self.direct.push(signature),
                }
            }
            _ => {}
        }
    }

    /// Its keys that may have made a signature.
    pub(crate) fn candidates(&self, signature: &Signature) -> Vec<&Key> {
        let keys = std::iter::once(&self.primary).chain(self.subkeys.iter().map(|(key, _)| key));
        keys.filter(|key| signature.may_be_of(key)).collect()
    }

    /// Whether one of its keys signs for its owner, with what was made at `made`. What it says of itself
    /// counts as it is now; whether it has expired is asked for `at`, because who extends the life of
    /// a key may leave out what was said before.
    pub(crate) fn check(
        &self,
        key: &Key,
        made: u64,
        at: u64,
        now: u64,
    ) -> Result<(), SignatureError> {
        let by = key.name();
        let unusable = |why: String| Err(SignatureError::KeyUnusable { by: by.clone(), why });
        let of_primary = self.primary.hashed();
        let primary = |of: &'_ Signature, more: &[u8]| {
            of.is_over(&self.primary, &[&of_primary, more].concat())
        };
        let revoked = |list: &[Signature], wanted: u8, more: &[u8]| {
            let mut list = list.iter().filter(|signature| signature.kind == wanted);
            list.find(|signature| primary(signature, more)).map(|signature| {
                match signature.reason.as_deref() {
                    None | Some("") => "the key was revoked".to_owned(),
                    Some(reason) => format!("the key was revoked: {reason}"),
                }
            })
        };
        // Wherever it stands: who adds something must not be able to hide it.
        let all = || {
            let identities = self.identities.iter().flat_map(|(_, signatures)| signatures);
            let subkeys = self.subkeys.iter().flat_map(|(_, signatures)| signatures);
            self.direct.iter().chain(identities).chain(subkeys).cloned().collect::<Vec<_>>()
        };
        if let Some(why) = revoked(&all(), kind::KEY_REVOKED, &[]) {
            return unusable(why);
        }
        let holds =
            |signature: &&Signature| signature.created <= now && signature.expired(at).is_none();
        let mut claims: Vec<&Signature> = self
            .direct
            .iter()
            .filter(|signature| signature.kind == kind::DIRECT && primary(signature, &[]))
            .collect();
        for (identity, signatures) in &self.identities {
            if revoked(signatures, kind::CERTIFICATION_REVOKED, identity).is_some() {
                continue;
            }
            let of = signatures.iter().filter(|of| kind::CERTIFICATIONS.contains(&of.kind));
            claims.extend(of.filter(|of| primary(of, identity)));
        }
        let newest = claims.into_iter().filter(holds).max_by_key(|signature| signature.created);
        let Some(newest) = newest else {
            return unusable("the key does not vouch for any identity of its own".into());
        };
        let of_primary_key = Claims { newest };
        of_primary_key.lasts(&self.primary, at, &by)?;
        if std::ptr::eq(key, &raw const self.primary) {
            return match newest.flags {
                Some(flags) if flags & SIGNS == 0 => {
                    unusable("the key is not one for signing".into())
                }
                _ => is_older(key, made, &by),
            };
        }
        let Some((_, signatures)) = self.subkeys.iter().find(|(other, _)| std::ptr::eq(other, key))
        else {
            return unusable("the key is not part of its certificate".into());
        };
        let more = key.hashed();
        if let Some(why) = revoked(&all(), kind::SUBKEY_REVOKED, &more) {
            return unusable(why);
        }
        let bound = signatures.iter().filter(|of| of.kind == kind::SUBKEY && primary(of, &more));
        let Some(newest) = bound.filter(holds).max_by_key(|signature| signature.created) else {
            return unusable("the key is not bound to its certificate".into());
        };
        Claims { newest }.lasts(key, at, &by)?;
        // The subkey agrees to belong to the certificate; otherwise anyone could call it theirs.
        let agrees = newest.embedded.iter().filter_map(|body| Signature::parse(body).ok());
        let mut agrees = agrees.filter(|of| of.kind == kind::PRIMARY);
        let agrees = agrees.any(|of| of.is_over(key, &[&of_primary[..], &more].concat()));
        match newest.flags {
            Some(flags) if flags & SIGNS != 0 && agrees => is_older(key, made, &by),
            _ => unusable("the key is not one for signing".into()),
        }
    }
}

impl Claims<'_> {
    /// Whether the key has not expired.
    fn lasts(&self, key: &Key, at: u64, by: &str) -> Result<(), SignatureError> {
        let end = self.newest.key_lifetime.map(|time| key.created.saturating_add(time));
        match end.filter(|end| *end <= at) {
            Some(at) => Err(SignatureError::KeyExpired { by: by.to_owned(), at }),
            None => Ok(()),
        }
    }
}

fn is_older(key: &Key, made: u64, by: &str) -> Result<(), SignatureError> {
    match key.created <= made {
        true => Ok(()),
        false => Err(SignatureError::KeyUnusable {
            by: by.to_owned(),
            why: "the key was made after the signature".into(),
        }),
    }
}
