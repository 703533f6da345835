//! Signs as `ssh-keygen -Y sign` does, with Ed25519 keys.
//!
//! A private key comes in as OpenSSH writes it (`PROTOCOL.key`), without a passphrase; armored signatures
//! go out. The same key and content give the same signature. Keys of other types, and files that are
//! something else, are refused by name with the command that makes a key.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::Ed25519KeyPair;

use super::{MAGIC, fingerprint, signed_message};
use crate::armor::{self, Block};
use crate::cursor::Cursor;
use crate::error::SignatureError;
use crate::hash::Hash;

/// What stands before a private key of OpenSSH.
const FORMAT: &[u8] = b"openssh-key-v1\0";
const LABEL: &str = "OPENSSH PRIVATE KEY";
const ED25519: &str = "ssh-ed25519";
/// The command that makes a key that is understood here.
const MAKE: &str = "make one with `ssh-keygen -t ed25519 -N '' -f FILE`";
/// How many characters of base64 `ssh-keygen` writes into a line of a signature.
const LINE: usize = 70;

/// A key that signs. It is not shown, not even for debugging.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    /// The public key as OpenSSH encodes it.
    public: Vec<u8>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.fingerprint()).finish()
    }
}

impl SigningKey {
    /// Reads a private key: the text of a file that `ssh-keygen -t ed25519 -N ''` has made.
    ///
    /// # Errors
    ///
    /// [`SignatureError::SshPrivateKey`] if it is none, of another type, or has a passphrase. No part of
    /// the text is in the error.
    pub fn parse(text: &[u8]) -> Result<Self, SignatureError> {
        let failed = |why: &str| SignatureError::SshPrivateKey(format!("{why}; {MAKE}"));
        if text.starts_with(b"ssh-") {
            return Err(SignatureError::SshPrivateKey(
                "it is a public key; the private one is in the file without .pub".into(),
            ));
        }
        let blocks = armor::blocks(text).map_err(|why| failed(&why))?;
        let [Block { label, bytes }] = blocks.as_slice() else {
            return Err(failed("it is no key"));
        };
        if label != LABEL {
            let label: String = label.chars().take(60).collect();
            return Err(failed(&format!("it is of the type {label}, expected {LABEL}")));
        }
        let mut cursor = Cursor(bytes);
        if cursor.take(FORMAT.len()) != Some(FORMAT) {
            return Err(failed("it does not begin as one of OpenSSH does"));
        }
        Self::read(cursor).map_err(failed)
    }

    /// Reads what follows the name of the format.
    fn read(mut cursor: Cursor<'_>) -> Result<Self, &'static str> {
        let cut = "it is cut";
        let cipher = cursor.text().ok_or(cut)?;
        if cipher != "none" {
            return Err("it has a passphrase, for which nobody can be asked");
        }
        // How the passphrase becomes a key, and with what.
        cursor.string().zip(cursor.string()).ok_or(cut)?;
        if cursor.u32() != Some(1) {
            return Err("it is not one key");
        }
        let public = cursor.string().ok_or(cut)?.to_vec();
        let mut private = Cursor(cursor.string().ok_or(cut)?);
        // The same number twice, which tells whether a passphrase was right.
        if private.u32().ok_or(cut)? != private.u32().ok_or(cut)? {
            return Err("it is damaged");
        }
        if private.text().ok_or(cut)? != ED25519 {
            return Err("it is of another type than Ed25519");
        }
        let point = private.string().ok_or(cut)?;
        // The seed, and the public key once more.
        let (seed, again) =
            private.string().and_then(|both| both.split_at_checked(32)).ok_or(cut)?;
        let mut encoded = Vec::new();
        super::put(&mut encoded, ED25519.as_bytes());
        super::put(&mut encoded, point);
        let pair = Ed25519KeyPair::from_seed_and_public_key(seed, point);
        match (pair, encoded == public && again == point) {
            (Ok(pair), true) => Ok(Self { pair, public }),
            _ => Err("its halves do not belong together"),
        }
    }

    /// What people know the key by, `SHA256:…`, as `ssh-keygen -l` shows it.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.public)
    }

    /// The line of its public key, as in a `.pub` file, without a comment.
    pub fn public_line(&self) -> String {
        format!("{ED25519} {}", STANDARD.encode(&self.public))
    }

    /// Signs `content` for a namespace, such as `file` or `git`: a signature for one is none for another.
    pub fn sign(&self, namespace: &str, content: &[u8]) -> String {
        let hash = "sha512";
        let message = signed_message(namespace, b"", hash, &Hash::Sha512.of(content));
        let mut signature = Vec::new();
        super::put(&mut signature, ED25519.as_bytes());
        super::put(&mut signature, self.pair.sign(&message).as_ref());
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&1_u32.to_be_bytes());
        for part in [&self.public[..], namespace.as_bytes(), b"", hash.as_bytes(), &signature] {
            super::put(&mut bytes, part);
        }
        let body = STANDARD.encode(bytes);
        let mut text = "-----BEGIN SSH SIGNATURE-----\n".to_owned();
        let mut rest = body.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(LINE));
            text.push_str(line);
            text.push('\n');
            rest = after;
        }
        text.push_str("-----END SSH SIGNATURE-----\n");
        text
    }
}
