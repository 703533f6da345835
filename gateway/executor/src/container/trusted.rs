//! A certificate that a process trusts besides those that its image comes with.
//!
//! It is added to the first bundle that programs look for, in the file itself, so that the process can
//! replace the file as ever. The spawner takes it out again once the process has ended, and puts the
//! file's time back if the process has left the file alone.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, OFlags, Timespec, Timestamps};
use rustix::mount::OpenTreeFlags;
use serde::{Deserialize, Serialize};

use super::stubs::open_inside;
use crate::process::TRUST_BUNDLES;
use crate::spawner::{Failure, Step};

/// Where the certificate begins and ends; BuildKit's words, which its users look for.
const BEGIN: &[u8] = b"\n# buildkit proxy CA begin\n";
const END: &[u8] = b"# buildkit proxy CA end\n";
/// A larger bundle is none.
const MAX_BUNDLE_BYTES: u64 = 10 << 20;

/// Modification time: seconds and nanoseconds.
type Time = (i64, i64);

/// A bundle to which a certificate was added; the root that it is in travels beside it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Trusted {
    path: String,
    before: Time,
    after: Time,
}

/// Adds a certificate to the bundle of the file system below `root`, if it has one. The root comes back through
/// a mount that stays writable.
pub(crate) fn add(
    root: &OwnedFd,
    certificate: &str,
) -> Result<Option<(Trusted, OwnedFd)>, Failure> {
    for path in TRUST_BUNDLES {
        let step = || format!("add a certificate to {path}");
        let Some(file) = open(root, path, OFlags::RDWR).step(step)? else { continue };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        let clone = rustix::mount::open_tree(root, "", flags).step(step)?;
        let (before, after) = append(file, certificate).step(step)?;
        return Ok(Some((Trusted { path: (*path).to_owned(), before, after }, clone)));
    }
    Ok(None)
}

/// Takes the certificate out again.
pub(crate) fn remove(trusted: &Trusted, root: &OwnedFd) {
    if let Err(error) = try_remove(trusted, root) {
        // The spawner has no log; what follows is that the result has a certificate that is good for nothing.
        tracing::warn!(path = trusted.path, %error, "a certificate stays in a bundle");
    }
}

/// A regular file below the root, through whatever links lead there; `None` if there is none.
fn open(root: impl AsFd, path: &str, flags: OFlags) -> io::Result<Option<File>> {
    // A named pipe in its place must not block.
    match open_inside(root, Path::new(path), flags | OFlags::NONBLOCK | OFlags::NOCTTY) {
        Ok(file) => {
            let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
            Ok((kind == FileType::RegularFile).then(|| file.into()))
        }
        Err(error) if error == rustix::io::Errno::NOENT => Ok(None),
        // It is not a file, or not one of this root.
        Err(
            rustix::io::Errno::NOTDIR
            | rustix::io::Errno::ISDIR
            | rustix::io::Errno::LOOP
            | rustix::io::Errno::NXIO,
        ) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn append(mut file: File, certificate: &str) -> io::Result<(Time, Time)> {
    let before = time(&file)?;
    read(&mut file)?;
    let more = [BEGIN, certificate.trim_end().as_bytes(), b"\n", END].concat();
    file.seek(io::SeekFrom::End(0))?;
    file.write_all(&more)?;
    Ok((before, time(&file)?))
}

fn try_remove(trusted: &Trusted, root: &OwnedFd) -> io::Result<()> {
    let Some(mut file) = open(root, &trusted.path, OFlags::RDWR)? else { return Ok(()) };
    let now = time(&file)?;
    let text = read(&mut file)?;
    let Some(cleaned) = without(&text) else { return Ok(()) };
    file.seek(io::SeekFrom::Start(0))?;
    file.write_all(&cleaned)?;
    file.set_len(cleaned.len() as u64)?;
    let (tv_sec, tv_nsec) = if now == trusted.after { trusted.before } else { now };
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec { tv_sec, tv_nsec },
    };
    Ok(rustix::fs::futimens(&file, &times)?)
}

fn read(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(io::SeekFrom::Start(0))?;
    file.take(MAX_BUNDLE_BYTES + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_BUNDLE_BYTES {
        true => Err(io::Error::other(format!("it has more than {MAX_BUNDLE_BYTES} bytes"))),
        false => Ok(bytes),
    }
}

/// A bundle without what was added to it; `None` if that is not there.
fn without(text: &[u8]) -> Option<Vec<u8>> {
    let begin = find(text, BEGIN)?;
    let end = begin + BEGIN.len() + find(&text[begin + BEGIN.len()..], END)? + END.len();
    Some([&text[..begin], &text[end..]].concat())
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn time(file: &File) -> io::Result<Time> {
    let stat = rustix::fs::statat(file, "", AtFlags::EMPTY_PATH)?;
    Ok((stat.st_mtime, stat.st_mtime_nsec as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_taken_out_and_nothing_else() {
        for text in ["", "cert\n", "cert without end of line"] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            append(file.try_clone().unwrap(), "PEM\n").unwrap();
            let added = read(&mut file).unwrap();
            assert!(find(&added, b"\nPEM\n# buildkit proxy CA end\n").is_some());
            let cleaned = without(&added).unwrap();
            assert_eq!(cleaned, text.as_bytes());
            assert_eq!(without(&cleaned), None);
        }
        assert_eq!(without(&[b"x".as_slice(), BEGIN, b"no end"].concat()), None);
    }
}
