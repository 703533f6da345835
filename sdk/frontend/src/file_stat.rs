//! What is known of a file of a result.

use std::collections::BTreeMap;

use bytes::Bytes;
use kiln_filesync::mode;
use kiln_llb::FileMode;
use kiln_wire::proto::filetree as wire;

/// What is known of a file of a result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileStat {
    /// Its path, or its name where a directory is listed.
    pub path: String,
    /// Its type and permissions.
    pub mode: FileMode,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its length, in bytes.
    pub size: u64,
    /// When it was changed, in nanoseconds since 1970.
    pub modified_nanos: i64,
    /// What a link says: where a symbolic link points, or the file that this one is the same as.
    pub link: String,
    /// The numbers of a device, major and minor.
    pub device: (i64, i64),
    /// Extended attributes.
    pub xattrs: BTreeMap<String, Bytes>,
}

impl FileStat {
    /// A file of which nothing else is known.
    pub fn new(path: impl Into<String>, mode: impl Into<FileMode>) -> Self {
        Self { path: path.into(), mode: mode.into(), ..Self::default() }
    }

    /// With an owner and a group.
    #[must_use]
    pub fn owner(mut self, uid: u32, gid: u32) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    /// With a length, in bytes.
    #[must_use]
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = bytes;
        self
    }

    /// With a time of change, in nanoseconds since 1970.
    #[must_use]
    pub fn modified_nanos(mut self, nanos: i64) -> Self {
        self.modified_nanos = nanos;
        self
    }

    /// With what a link says.
    #[must_use]
    pub fn link(mut self, target: impl Into<String>) -> Self {
        self.link = target.into();
        self
    }

    pub(crate) fn from_wire(stat: wire::Stat) -> Self {
        Self {
            path: stat.path,
            mode: mode::to_posix(stat.mode).into(),
            uid: stat.uid,
            gid: stat.gid,
            size: u64::try_from(stat.size).unwrap_or(0),
            modified_nanos: stat.mod_time,
            link: stat.linkname,
            device: (stat.devmajor, stat.devminor),
            xattrs: stat.xattrs,
        }
    }

    #[cfg(feature = "pb")]
    pub(crate) fn into_wire(self) -> wire::Stat {
        wire::Stat {
            path: self.path,
            mode: mode::from_posix(self.mode.bits()),
            uid: self.uid,
            gid: self.gid,
            size: i64::try_from(self.size).unwrap_or(i64::MAX),
            mod_time: self.modified_nanos,
            linkname: self.link,
            devmajor: self.device.0,
            devminor: self.device.1,
            xattrs: self.xattrs,
        }
    }
}

#[cfg(feature = "pb")]
impl From<wire::Stat> for FileStat {
    fn from(stat: wire::Stat) -> Self {
        Self::from_wire(stat)
    }
}

#[cfg(feature = "pb")]
impl From<FileStat> for wire::Stat {
    fn from(stat: FileStat) -> Self {
        stat.into_wire()
    }
}
