//! Whether what was fetched is signed as its user wants it, by the clock of this machine.

use std::fs::File;
use std::time::SystemTime;

use kiln_graph::{FileSignature, GitSignature};
use kiln_signatures::git::{Objects, Wanted};
use kiln_signatures::pgp::{Detached, Keyring};
use kiln_signatures::{Policy, SignatureError, git};

/// Checks the signature of a file, which is read once.
pub(crate) fn check_file(mut file: File, wanted: &FileSignature) -> Result<(), SignatureError> {
    let signature = Detached::parse(wanted.signature.as_bytes())?;
    let keys = Keyring::parse(wanted.keys.as_bytes())?;
    let signer = signature.verify(&mut file, &keys, &policy(false))?;
    tracing::debug!(signer, "the signature of a file holds");
    Ok(())
}

/// Checks the signature of a commit or of the tag that leads to it.
pub(crate) fn check_objects(
    objects: &Objects<'_>,
    wanted: &GitSignature,
) -> Result<(), SignatureError> {
    let GitSignature { keys, reject_expired_keys, require_signed_tag, ignore_signed_tag } = wanted;
    let (require_signed_tag, ignore_signed_tag) = (*require_signed_tag, *ignore_signed_tag);
    let signed = Wanted { keys: keys.as_bytes(), require_signed_tag, ignore_signed_tag };
    let signer = git::verify(objects, &signed, &policy(*reject_expired_keys))?;
    tracing::debug!(signer, "the signature of a commit or tag holds");
    Ok(())
}

fn policy(reject_expired_keys: bool) -> Policy {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Policy { now: since.as_secs(), reject_expired_keys }
}
