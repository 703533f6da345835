//! What counts of an entry besides the bytes of a file.

use kiln_oci::{Digest, Hasher};

/// What an entry is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileKind {
    /// A file; so is a socket, of which nothing but its attributes is seen.
    #[default]
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// The attributes of an entry that count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: FileKind,
    /// Permissions, with the bits 04000, 02000 and 01000. Those of a link do not count.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The bytes of a file; that of other entries does not count.
    pub size: u64,
    /// Where a symbolic link points.
    pub target: Vec<u8>,
    /// The major and minor number of a device, as a client sends them. BuildKit does not see them
    /// when it scans a directory, and neither must who implements [`Tree`](super::Tree) on one.
    pub device: (u64, u64),
    /// Extended attributes in any order. Those of the system do not count, other than capabilities.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Header {
    /// A hasher that has taken in the header; of a file it is to be fed the bytes.
    pub fn hasher(&self) -> Hasher {
        let mut hasher = Hasher::default();
        let Self { uid, gid, .. } = self;
        let size = if self.kind == FileKind::File { self.size } else { 0 };
        let mode = if self.kind == FileKind::Symlink { 0o777 } else { self.mode & 0o7777 };
        let flag = self.flag();
        // A tar header once: name, names of the owners and separators are empty.
        hasher.update(format!("namemode{mode}uid{uid}gid{gid}size{size}typeflag{flag}linkname"));
        hasher.update(&self.target);
        let (major, minor) = self.device;
        hasher.update(format!("unamegnamedevmajor{major}devminor{minor}"));
        let mut xattrs: Vec<_> = self.xattrs.iter().filter(|(name, _)| counts(name)).collect();
        xattrs.sort();
        for (name, value) in xattrs {
            hasher.update(name);
            hasher.update(value);
        }
        hasher
    }

    /// The digest of an entry that is no file, or of an empty one.
    pub fn digest(&self) -> Digest {
        self.hasher().finish()
    }

    fn flag(&self) -> char {
        match self.kind {
            FileKind::File => '0',
            FileKind::Symlink => '2',
            FileKind::CharDevice => '3',
            FileKind::BlockDevice => '4',
            FileKind::Directory => '5',
            FileKind::Fifo => '6',
        }
    }
}

/// Whether an extended attribute counts.
fn counts(name: &[u8]) -> bool {
    name == b"security.capability"
        || !(name.starts_with(b"security.") || name.starts_with(b"system."))
}
