//! What a file system holds, entry by entry, read from archives, layers and directories alike.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use tar::EntryType;

/// Entries by name, without slashes at either end.
pub type Tree = BTreeMap<Vec<u8>, Facts>;

/// What there is to know of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// As in `ls -l`: `-`, `d`, `l`, `p`, `c`, `b`.
    pub kind: char,
    /// Permissions, set-id and sticky bits.
    pub mode: u32,
    /// User and group.
    pub owner: (u64, u64),
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    /// The length of a file.
    pub size: u64,
    /// The digest of a file's content.
    pub content: String,
    /// Where a symbolic link leads.
    pub target: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes of users, and file capabilities.
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// The least of the names of an entry that has several.
    pub linked: Option<Vec<u8>>,
}

/// The entries of a tar.
///
/// # Panics
///
/// If it is none.
pub fn of_tar(reader: impl Read) -> Tree {
    let mut tree = Tree::new();
    let mut links: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for entry in tar::Archive::new(reader).entries().expect("an archive") {
        let mut entry = entry.expect("the archive is whole");
        let name = trimmed(&entry.path_bytes());
        let header = entry.header().clone();
        let target = entry.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default();
        if header.entry_type() == EntryType::Link {
            links.push((name, trimmed(&target)));
            continue;
        }
        let mut facts = Facts {
            kind: kind_of(header.entry_type()),
            mode: header.mode().expect("a mode") & 0o7777,
            owner: (header.uid().unwrap_or(0), header.gid().unwrap_or(0)),
            mtime: (i64::try_from(header.mtime().unwrap_or(0)).expect("a time"), 0),
            ..Facts::default()
        };
        for record in entry.pax_extensions().expect("records").into_iter().flatten() {
            let record = record.expect("a record");
            facts.take(record.key().expect("a key"), record.value_bytes());
        }
        match facts.kind {
            'l' => facts.target = target,
            'c' | 'b' => {
                let part =
                    |number: std::io::Result<Option<u32>>| number.ok().flatten().unwrap_or(0);
                facts.device = (part(header.device_major()), part(header.device_minor()));
            }
            '-' => facts.read(&mut entry),
            _ => {}
        }
        tree.insert(name, facts);
    }
    link(&mut tree, links);
    tree
}

/// The entries of layers, the lowest first.
pub fn of_layers(layers: impl IntoIterator<Item = Tree>) -> Tree {
    let mut tree = Tree::new();
    for layer in layers {
        for name in layer.keys() {
            let (parent, last) = split(name);
            let below = |name: &[u8]| name.starts_with(&[parent, b"/"].concat());
            match last.strip_prefix(b".wh.") {
                Some(b".wh..opq") => tree.retain(|name, _| !below(name)),
                Some(hidden) => {
                    let hidden = if parent.is_empty() {
                        hidden.to_vec()
                    } else {
                        [parent, b"/", hidden].concat()
                    };
                    tree.retain(|name, _| {
                        *name != hidden && !name.starts_with(&[&hidden[..], b"/"].concat())
                    });
                }
                None => {}
            }
        }
        tree.extend(layer.into_iter().filter(|(name, _)| !split(name).1.starts_with(b".wh.")));
    }
    tree
}

/// The entries of a directory.
///
/// # Panics
///
/// If it cannot be read.
pub fn of_directory(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut first: BTreeMap<(u64, u64), Vec<u8>> = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    let mut found = Vec::new();
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let metadata = fs::symlink_metadata(&path).expect("metadata");
            if metadata.is_dir() {
                pending.push(path.clone());
            }
            let name = path.strip_prefix(root).expect("below the root").as_os_str().as_bytes();
            found.push((name.to_vec(), path.clone(), metadata));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, path, metadata) in found {
        let mut facts = facts_of(&path, &metadata);
        if metadata.nlink() > 1 && !metadata.is_dir() {
            let least =
                first.entry((metadata.dev(), metadata.ino())).or_insert_with(|| name.clone());
            facts.linked = Some(least.clone());
        }
        tree.insert(name, facts);
    }
    tree
}

/// What is below a directory of a tree, by names relative to it.
pub fn below(tree: &Tree, directory: &str) -> Tree {
    let prefix = format!("{directory}/").into_bytes();
    let strip = |name: &[u8]| name.strip_prefix(&prefix[..]).map(<[u8]>::to_vec);
    let inside = tree.iter().filter_map(|(name, facts)| {
        let linked = facts.linked.as_deref().and_then(strip);
        Some((strip(name)?, Facts { linked, ..facts.clone() }))
    });
    inside.collect()
}

impl Facts {
    fn read(&mut self, content: &mut impl Read) {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).expect("the content of an entry");
        self.size = bytes.len() as u64;
        self.content = crate::sha256(&bytes);
    }

    /// Takes a PAX record.
    fn take(&mut self, key: &str, value: &[u8]) {
        let text = || std::str::from_utf8(value).expect("a text");
        match key {
            "uid" => self.owner.0 = text().parse().expect("a number"),
            "gid" => self.owner.1 = text().parse().expect("a number"),
            "mtime" => {
                let (seconds, fraction) = text().split_once('.').unwrap_or((text(), "0"));
                let fraction = format!("{fraction:0<9}");
                self.mtime =
                    (seconds.parse().expect("a time"), fraction[..9].parse().expect("a fraction"));
            }
            _ => {
                if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                    self.xattrs.insert(name.to_owned(), value.to_vec());
                }
            }
        }
    }
}

fn facts_of(path: &Path, metadata: &Metadata) -> Facts {
    let kind = metadata.file_type();
    let mut facts = Facts {
        kind: match () {
            () if kind.is_dir() => 'd',
            () if kind.is_symlink() => 'l',
            () if kind.is_fifo() => 'p',
            () if kind.is_char_device() => 'c',
            () if kind.is_block_device() => 'b',
            () => '-',
        },
        mode: metadata.mode() & 0o7777,
        owner: (metadata.uid().into(), metadata.gid().into()),
        mtime: (metadata.mtime(), u32::try_from(metadata.mtime_nsec()).expect("a fraction")),
        ..Facts::default()
    };
    match facts.kind {
        '-' => facts.read(&mut File::open(path).expect("a file")),
        'l' => facts.target = fs::read_link(path).expect("a link").into_os_string().into_vec(),
        'c' | 'b' => {
            let device = metadata.rdev();
            facts.device = (rustix::fs::major(device), rustix::fs::minor(device));
        }
        _ => {}
    }
    if facts.kind != 'l' {
        facts.xattrs = xattrs(path);
    }
    facts
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 4096];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let names = names[..len].split(|byte| *byte == 0).map(|name| String::from_utf8_lossy(name));
    let counts = |name: &str| name.starts_with("user.") || name == "security.capability";
    let value = |name: String| {
        let mut value = vec![0; 4096];
        let len = rustix::fs::lgetxattr(path, &*name, &mut value[..]).expect("an attribute");
        (name, value[..len].to_vec())
    };
    names.filter(|name| counts(name)).map(|name| value(name.into_owned())).collect()
}

/// Gives names of the same file the same facts.
fn link(tree: &mut Tree, links: Vec<(Vec<u8>, Vec<u8>)>) {
    for (name, target) in links {
        let mut facts =
            tree.get(&target).cloned().expect("the target of a hard link comes before it");
        let known = facts.linked.take().unwrap_or_else(|| target.clone());
        let least = known.clone().min(name.clone());
        for (other, facts) in tree.iter_mut() {
            if *other == target || facts.linked.as_ref() == Some(&known) {
                facts.linked = Some(least.clone());
            }
        }
        facts.linked = Some(least);
        tree.insert(name, facts);
    }
}

fn kind_of(kind: EntryType) -> char {
    match kind {
        EntryType::Directory => 'd',
        EntryType::Symlink => 'l',
        EntryType::Fifo => 'p',
        EntryType::Char => 'c',
        EntryType::Block => 'b',
        _ => '-',
    }
}

fn trimmed(name: &[u8]) -> Vec<u8> {
    let name = name.strip_prefix(b"./").unwrap_or(name);
    let name = name.strip_prefix(b"/").unwrap_or(name);
    name.strip_suffix(b"/").unwrap_or(name).to_vec()
}

/// A name as directory and last part.
fn split(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&name[..at], &name[at + 1..]),
        None => (b"", name),
    }
}
