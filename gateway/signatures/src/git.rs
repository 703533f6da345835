//! Commits and tags of git that are signed.
//!
//! An object comes in as git stores it. [`SignedObject::parse`] parts it into what was signed and the
//! signature, as git does: a commit has it in a header, a tag at its end.

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use crate::Policy;
use crate::error::SignatureError;
use crate::pgp::{self, Detached, Keyring};
use crate::ssh::{self, Keys, SshSignature};

/// The largest object that is looked at, in bytes.
const LARGEST: usize = 16 << 20;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    /// A commit.
    Commit,
    /// An annotated tag.
    Tag,
}

/// An object, parted.
#[derive(Debug, PartialEq, Eq)]
pub struct SignedObject {
    /// What was signed.
    content: Vec<u8>,
    /// Empty if it is not signed.
    signature: Vec<u8>,
}

/// Which objects of a source have to be signed, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Keys of OpenPGP or of OpenSSH, as text.
    pub keys: &'a [u8],
    /// It is the tag that has to be signed; a signed commit does not do.
    pub require_signed_tag: bool,
    /// It is the commit that has to be signed, whatever the tag is.
    pub ignore_signed_tag: bool,
}

/// Objects of a source, each with its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Objects<'a> {
    /// The commit.
    pub commit: (&'a str, &'a [u8]),
    /// The annotated tag that leads to it.
    pub tag: Option<(&'a str, &'a [u8])>,
}

/// Says who signed a source: its tag or, unless it has to be that, its commit.
///
/// # Errors
///
/// [`SignatureError`]: why the one that had to be signed in the end is not.
pub fn verify(
    objects: &Objects<'_>,
    wanted: &Wanted<'_>,
    policy: &Policy,
) -> Result<String, SignatureError> {
    let mut failed = None;
    if let Some((id, bytes)) = objects.tag.filter(|_| !wanted.ignore_signed_tag) {
        let object = SignedObject::parse(ObjectKind::Tag, id, bytes)?;
        match object.verify(wanted.keys, policy) {
            Ok(signer) => return Ok(signer),
            Err(error) => failed = Some(error),
        }
    }
    if wanted.require_signed_tag {
        return Err(failed.unwrap_or(SignatureError::NoSignedTag));
    }
    let (id, bytes) = objects.commit;
    SignedObject::parse(ObjectKind::Commit, id, bytes)?.verify(wanted.keys, policy)
}

impl SignedObject {
    /// Parts an object, once it is known to be the one of that id.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Object`] if it is another one, or no such object.
    pub fn parse(kind: ObjectKind, id: &str, bytes: &[u8]) -> Result<Self, SignatureError> {
        let failed = |why: String| SignatureError::Object(why);
        if bytes.len() > LARGEST {
            return Err(failed(format!("it has more than {LARGEST} bytes")));
        }
        let (name, algorithm, header) = match (kind, id.len()) {
            (ObjectKind::Commit, 40) => ("commit", &SHA1_FOR_LEGACY_USE_ONLY, "gpgsig"),
            (ObjectKind::Commit, 64) => ("commit", &SHA256, "gpgsig-sha256"),
            (ObjectKind::Tag, 40) => ("tag", &SHA1_FOR_LEGACY_USE_ONLY, ""),
            (ObjectKind::Tag, 64) => ("tag", &SHA256, ""),
            _ => return Err(failed(format!("{id:?} is no id of an object"))),
        };
        let mut sum = Context::new(algorithm);
        sum.update(format!("{name} {}\0", bytes.len()).as_bytes());
        sum.update(bytes);
        let sum = hex::encode(sum.finish());
        if sum != id {
            return Err(failed(format!("checksum mismatch: expected {id}, got {sum}")));
        }
        let first: &[u8] = if kind == ObjectKind::Commit { b"tree " } else { b"object " };
        if !bytes.starts_with(first) {
            return Err(failed(format!("{id} is no {name}")));
        }
        match kind {
            ObjectKind::Commit => commit(bytes, header).map_err(failed),
            ObjectKind::Tag => Ok(tag(bytes)),
        }
    }

    /// Says who signed it.
    ///
    /// # Errors
    ///
    /// [`SignatureError`]; keys that are of the other kind than the signature are no keys.
    pub fn verify(&self, keys: &[u8], policy: &Policy) -> Result<String, SignatureError> {
        if self.signature.is_empty() {
            return Err(SignatureError::NotSigned);
        }
        if self.signature.starts_with(pgp::BEGIN) {
            let signature = Detached::parse(&self.signature)?;
            return signature.verify(&mut self.content.as_slice(), &Keyring::parse(keys)?, policy);
        }
        if self.signature.starts_with(ssh::BEGIN) {
            let signature = SshSignature::parse(&self.signature)?;
            return signature.verify(ssh::GIT, &self.content, &Keys::parse(keys)?);
        }
        let expected = "expected one of OpenPGP or SSH; those of X.509 are not supported";
        Err(SignatureError::Format(expected.into()))
    }
}

/// A commit is signed as it is without its headers of signatures. The one that counts is that of its
/// own kind of id; another is for who has it under another id.
fn commit(bytes: &[u8], header: &str) -> Result<SignedObject, String> {
    let (mut content, mut signature) = (Vec::new(), Vec::new());
    let (mut inside, mut in_headers) = (None, true);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if !in_headers {
            content.extend_from_slice(line);
            continue;
        }
        if let (Some(counts), [b' ', more @ ..]) = (inside, line) {
            if counts {
                signature.extend_from_slice(more);
            }
            continue;
        }
        inside = None;
        let name = line.split(|byte| *byte == b' ').next().unwrap_or_default();
        if name == b"gpgsig" || name == b"gpgsig-sha256" {
            let counts = name == header.as_bytes();
            if counts && !signature.is_empty() {
                return Err("it has more than one signature".into());
            }
            inside = Some(counts);
            if counts {
                signature.extend_from_slice(line.get(name.len() + 1..).unwrap_or_default());
            }
            continue;
        }
        in_headers = line != b"\n";
        content.extend_from_slice(line);
    }
    Ok(SignedObject { content, signature })
}

/// A tag ends with its signature.
fn tag(bytes: &[u8]) -> SignedObject {
    let (mut at, mut begins) = (0, bytes.len());
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(pgp::BEGIN) || line.starts_with(ssh::BEGIN) {
            begins = at;
        }
        at += line.len();
    }
    let (content, signature) = bytes.split_at(begins);
    SignedObject { content: content.to_vec(), signature: signature.to_vec() }
}
