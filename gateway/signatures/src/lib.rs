//! Signatures of what builds fetch: OpenPGP's and OpenSSH's, verified against the keys that a user names;
//! and signatures for what they make, OpenSSH's.
//!
//! In come the bytes that were signed, a signature and keys, all hostile; out goes who signed them, or
//! why that is not so. [`pgp`] has the signatures of files, [`git`] those in commits and tags, which may
//! be [`ssh`]'s. Parsing is here; the arithmetic of curves and hashes is ring's, and that of RSA is
//! done on numbers that are public. Only [`ssh::SigningKey`] holds anything secret. Nothing is decrypted,
//! and what time it is, is told.
//!
//! Versions and algorithms that are not known, or weak, are refused by name: signatures of version 4 (and
//! no other) with SHA-256, SHA-384 or SHA-512, made with RSA of 2048 bits or more, Ed25519, or ECDSA on
//! P-256 and P-384.

pub mod git;
pub mod pgp;
pub mod ssh;

mod armor;
mod cursor;
mod error;
mod hash;
mod policy;
mod primitives;

#[cfg(test)]
mod tests;

pub use error::SignatureError;
pub use policy::Policy;
