//! Detached signatures of OpenPGP (RFC 4880 and 9580), armored.
//!
//! A signature is accepted if a key made it that is given, that signs for its owner (by what the key says of itself and
//! signed), that was not revoked, and that had not expired: when it signed, or until now, as the
//! policy says. Signatures that have expired themselves, or are of the future, are refused.

mod key;
pub(crate) mod packet;
mod signature;

use std::io::Read;

use crate::Policy;
use crate::armor::{self, Block};
use crate::error::SignatureError;
use crate::hash::Hash;
use crate::pgp::key::Certificate;
use crate::pgp::packet::{packets, tag};
use crate::pgp::signature::{Signature, kind};

/// How many signatures of one text are tried.
const MOST_SIGNATURES: usize = 16;
/// How much of a file is held, in bytes, for the kind of signature that cannot do with its digest.
const MOST_HELD: u64 = 64 << 20;
/// How far clocks may be apart, in seconds.
const CLOCKS: u64 = 300;

/// What begins an armored signature.
pub(crate) const BEGIN: &[u8] = b"-----BEGIN PGP SIGNATURE-----";

/// Keys that signatures may be of.
#[derive(Debug)]
pub struct Keyring(Vec<Certificate>);

impl Keyring {
    /// Reads armored public keys, one after the other.
    ///
    /// # Errors
    ///
    /// [`SignatureError::PgpKey`] if there is none, or something else.
    pub fn parse(text: &[u8]) -> Result<Self, SignatureError> {
        let failed = |why: String| SignatureError::PgpKey(why);
        let mut found = Vec::new();
        for Block { label, bytes } in armor::blocks(text).map_err(failed)? {
            if label != "PGP PUBLIC KEY BLOCK" {
                return Err(failed(format!("expected a PGP PUBLIC KEY BLOCK, got a {label}")));
            }
            let packets = packets(&bytes).map_err(failed)?;
            found.extend(Certificate::read(&packets).map_err(failed)?);
        }
        match found.is_empty() {
            true => Err(failed("no armored data found".into())),
            false => Ok(Self(found)),
        }
    }
}

/// An armored signature, or several of the same content.
#[derive(Debug)]
pub struct Detached(Vec<Signature>);

impl Detached {
    /// Reads an armored signature.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Format`] and [`SignatureError::Unsupported`].
    pub fn parse(text: &[u8]) -> Result<Self, SignatureError> {
        let failed = |why: String| SignatureError::Format(why);
        let blocks = armor::blocks(text).map_err(failed)?;
        let Some(Block { label, bytes }) = blocks.first() else {
            return Err(failed("expected a PGP SIGNATURE, got no armored data".into()));
        };
        if label != "PGP SIGNATURE" || blocks.len() > 1 {
            return Err(failed(format!("expected one PGP SIGNATURE, got a {label} or more")));
        }
        let packets = packets(bytes).map_err(failed)?;
        let of = packets.iter().filter(|packet| packet.tag == tag::SIGNATURE);
        let found: Vec<_> = of.map(|packet| Signature::parse(packet.body)).collect();
        if found.is_empty() || found.len() > MOST_SIGNATURES {
            return Err(failed(format!("it has {} signatures", found.len())));
        }
        // One that nothing here understands does not make the others wrong.
        let mut known = Vec::new();
        let mut unknown = None;
        for signature in found {
            match signature {
                Ok(signature) => known.push(signature),
                Err(error) => unknown = Some(error),
            }
        }
        match (known.is_empty(), unknown) {
            (true, Some(error)) => Err(error),
            _ => Ok(Self(known)),
        }
    }

    /// Says who signed what `content` gives, by the fingerprint of the key.
    ///
    /// # Errors
    ///
    /// [`SignatureError`]: if there are several signatures and none is accepted, why the last is not.
    pub fn verify(
        &self,
        content: &mut dyn Read,
        keys: &Keyring,
        policy: &Policy,
    ) -> Result<String, SignatureError> {
        let mut failed = None;
        let mut hopeful = Vec::new();
        for signature in &self.0 {
            match promising(signature, keys, policy) {
                Ok(hash) => hopeful.push((signature, hash)),
                Err(error) => failed = Some(error),
            }
        }
        if !hopeful.is_empty() {
            let content = Content::read(content, &hopeful)?;
            for (signature, hash) in hopeful {
                match content.signer(signature, hash, keys, policy) {
                    Ok(signer) => return Ok(signer),
                    Err(error) => failed = Some(error),
                }
            }
        }
        Err(failed.unwrap_or(SignatureError::NotSigned))
    }
}

/// The hash a signature is over, if it may be accepted once it is known what that is.
fn promising(
    signature: &Signature,
    keys: &Keyring,
    policy: &Policy,
) -> Result<Hash, SignatureError> {
    match signature.kind {
        kind::BINARY => {}
        kind::TEXT => {
            let what = "a signature of text, whose ends of lines are not those of the file";
            return Err(SignatureError::Unsupported(what.into()));
        }
        other => return Err(SignatureError::Format(format!("it is of type {other:#04x}"))),
    }
    let hash = signature.strong_hash()?;
    let by = || signature.by();
    if signature.created > policy.now.saturating_add(CLOCKS) {
        return Err(SignatureError::Future { by: by(), at: signature.created });
    }
    if let Some(at) = signature.expired(policy.now) {
        return Err(SignatureError::Expired { by: by(), at });
    }
    match keys.0.iter().any(|certificate| !certificate.candidates(signature).is_empty()) {
        true => Ok(hash),
        false => Err(SignatureError::Foreign { by: by() }),
    }
}

/// Content that was read once, as far as signatures need it.
struct Content {
    hashed: Vec<(Hash, ring::digest::Context)>,
    held: Vec<u8>,
}

impl Content {
    fn read(
        content: &mut dyn Read,
        signatures: &[(&Signature, Hash)],
    ) -> Result<Self, SignatureError> {
        let mut hashed: Vec<(Hash, ring::digest::Context)> = Vec::new();
        for (_, hash) in signatures {
            if !hashed.iter().any(|(known, _)| known == hash) {
                hashed.push((*hash, hash.start()));
            }
        }
        let hold = signatures.iter().any(|(signature, _)| signature.needs_bytes());
        let (mut held, mut buffer) = (Vec::new(), vec![0; 128 << 10]);
        loop {
            let count = match content.read(&mut buffer) {
                Ok(0) => return Ok(Self { hashed, held }),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            hashed.iter_mut().for_each(|(_, context)| context.update(&buffer[..count]));
            if hold {
                if (held.len() + count) as u64 > MOST_HELD {
                    let what = format!("a signature by ECDSA of more than {MOST_HELD} bytes");
                    return Err(SignatureError::Unsupported(what));
                }
                held.extend_from_slice(&buffer[..count]);
            }
        }
    }

    fn signer(
        &self,
        signature: &Signature,
        hash: Hash,
        keys: &Keyring,
        policy: &Policy,
    ) -> Result<String, SignatureError> {
        let digest = self.hashed.iter().find(|(known, _)| *known == hash).map(|(_, context)| {
            let mut context = context.clone();
            context.update(signature.trailer());
            context.finish()
        });
        let Some(digest) = digest else { return Err(SignatureError::NotSigned) };
        let message = match signature.needs_bytes() {
            true => [&self.held[..], signature.trailer()].concat(),
            false => Vec::new(),
        };
        let now = policy.now.saturating_add(CLOCKS);
        let at = if policy.reject_expired_keys { policy.now } else { signature.created };
        let mut failed = None;
        for certificate in &keys.0 {
            for key in certificate.candidates(signature) {
                let made = signature.verify(key, hash, digest.as_ref(), &message);
                let made = made.and_then(|made| match made {
                    true => certificate.check(key, signature.created, at, now),
                    false => Err(SignatureError::Wrong { by: key.name() }),
                });
                match made {
                    Ok(()) => return Ok(key.name()),
                    Err(error) => failed = Some(error),
                }
            }
        }
        Err(failed.unwrap_or_else(|| SignatureError::Foreign { by: signature.by() }))
    }
}
