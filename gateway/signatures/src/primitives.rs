//! Whether numbers are a signature.

use num_bigint::BigUint;
use ring::signature::{self, UnparsedPublicKey};

use crate::hash::Hash;

/// How many bits the modulus of an RSA key may have.
const RSA_BITS: std::ops::RangeInclusive<u64> = 2048..=8192;
/// How many bits its exponent may have.
const MOST_EXPONENT_BITS: u64 = 33;

/// A key that verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PublicKey {
    /// Modulus and exponent.
    Rsa(Vec<u8>, Vec<u8>),
    Ed25519([u8; 32]),
    /// A point, uncompressed.
    Ecdsa(Curve, Vec<u8>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    P384,
}

impl Curve {
    /// How many bytes a number has.
    fn len(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }
}

impl PublicKey {
    /// Why it is too weak to be relied on, or so large that it is no key.
    pub(crate) fn weakness(&self) -> Option<String> {
        let Self::Rsa(modulus, _) = self else { return None };
        let bits = BigUint::from_bytes_be(modulus).bits();
        (!RSA_BITS.contains(&bits)).then(|| format!("an RSA key of {bits} bits"))
    }
}

/// Whether `signature` is RSA's over a digest, with the padding of PKCS #1 v1.5.
pub(crate) fn rsa(
    modulus: &[u8],
    exponent: &[u8],
    hash: Hash,
    digest: &[u8],
    signature: &[u8],
) -> bool {
    let number = BigUint::from_bytes_be;
    let (modulus, exponent, signature) = (number(modulus), number(exponent), number(signature));
    let fits = RSA_BITS.contains(&modulus.bits())
        && modulus.bit(0)
        && exponent.bit(0)
        && exponent > number(&[1])
        && exponent.bits() <= MOST_EXPONENT_BITS
        && signature < modulus;
    if !fits {
        return false;
    }
    let Ok(length) = usize::try_from(modulus.bits().div_ceil(8)) else { return false };
    let wanted = [hash.prefix(), digest].concat();
    let Some(padding) = length.checked_sub(wanted.len() + 3).filter(|length| *length >= 8) else {
        return false;
    };
    let wanted = [&[0, 1][..], &vec![0xff; padding], &[0], &wanted].concat();
    // The whole of it is compared, so that nothing in it can be anything else.
    signature.modpow(&exponent, &modulus) == number(&wanted)
}

/// Whether `signature` is Ed25519's over a message.
pub(crate) fn ed25519(key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&signature::ED25519, key).verify(message, signature).is_ok()
}

/// Whether two numbers are ECDSA's over a message. `None` if nothing here can tell.
pub(crate) fn ecdsa(
    curve: Curve,
    point: &[u8],
    hash: Hash,
    message: &[u8],
    (r, s): (&[u8], &[u8]),
) -> Option<bool> {
    let algorithm = match (curve, hash) {
        (Curve::P256, Hash::Sha256) => &signature::ECDSA_P256_SHA256_ASN1,
        (Curve::P256, Hash::Sha384) => &signature::ECDSA_P256_SHA384_ASN1,
        (Curve::P384, Hash::Sha256) => &signature::ECDSA_P384_SHA256_ASN1,
        (Curve::P384, Hash::Sha384) => &signature::ECDSA_P384_SHA384_ASN1,
        _ => return None,
    };
    let Some(encoded) = sequence(curve, r, s) else { return Some(false) };
    Some(UnparsedPublicKey::new(algorithm, point).verify(message, &encoded).is_ok())
}

/// Two numbers as DER has them; `None` if one is larger than any of the curve.
fn sequence(curve: Curve, r: &[u8], s: &[u8]) -> Option<Vec<u8>> {
    let integer = |number: &[u8]| {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let number = &number[zeros..];
        if number.is_empty() || number.len() > curve.len() {
            return None;
        }
        let sign: &[u8] = if number[0] & 0x80 != 0 { &[0] } else { &[] };
        let length = u8::try_from(sign.len() + number.len()).ok()?;
        Some([&[2, length], sign, number].concat())
    };
    let numbers = [integer(r)?, integer(s)?].concat();
    let length = u8::try_from(numbers.len()).ok().filter(|length| *length < 0x80)?;
    Some([&[0x30, length][..], &numbers].concat())
}
