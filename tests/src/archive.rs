//! Archives, made and read, with the ones among them that no honest program makes.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

/// An entry of an archive.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// A directory.
    Directory(&'a str),
    /// A file with a mode, an owner and a content.
    File(&'a str, u32, u64, &'a [u8]),
    /// A symbolic link and where it leads.
    Link(&'a str, &'a str),
}

/// A tar archive with these entries, whatever their names are.
///
/// # Panics
///
/// If a name is too long for a header.
pub fn tar(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for entry in entries {
        let mut header = Header::new_ustar();
        header.set_mtime(1_600_000_000);
        header.set_uid(0);
        header.set_gid(0);
        let (path, content): (&str, &[u8]) = match entry {
            Entry::Directory(path) => {
                header.set_entry_type(EntryType::Directory);
                header.set_mode(0o755);
                (path, b"")
            }
            Entry::File(path, mode, owner, content) => {
                header.set_entry_type(EntryType::Regular);
                header.set_mode(*mode);
                header.set_uid(*owner);
                header.set_gid(*owner);
                (path, content)
            }
            Entry::Link(path, target) => {
                header.set_entry_type(EntryType::Symlink);
                header.set_mode(0o777);
                header.set_link_name_literal(target).expect("the link fits");
                (path, b"")
            }
        };
        // Written by hand, because names that escape are refused by those who mean well.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).expect("writing to memory cannot fail");
    }
    builder.into_inner().expect("writing to memory cannot fail")
}

/// The same, compressed.
///
/// # Panics
///
/// If a name is too long for a header.
pub fn tar_gz(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&tar(entries)).expect("writing to memory cannot fail");
    encoder.finish().expect("writing to memory cannot fail")
}

/// What two archives hold and do not share, by path and in words.
///
/// # Panics
///
/// If one is no archive.
pub fn differences(one: &Path, other: &Path) -> Vec<String> {
    let (one, other) = (tree(one), tree(other));
    let paths: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let differ = paths.into_iter().filter(|path| one.get(*path) != other.get(*path));
    differ.map(|path| format!("{path}: {:?} != {:?}", one.get(path), other.get(path))).collect()
}

/// What an archive holds: by path, each entry's kind, owner, mode, link and content, but no times.
///
/// # Panics
///
/// If it is no archive.
fn tree(path: &Path) -> BTreeMap<String, String> {
    let file = std::fs::File::open(path).expect("the archive was written");
    let mut tree = BTreeMap::new();
    for entry in tar::Archive::new(file).entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("the content of an entry");
        let header = entry.header();
        let link = entry.link_name().expect("a link").unwrap_or_default().display().to_string();
        let told = format!(
            "{:?} {}:{} {:o} {link} {}",
            header.entry_type(),
            header.uid().expect("an owner"),
            header.gid().expect("a group"),
            header.mode().expect("a mode") & 0o7777,
            crate::sha256(&content),
        );
        let name = entry.path().expect("a path").display().to_string();
        tree.insert(name.trim_start_matches("./").trim_end_matches('/').to_owned(), told);
    }
    tree.remove("");
    tree
}

/// The files of an archive with their contents, by path.
///
/// # Panics
///
/// If it is no archive.
pub fn files(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let file = std::fs::File::open(path).expect("the archive was written");
    let mut archive = tar::Archive::new(file);
    let entries = archive.entries().expect("it is an archive");
    let mut files = BTreeMap::new();
    for entry in entries {
        let mut entry = entry.expect("the archive is whole");
        let name = entry.path().expect("names are paths").display().to_string();
        let mut content = Vec::new();
        match entry.link_name().expect("links are paths") {
            Some(target) => content = format!("-> {}", target.display()).into_bytes(),
            None => {
                entry.read_to_end(&mut content).expect("the archive is whole");
            }
        }
        files.insert(name.trim_start_matches("./").to_owned(), content);
    }
    files
}

/// The user and the permissions of an entry of an archive.
///
/// # Panics
///
/// If it is no archive.
pub fn owner_and_mode(path: &Path, name: &str) -> Option<(u64, u32)> {
    let file = std::fs::File::open(path).expect("the archive was written");
    let mut archive = tar::Archive::new(file);
    let mut entries = archive.entries().expect("it is an archive");
    entries.find_map(|entry| {
        let entry = entry.expect("the archive is whole");
        let header = entry.header();
        let found = entry.path().is_ok_and(|path| path == Path::new(name));
        found.then(|| (header.uid().expect("a number"), header.mode().expect("a number")))
    })
}
