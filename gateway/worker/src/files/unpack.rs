//! Unpacking archives into a file system: tar (plain, gzip, bzip2, xz, zstd) and zip.
//!
//! What a file is is told by its first bytes, never by its name. An archive may name only what lies
//! below its destination: `..`, and links on the way that lead elsewhere, are errors, not surprises.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::FileType;
use tar::EntryType;

use super::edit::{finish, make_parents};
use super::{FileError, Ids};
use crate::{scope, sys};

/// The most entries an archive may have.
const MAX_ENTRIES: usize = 2_000_000;

/// Unpacks a file to `dest` if it is an archive; says whether it was.
pub(super) fn unpack(
    file: &Path,
    shown: &str,
    root: &Path,
    dest: &str,
    owner: Option<Ids>,
    time: Option<i64>,
) -> Result<bool, FileError> {
    let failed = |source| FileError::Io { doing: "read", path: shown.to_owned(), source };
    let mut opened = File::open(file).map_err(failed)?;
    let mut magic = Vec::new();
    opened.by_ref().take(512).read_to_end(&mut magic).map_err(failed)?;
    opened.rewind().map_err(failed)?;
    let target = scope::resolve(root, dest, true).map_err(FileError::io("resolve", dest))?;
    let mut unpacking = Unpacking {
        shown,
        root,
        target: &target,
        owner,
        time,
        entries: 0,
        directories: Vec::new(),
    };
    if magic.starts_with(b"PK\x03\x04") || magic.starts_with(b"PK\x05\x06") {
        unpacking.zip(opened)?;
        return Ok(true);
    }
    let Some(mut reader) = decompress(&magic, opened).map_err(failed)? else { return Ok(false) };
    // A compressed file is an archive only if a tar header comes out of it.
    let mut head = Vec::new();
    let readable = reader.by_ref().take(512).read_to_end(&mut head).is_ok();
    if !readable || !is_tar_header(&head) {
        return Ok(false);
    }
    unpacking.tar(io::Cursor::new(head).chain(reader))?;
    Ok(true)
}

fn decompress(magic: &[u8], file: File) -> io::Result<Option<Box<dyn Read>>> {
    let file = BufReader::with_capacity(256 << 10, file);
    Ok(Some(match magic {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(file))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::with_buffer(file)?),
        magic if is_tar_header(magic) => Box::new(file),
        _ => return Ok(None),
    }))
}

/// Whether a block is a tar header: its own sum fits, and it is not the end of an archive.
fn is_tar_header(block: &[u8]) -> bool {
    if block.len() < 512 || block.iter().all(|byte| *byte == 0) {
        return false;
    }
    let mut header = tar::Header::new_old();
    header.as_mut_bytes().copy_from_slice(&block[..512]);
    let sum: u32 = block[..512]
        .iter()
        .enumerate()
        .map(|(i, byte)| if (148..156).contains(&i) { 32 } else { u32::from(*byte) })
        .sum();
    header.cksum().is_ok_and(|claimed| claimed == sum)
}

struct Unpacking<'a> {
    shown: &'a str,
    root: &'a Path,
    target: &'a Path,
    owner: Option<Ids>,
    time: Option<i64>,
    entries: usize,
    /// Times of directories are set last: what is put into them changes them.
    directories: Vec<(PathBuf, i128)>,
}

/// What is known of one entry.
struct Entry {
    path: PathBuf,
    mode: u32,
    owner: Ids,
    mtime: i128,
}

impl Unpacking<'_> {
    fn bad(&self, reason: impl Into<String>) -> FileError {
        FileError::Archive { archive: self.shown.to_owned(), reason: reason.into() }
    }

    fn tar(&mut self, reader: impl Read) -> Result<(), FileError> {
        make_parents(self.root, self.target, 0o755, self.owner, self.time)?;
        let mut archive = tar::Archive::new(reader);
        let entries = archive.entries().map_err(|error| self.bad(error.to_string()))?;
        for entry in entries {
            let mut entry = entry.map_err(|error| self.bad(error.to_string()))?;
            self.count()?;
            let name = PathBuf::from(std::ffi::OsStr::from_bytes(&entry.path_bytes()));
            let header = entry.header();
            let number =
                |n: io::Result<u64>| n.ok().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
            let own = Ids { uid: number(header.uid()), gid: number(header.gid()) };
            let meta = Entry {
                path: self.place(&name)?,
                mode: header.mode().map_err(|error| self.bad(error.to_string()))? & 0o7777,
                owner: self.owner.unwrap_or(own),
                mtime: i128::from(header.mtime().unwrap_or(0)) * 1_000_000_000,
            };
            let (kind, device) = (header.entry_type(), device(header));
            let link = entry
                .link_name_bytes()
                .map(|name| PathBuf::from(std::ffi::OsStr::from_bytes(&name)));
            match kind {
                EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                    self.file(&meta, &mut entry)?;
                }
                EntryType::Directory => self.directory(&meta)?,
                EntryType::Symlink => self.symlink(&meta, &link.unwrap_or_default())?,
                EntryType::Link => self.hard_link(&meta, &link.unwrap_or_default())?,
                EntryType::Char => self.node(&meta, FileType::CharacterDevice, device)?,
                EntryType::Block => self.node(&meta, FileType::BlockDevice, device)?,
                EntryType::Fifo => self.node(&meta, FileType::Fifo, 0)?,
                _ => {}
            }
        }
        self.finish_directories()
    }

    fn zip(&mut self, file: File) -> Result<(), FileError> {
        make_parents(self.root, self.target, 0o755, self.owner, self.time)?;
        let mut archive = zip::ZipArchive::new(BufReader::new(file))
            .map_err(|error| self.bad(error.to_string()))?;
        for index in 0..archive.len() {
            let mut entry = archive.by_index(index).map_err(|error| self.bad(error.to_string()))?;
            self.count()?;
            let name = PathBuf::from(entry.name());
            let default = if entry.is_dir() { 0o755 } else { 0o644 };
            let meta = Entry {
                path: self.place(&name)?,
                mode: entry.unix_mode().map_or(default, |mode| mode & 0o7777),
                owner: self.owner.unwrap_or(Ids { uid: 0, gid: 0 }),
                mtime: 0,
            };
            if entry.is_dir() {
                self.directory(&meta)?;
            } else if entry.is_symlink() {
                let mut target = Vec::new();
                entry
                    .by_ref()
                    .take(4096)
                    .read_to_end(&mut target)
                    .map_err(|error| self.bad(error.to_string()))?;
                self.symlink(&meta, Path::new(std::ffi::OsStr::from_bytes(&target)))?;
            } else {
                self.file(&meta, &mut entry)?;
            }
        }
        self.finish_directories()
    }

    fn count(&mut self) -> Result<(), FileError> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            Err(self.bad(format!("more than {MAX_ENTRIES} entries")))
        } else {
            Ok(())
        }
    }

    /// Where an entry goes. Its directory is made if it is missing.
    fn place(&self, name: &Path) -> Result<PathBuf, FileError> {
        let escape = || {
            self.bad(format!("`{}` would be written outside of the destination", name.display()))
        };
        let mut inside = PathBuf::new();
        for component in name.components() {
            match component {
                Component::Normal(part) => inside.push(part),
                Component::CurDir | Component::RootDir => {}
                Component::ParentDir | Component::Prefix(_) => return Err(escape()),
            }
        }
        let Some(parent) = inside.parent() else { return Ok(self.target.to_owned()) };
        let mut here = self.target.to_owned();
        for part in parent {
            here.push(part);
            match fs::symlink_metadata(&here) {
                Ok(metadata) if metadata.is_symlink() => {
                    // A link is fine as long as it stays below the destination.
                    let inside = here
                        .strip_prefix(self.root)
                        .unwrap_or(&here)
                        .to_string_lossy()
                        .into_owned();
                    let followed =
                        scope::resolve(self.root, &inside, true).map_err(|_| escape())?;
                    let literal = fs::canonicalize(&here).map_err(|_| escape())?;
                    if !followed.starts_with(self.target)
                        || literal != followed
                        || !followed.is_dir()
                    {
                        return Err(escape());
                    }
                    here = followed;
                }
                Ok(metadata) if !metadata.is_dir() => {
                    return Err(self.bad(format!("`{}` is below a file", name.display())));
                }
                Ok(_) => {}
                Err(_) => make_parents(self.root, &here, 0o755, self.owner, self.time)?,
            }
        }
        Ok(inside.file_name().map_or(here.clone(), |name| here.join(name)))
    }

    /// Takes away what has the name of an entry, unless both are directories.
    fn clear(&self, path: &Path) -> Result<(), FileError> {
        let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
        let removed =
            if metadata.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.map_err(FileError::io("replace", scope::shown(self.root, path)))
    }

    fn file(&self, entry: &Entry, data: &mut impl Read) -> Result<(), FileError> {
        self.clear(&entry.path)?;
        let shown = || scope::shown(self.root, &entry.path);
        let open =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&entry.path);
        let mut file = open.map_err(FileError::io("write", shown()))?;
        io::copy(data, &mut file).map_err(|source| match source.kind() {
            io::ErrorKind::StorageFull => FileError::Io { doing: "write", path: shown(), source },
            _ => self.bad(format!("`{}`: {source}", shown())),
        })?;
        drop(file);
        self.attributes(entry, true)
    }

    fn directory(&mut self, entry: &Entry) -> Result<(), FileError> {
        let is_dir = fs::symlink_metadata(&entry.path).is_ok_and(|metadata| metadata.is_dir());
        if !is_dir {
            self.clear(&entry.path)?;
            fs::create_dir(&entry.path)
                .map_err(FileError::io("make", scope::shown(self.root, &entry.path)))?;
        }
        self.attributes(entry, true)?;
        self.directories.push((entry.path.clone(), entry.mtime));
        Ok(())
    }

    fn symlink(&self, entry: &Entry, target: &Path) -> Result<(), FileError> {
        self.clear(&entry.path)?;
        let made = std::os::unix::fs::symlink(target, &entry.path);
        made.map_err(FileError::io("make", scope::shown(self.root, &entry.path)))?;
        self.attributes(entry, false)
    }

    fn hard_link(&self, entry: &Entry, target: &Path) -> Result<(), FileError> {
        let target = self.place(target)?;
        if fs::symlink_metadata(&target).is_ok_and(|metadata| metadata.is_symlink()) {
            return Err(self.bad(format!(
                "`{}` is a hard link to a symbolic link",
                scope::shown(self.root, &entry.path)
            )));
        }
        self.clear(&entry.path)?;
        fs::hard_link(&target, &entry.path)
            .map_err(FileError::io("link", scope::shown(self.root, &target)))
    }

    fn node(&self, entry: &Entry, kind: FileType, device: u64) -> Result<(), FileError> {
        self.clear(&entry.path)?;
        let made = sys::make_node(&entry.path, kind, entry.mode, device);
        made.map_err(FileError::io("make", scope::shown(self.root, &entry.path)))?;
        self.attributes(entry, true)
    }

    fn attributes(&self, entry: &Entry, with_mode: bool) -> Result<(), FileError> {
        finish(self.root, &entry.path, with_mode.then_some(entry.mode), Some(entry.owner), None)?;
        self.set_time(&entry.path, entry.mtime)
    }

    fn set_time(&self, path: &Path, mtime: i128) -> Result<(), FileError> {
        let time = self.time.map_or(mtime, i128::from);
        sys::set_time(path, time)
            .map_err(FileError::io("change time of", scope::shown(self.root, path)))
    }

    fn finish_directories(&self) -> Result<(), FileError> {
        let mut done = BTreeSet::new();
        for (path, mtime) in self.directories.iter().rev() {
            if done.insert(path) && path.is_dir() {
                self.set_time(path, *mtime)?;
            }
        }
        Ok(())
    }
}

/// The device number of a special file, as the kernel packs it.
fn device(header: &tar::Header) -> u64 {
    let part = |number: io::Result<Option<u32>>| number.ok().flatten().unwrap_or(0);
    rustix::fs::makedev(part(header.device_major()), part(header.device_minor()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            header.set_uid(1000);
            header.set_mtime(1);
            // Names are written as bytes: the library would refuse hostile ones.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            let data = match kind {
                EntryType::Regular => content.as_bytes(),
                _ => {
                    header.as_mut_bytes()[157..157 + content.len()]
                        .copy_from_slice(content.as_bytes());
                    &[]
                }
            };
            header.set_size(data.len() as u64);
            header.set_cksum();
            builder.append(&header, data).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn unpacked(bytes: &[u8]) -> (tempfile::TempDir, Result<bool, FileError>) {
        let root = tempfile::tempdir().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().write_all(bytes).unwrap();
        let result =
            unpack(file.path(), "/a.tar", root.path(), "/dest", Some(Ids { uid: 0, gid: 0 }), None);
        (root, result)
    }

    #[test]
    fn every_compression_is_recognised_by_its_bytes() {
        let tar = archive(&[
            ("bin/", EntryType::Directory, ""),
            ("bin/tool", EntryType::Regular, "hello"),
        ]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&tar).unwrap();
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(&tar).unwrap();
        let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        zip.start_file(
            "bin/tool",
            zip::write::SimpleFileOptions::default().unix_permissions(0o755),
        )
        .unwrap();
        zip.write_all(b"hello").unwrap();
        let forms = [
            tar.clone(),
            gzip.finish().unwrap(),
            xz.finish().unwrap(),
            bzip2.finish().unwrap(),
            zstd::encode_all(&tar[..], 1).unwrap(),
            zip.finish().unwrap().into_inner(),
        ];
        for form in forms {
            let (root, result) = unpacked(&form);
            assert!(result.unwrap());
            assert_eq!(fs::read_to_string(root.path().join("dest/bin/tool")).unwrap(), "hello");
        }
        let (_, result) = unpacked(b"#!/bin/sh\n");
        assert!(!result.unwrap());
    }

    #[test]
    fn an_archive_cannot_write_outside() {
        let hostile: &[&[(&str, EntryType, &str)]] = &[
            &[("../evil", EntryType::Regular, "x")],
            &[("a/../../evil", EntryType::Regular, "x")],
            &[("out", EntryType::Symlink, "/"), ("out/evil", EntryType::Regular, "x")],
            &[("out", EntryType::Symlink, "../.."), ("out/evil", EntryType::Regular, "x")],
            &[("out", EntryType::Symlink, "/etc/passwd"), ("copy", EntryType::Link, "out")],
            &[("copy", EntryType::Link, "../../etc/passwd")],
        ];
        for entries in hostile {
            let (root, result) = unpacked(&archive(entries));
            let error = result.unwrap_err();
            assert!(error.to_string().starts_with("archive /a.tar: `"), "{error}");
            assert!(!root.path().join("evil").exists());
        }
    }

    #[test]
    fn a_link_that_stays_inside_is_followed() {
        let tar = archive(&[
            ("real/", EntryType::Directory, ""),
            ("link", EntryType::Symlink, "real"),
            ("link/file", EntryType::Regular, "x"),
        ]);
        let (root, result) = unpacked(&tar);
        result.unwrap();
        assert!(root.path().join("dest/real/file").is_file());
    }
}
