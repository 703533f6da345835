//! Stories about signatures that gpg, ssh-keygen and git made: see `fixtures/make.sh`.

use std::path::Path;

use crate::git::{ObjectKind, Objects, SignedObject, Wanted, verify};
use crate::pgp::{Detached, Keyring};
use crate::ssh::{Keys, SigningKey, SshSignature};
use crate::{Policy, SignatureError};

/// The middle of 2024: half a year after the keys were made, five months after they signed.
const NOW: Policy = Policy { now: 1_720_000_000, reject_expired_keys: false };
const STRICT: Policy = Policy { reject_expired_keys: true, ..NOW };

fn read(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn signed(
    signature: &[u8],
    keys: &[u8],
    content: &[u8],
    policy: &Policy,
) -> Result<String, SignatureError> {
    let mut content = content;
    Detached::parse(signature)?.verify(&mut content, &Keyring::parse(keys)?, policy)
}

/// Who signed the content of the fixtures, by the names of a signature and of keys.
fn by(signature: &str, keys: &str, policy: &Policy) -> Result<String, SignatureError> {
    let signature = read(&format!("{signature}.asc"));
    signed(&signature, &read(&format!("{keys}.pub")), &read("content"), policy)
}

/// The words of an error.
fn refused(answer: Result<String, SignatureError>) -> String {
    answer.unwrap_err().to_string()
}

#[test]
fn what_a_key_signed_is_signed() {
    for name in ["rsa", "ed25519", "p256", "p384"] {
        let signer = by(name, name, &NOW).unwrap();
        assert_eq!(signer.len(), 40, "{name}");
        assert_eq!(by(name, name, &STRICT).unwrap(), signer);
    }
    by("sha384", "ed25519", &NOW).unwrap();
    let keys = [read("ed25519.pub"), b"\nand another:\n".to_vec(), read("rsa.pub")].concat();
    signed(&read("rsa.asc"), &keys, &read("content"), &NOW).unwrap();
    // One of two that nothing here understands does not make the other wrong.
    by("both", "rsa", &NOW).unwrap();
}

#[test]
fn what_another_key_signed_is_not_signed() {
    let words = refused(by("rsa", "ed25519", &NOW));
    assert!(words.ends_with("none of the given keys is that key"), "{words}");
    let words = refused(by("other", "ed25519", &NOW));
    assert!(words.ends_with("not a signature of this content"), "{words}");
    let (signature, keys) = (read("rsa.asc"), read("rsa.pub"));
    for content in [&b""[..], b"what is signed", b"what is signed\n\n", b"What is signed\n"] {
        let words = refused(signed(&signature, &keys, content, &NOW));
        assert!(words.contains("not a signature of this content"), "{words}");
    }
}

#[test]
fn a_signature_or_key_whose_time_is_over_is_refused() {
    let words = refused(by("expiring", "ed25519", &NOW));
    assert!(words.ends_with("it expired at 2024-03-02T00:00:00Z"), "{words}");
    by("expiring", "ed25519", &Policy { now: 1_707_000_000, ..NOW }).unwrap();
    let words = refused(by("rsa", "rsa", &Policy { now: 1_706_700_000, ..NOW }));
    assert!(words.contains("it is of the future (2024-02-01T00:00:00Z)"), "{words}");
    // What was signed while the key was good stays signed, unless that is not enough.
    by("passing", "passing", &NOW).unwrap();
    let words = refused(by("passing", "passing", &STRICT));
    assert!(words.contains("the key expired at 2024-07-01T"), "{words}");
    by("passing", "extended", &STRICT).unwrap();
    by("passing", "extended", &NOW).unwrap();
    let words = refused(by("revoked", "revoked", &NOW));
    assert!(words.contains("the key was revoked"), "{words}");
}

#[test]
fn what_nobody_should_rely_on_is_refused_by_name() {
    for (signature, keys, what) in [
        ("sha1", "ed25519", "a signature over the hash SHA-1"),
        ("text", "ed25519", "a signature of text"),
        ("short", "short", "an RSA key of 1024 bits"),
        ("dsa", "dsa", "a key of DSA"),
        ("p521", "p521", "a key of ECDSA on a curve other than P-256 and P-384"),
    ] {
        let words = refused(by(signature, keys, &NOW));
        assert!(words.starts_with(what) && words.contains("is not supported"), "{words}");
    }
}

#[test]
fn what_is_no_signature_or_key_is_named() {
    let (signature, keys, content) = (read("rsa.asc"), read("rsa.pub"), read("content"));
    let private = String::from_utf8(keys.clone()).unwrap().replace("PUBLIC KEY", "PRIVATE KEY");
    for wrong in [&b""[..], b"key", &signature, private.as_bytes(), &keys[..keys.len() - 40]] {
        let words = refused(signed(&signature, wrong, &content, &NOW));
        assert!(words.starts_with("failed to read armored public key"), "{words}");
    }
    for wrong in [&b""[..], b"-----BEGIN PGP SIGNATURE-----", &keys, &signature[..200]] {
        let words = refused(signed(wrong, &keys, &content, &NOW));
        assert!(words.starts_with("invalid signature format"), "{words}");
    }
    let text = String::from_utf8(signature).unwrap();
    let sum = text.lines().rev().find(|line| line.starts_with('=')).unwrap();
    let words = refused(signed(text.replace(sum, "=AAAA").as_bytes(), &keys, &content, &NOW));
    assert!(words.contains("the checksum"), "{words}");
}

#[test]
fn a_key_that_is_not_bound_to_its_owner_signs_nothing() {
    use crate::pgp::packet::{packets, tag};
    use base64::Engine as _;
    let blocks = ["rsa", "ed25519"].map(|name| {
        let text = read(&format!("{name}.pub"));
        crate::armor::blocks(&text).unwrap().remove(0).bytes
    });
    let [rsa, other] = blocks.each_ref().map(|bytes| packets(bytes).unwrap());
    let (own, subkeys): (Vec<_>, Vec<_>) = {
        let at = rsa.iter().position(|packet| packet.tag == tag::PUBLIC_SUBKEY).unwrap();
        (rsa[..at].to_vec(), rsa[at..].to_vec())
    };
    let try_with = |packets: &[&[crate::pgp::packet::Packet<'_>]]| {
        let mut bytes = Vec::new();
        for packet in packets.concat() {
            let length = u32::try_from(packet.body.len()).unwrap();
            bytes.extend(
                [&[0xc0 | packet.tag, 0xff][..], &length.to_be_bytes(), packet.body].concat(),
            );
        }
        let body = base64::engine::general_purpose::STANDARD.encode(bytes);
        let label = "PGP PUBLIC KEY BLOCK";
        let keys = format!("-----BEGIN {label}-----\n\n{body}\n-----END {label}-----\n");
        signed(&read("rsa.asc"), keys.as_bytes(), &read("content"), &NOW)
    };
    try_with(&[&own, &subkeys]).unwrap();
    for (packets, why) in [
        (&[&other[..], &subkeys][..], "not bound to its certificate"),
        (&[&own, &subkeys[..1]], "not bound to its certificate"),
        (&[&own[..1], &subkeys], "does not vouch for any identity"),
    ] {
        let words = refused(try_with(packets));
        assert!(words.contains(why), "{words}");
    }
}

/// A text whose base64 was changed at one byte, for all bytes; without the checksum, which would tell.
fn changed(text: &[u8]) -> Vec<Vec<u8>> {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    let block = crate::armor::blocks(text).unwrap().remove(0);
    let texts = (0..block.bytes.len()).map(|at| {
        let mut bytes = block.bytes.clone();
        bytes[at] ^= 0x15;
        let (label, body) = (&block.label, engine.encode(bytes));
        format!("-----BEGIN {label}-----\n\n{body}\n-----END {label}-----\n").into_bytes()
    });
    texts.collect()
}

#[test]
fn a_changed_signature_is_none_and_nothing_panics() {
    let (content, keys) = (read("content"), read("ed25519.pub"));
    let signature = read("ed25519.asc");
    let mut accepted = 0;
    for changed in changed(&signature) {
        accepted += usize::from(signed(&changed, &keys, &content, &NOW).is_ok());
    }
    // What is said loosely of the key, and the two bytes that tell early, prove nothing.
    assert!(accepted < 16, "{accepted} changes make no difference");
    for changed in changed(&keys) {
        drop(signed(&signature, &changed, &content, &NOW));
    }
    let (signature, keys) =
        (read("ssh-ed25519.sig"), Keys::parse(&read("ssh-ed25519.pub")).unwrap());
    for changed in changed(&signature) {
        let signature = SshSignature::parse(&changed);
        assert!(signature.and_then(|of| of.verify("git", &content, &keys)).is_err());
    }
}

#[test]
fn openssh_signs_for_git() {
    let content = read("content");
    let all: Vec<u8> = ["ed25519", "rsa", "ecdsa", "p384"]
        .iter()
        .flat_map(|name| read(&format!("ssh-{name}.pub")))
        .collect();
    for name in ["ed25519", "rsa", "ecdsa", "p384"] {
        let signature = SshSignature::parse(&read(&format!("ssh-{name}.sig"))).unwrap();
        for keys in [read(&format!("ssh-{name}.pub")), all.clone()] {
            let signer = signature.verify("git", &content, &Keys::parse(&keys).unwrap()).unwrap();
            assert!(signer.starts_with("SHA256:"), "{signer}");
        }
        let keys = Keys::parse(&all).unwrap();
        let words = refused(signature.verify("git", b"something else", &keys));
        assert!(words.ends_with("not a signature of this content"), "{words}");
    }
    let signature = SshSignature::parse(&read("ssh-rsa.sig")).unwrap();
    let words =
        refused(signature.verify("git", &content, &Keys::parse(&read("ssh-p384.pub")).unwrap()));
    assert!(words.contains("none of the given keys"), "{words}");
    let signature = SshSignature::parse(&read("ssh-file.sig")).unwrap();
    let words = refused(signature.verify("git", &content, &Keys::parse(&all).unwrap()));
    assert!(words.contains("it is for \"file\", not for \"git\""), "{words}");
    let options = [b"# ours\nrestrict,no-pty ".to_vec(), read("ssh-ed25519.pub")].concat();
    let signature = SshSignature::parse(&read("ssh-ed25519.sig")).unwrap();
    signature.verify("git", &content, &Keys::parse(&options).unwrap()).unwrap();
    let words = Keys::parse(&read("rsa.pub")).unwrap_err().to_string();
    assert!(words.starts_with("failed to parse ssh public key"), "{words}");
}

/// The id of an object of one of the repositories.
fn id(format: &str, kind: &str, bytes: &[u8]) -> String {
    let algorithm = match format {
        "sha1" => &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
        _ => &ring::digest::SHA256,
    };
    let object = [format!("{kind} {}\0", bytes.len()).as_bytes(), bytes].concat();
    hex::encode(ring::digest::digest(algorithm, &object))
}

/// What a source with a commit and a tag says to keys.
fn source(
    format: &str,
    (commit, tag): (&str, Option<&str>),
    wanted: &Wanted<'_>,
) -> Result<String, SignatureError> {
    let commit = read(&format!("{format}-{commit}.commit"));
    let tag = tag.map(|tag| read(&format!("{format}-{tag}.tag")));
    let commit_id = id(format, "commit", &commit);
    let tag_id = tag.as_ref().map(|tag| id(format, "tag", tag));
    let tag = tag_id.as_deref().zip(tag.as_deref());
    verify(&Objects { commit: (&commit_id, &commit), tag }, wanted, &STRICT)
}

#[test]
fn commits_and_tags_are_signed_as_git_signs_them() {
    let (pgp, ssh) = (read("rsa.pub"), read("ssh-ed25519.pub"));
    let of = |keys| Wanted { keys, require_signed_tag: false, ignore_signed_tag: false };
    let tag = |keys| Wanted { require_signed_tag: true, ..of(keys) };
    let commit = |keys| Wanted { ignore_signed_tag: true, ..of(keys) };
    for format in ["sha1", "sha256"] {
        for (name, keys) in [("pgp", &pgp), ("ssh", &ssh)] {
            source(format, (name, None), &of(keys)).unwrap();
            source(format, (name, Some("plain")), &of(keys)).unwrap();
            source(format, ("plain", Some(name)), &tag(keys)).unwrap();
            let words = refused(source(format, ("plain", Some(name)), &commit(keys)));
            assert_eq!(words, "git object is not signed");
            let words = refused(source(format, (name, Some("plain")), &tag(keys)));
            assert_eq!(words, "git object is not signed");
            let words = refused(source(format, (name, None), &tag(keys)));
            assert_eq!(words, "signed tag required but no signed tag found");
        }
        let words = refused(source(format, ("pgp", Some("ssh")), &tag(&pgp)));
        assert!(words.starts_with("failed to parse ssh public key"), "{words}");
        source(format, ("pgp", Some("ssh")), &of(&pgp)).unwrap();
        let words = refused(source(format, ("pgp", Some("ssh")), &commit(&ssh)));
        assert!(words.starts_with("failed to read armored public key"), "{words}");
    }
}

#[test]
fn an_object_is_the_one_of_its_id_and_has_one_signature() {
    let bytes = read("sha1-pgp.commit");
    let parse =
        |bytes: &[u8]| SignedObject::parse(ObjectKind::Commit, &id("sha1", "commit", bytes), bytes);
    assert!(parse(&bytes).is_ok());
    let other = SignedObject::parse(ObjectKind::Commit, &"0".repeat(40), &bytes).unwrap_err();
    assert!(other.to_string().contains("checksum mismatch"), "{other}");
    let tag = id("sha1", "tag", &bytes);
    let other = SignedObject::parse(ObjectKind::Tag, &tag, &bytes).unwrap_err();
    assert!(other.to_string().contains("is no tag"), "{other}");
    let text = String::from_utf8(bytes.clone()).unwrap();
    let twice = text.replacen("\n\n", "\ngpgsig -----BEGIN PGP SIGNATURE-----\n\n", 1);
    let other = parse(twice.as_bytes()).unwrap_err();
    assert!(other.to_string().contains("more than one signature"), "{other}");
    // What stands in the message is no header.
    let message = text.replace("Signed by pgp", "gpgsig -----BEGIN PGP SIGNATURE-----");
    let object = parse(message.as_bytes()).unwrap();
    assert!(matches!(object.verify(&read("rsa.pub"), &NOW), Err(SignatureError::Wrong { .. })));
    let foreign = text.replace("PGP SIGNATURE", "SIGNED MESSAGE");
    let words = refused(parse(foreign.as_bytes()).unwrap().verify(&read("rsa.pub"), &NOW));
    assert!(words.contains("X.509"), "{words}");
}

#[test]
fn a_key_of_openssh_signs_as_ssh_keygen_does() {
    let key = SigningKey::parse(&read("signs")).unwrap();
    let public = String::from_utf8(read("signs.pub")).unwrap();
    assert!(public.starts_with(&key.public_line()), "{public}");
    // Ed25519 draws no numbers: the same key and content give the same signature.
    let signature = key.sign("kiln-cache", &read("content"));
    assert_eq!(signature.as_bytes(), read("signs.sig"));
    let keys = Keys::parse(public.as_bytes()).unwrap();
    assert_eq!(keys.fingerprints(), [key.fingerprint()]);
    let parsed = SshSignature::parse(signature.as_bytes()).unwrap();
    assert_eq!(parsed.verify("kiln-cache", &read("content"), &keys).unwrap(), key.fingerprint());
    let words = refused(parsed.verify("git", &read("content"), &keys));
    assert!(words.ends_with("it is for \"kiln-cache\", not for \"git\""), "{words}");
    for content in [&b""[..], b"x", &[7; 3000]] {
        let signature = SshSignature::parse(key.sign("n", content).as_bytes()).unwrap();
        signature.verify("n", content, &keys).unwrap();
    }
    assert_eq!(format!("{key:?}"), format!("SigningKey({:?})", key.fingerprint()));
}

#[test]
fn what_cannot_sign_is_refused_by_name_and_never_shown() {
    let text = String::from_utf8(read("signs")).unwrap();
    let cosign = text.replace("OPENSSH", "ENCRYPTED SIGSTORE");
    let cut = text.replacen(text.lines().nth(3).unwrap(), "", 1);
    for (key, words) in [
        (read("signs-phrase"), "it has a passphrase, for which nobody can be asked; make one with"),
        (read("signs-rsa"), "it is of another type than Ed25519; make one with `ssh-keygen"),
        (read("signs.pub"), "it is a public key; the private one is in the file without .pub"),
        (cosign.into_bytes(), "it is of the type ENCRYPTED SIGSTORE PRIVATE KEY, expected OPENSSH"),
        (b"/home/me/.ssh/id_ed25519".to_vec(), "it is no key; make one"),
        (cut.into_bytes(), ""),
    ] {
        let refusal = SigningKey::parse(&key).unwrap_err().to_string();
        assert!(
            refusal.starts_with(&format!("failed to read the private key: {words}")),
            "{refusal}"
        );
        assert!(!refusal.contains("/home/me"), "{refusal}");
    }
    // A key that was changed anywhere is none: its halves no longer belong together.
    let (mut accepted, all) = (0, changed(text.as_bytes()));
    for changed in &all {
        accepted += usize::from(SigningKey::parse(changed).is_ok());
    }
    // What is said loosely of the key: how its passphrase was made, its comment, its padding.
    assert!(accepted < 40, "{accepted} of {} changes make no difference", all.len());
}
