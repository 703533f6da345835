//! Writing tar streams: the same entries always give the same bytes.
//!
//! Entries come in, POSIX headers go out; what does not fit a header (long names, extended
//! attributes) goes into a PAX header before it. Nothing is read from disk here.

use std::io::{self, Read, Write};

use tar::{EntryType, Header};

/// How many bytes of a file are read at a time.
const PIECE: usize = 64 << 10;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A directory; its name ends in `/`.
    Directory,
    /// A file with so many bytes.
    File(u64),
    /// Another name for an entry that came before.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice(u32, u32),
    /// A block device.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
}

/// One entry, without its content.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Relative to the root of the archive.
    pub(crate) name: Vec<u8>,
    pub(crate) kind: EntryKind,
    /// Permissions, without the type.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since 1970.
    pub(crate) mtime: i64,
    /// Where a link points.
    pub(crate) link: Vec<u8>,
    /// Extended attributes, sorted by name.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// An entry that belongs to root and is from 1970.
    pub(crate) fn new(name: impl Into<Vec<u8>>, kind: EntryKind, mode: u32) -> Self {
        let name = name.into();
        let (link, xattrs) = (Vec::new(), Vec::new());
        Self { name, kind, mode, uid: 0, gid: 0, mtime: 0, link, xattrs }
    }
}

/// Writes entries one after the other.
#[derive(Debug)]
pub(crate) struct TarWriter<W> {
    out: W,
}

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out }
    }

    /// Writes an entry that has no content.
    pub(crate) fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        let mut records = Vec::new();
        let mut header = Header::new_ustar();
        let old = header.as_old_mut();
        if !place(&mut old.name, &entry.name) {
            pax(&mut records, b"path", &entry.name);
        }
        if !place(&mut old.linkname, &entry.link) {
            pax(&mut records, b"linkpath", &entry.link);
        }
        for (name, value) in &entry.xattrs {
            pax(&mut records, &[b"SCHILY.xattr.", &name[..]].concat(), value);
        }
        let (kind, size) = match entry.kind {
            EntryKind::Directory => (EntryType::Directory, 0),
            EntryKind::File(size) => (EntryType::Regular, size),
            EntryKind::HardLink => (EntryType::Link, 0),
            EntryKind::Symlink => (EntryType::Symlink, 0),
            EntryKind::CharDevice(..) => (EntryType::Char, 0),
            EntryKind::BlockDevice(..) => (EntryType::Block, 0),
            EntryKind::Fifo => (EntryType::Fifo, 0),
        };
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(entry.mode);
        header.set_uid(u64::from(entry.uid));
        header.set_gid(u64::from(entry.gid));
        match u64::try_from(entry.mtime) {
            Ok(mtime) => header.set_mtime(mtime),
            // Before 1970 there is only the PAX way to say it.
            Err(_) => {
                pax(&mut records, b"mtime", entry.mtime.to_string().as_bytes());
                header.set_mtime(0);
            }
        }
        if let EntryKind::CharDevice(major, minor) | EntryKind::BlockDevice(major, minor) =
            entry.kind
        {
            header.set_device_major(major)?;
            header.set_device_minor(minor)?;
        }
        if !records.is_empty() {
            self.pax_header(&records)?;
        }
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }

    /// Writes a file with its content.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::UnexpectedEof`] if there is less content than the entry says.
    pub(crate) fn file(&mut self, entry: &Entry, content: impl Read) -> io::Result<()> {
        self.entry(entry)?;
        let EntryKind::File(size) = entry.kind else { return Ok(()) };
        let (mut content, mut left) = (content.take(size), size);
        let most = usize::try_from(size).unwrap_or(usize::MAX).min(PIECE);
        let mut buffer = vec![0; most.max(1)];
        while left > 0 {
            match content.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    self.out.write_all(&buffer[..read])?;
                    left -= read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.pad(size)
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.out.write_all(&[0; 1024])?;
        self.out.flush()
    }

    fn pax_header(&mut self, records: &[u8]) -> io::Result<()> {
        let size = records.len() as u64;
        let mut header = Header::new_ustar();
        place(&mut header.as_old_mut().name, b"PaxHeaders/entry");
        header.set_entry_type(EntryType::XHeader);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header.set_cksum();
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(records)?;
        self.pad(size)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let rest = usize::try_from(size % 512).unwrap_or(0);
        if rest > 0 {
            self.out.write_all(&[0; 512][rest..])?;
        }
        Ok(())
    }
}

/// Puts a text into a field, cut off if it is too long; tells whether it fit.
fn place(field: &mut [u8], text: &[u8]) -> bool {
    let len = text.len().min(field.len());
    field[..len].copy_from_slice(&text[..len]);
    len == text.len()
}

/// Adds a record; its length counts itself.
fn pax(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while rest + len.to_string().len() != len {
        len = rest + len.to_string().len();
    }
    records.extend_from_slice(len.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_reader_finds_what_was_written() {
        let long = "d/".repeat(80) + "file";
        let mut bytes = Vec::new();
        let mut writer = TarWriter::new(&mut bytes);
        let mut entry = Entry::new(long.clone(), EntryKind::File(5), 0o640);
        entry.xattrs.push((b"user.a".to_vec(), vec![0, 255, b'=']));
        (entry.uid, entry.gid, entry.mtime) = (3_000_000, 7, 1_700_000_000);
        writer.file(&entry, &b"hello world"[..]).unwrap();
        let mut link = Entry::new("link", EntryKind::HardLink, 0o640);
        link.link = long.clone().into_bytes();
        writer.entry(&link).unwrap();
        writer.entry(&Entry::new("null", EntryKind::CharDevice(1, 3), 0o666)).unwrap();
        writer.finish().unwrap();

        assert_eq!(bytes.len() % 512, 0);
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut entries = archive.entries().unwrap();
        let mut file = entries.next().unwrap().unwrap();
        assert_eq!(file.path_bytes(), long.as_bytes());
        assert_eq!(file.header().uid().unwrap(), 3_000_000);
        assert_eq!(file.header().mtime().unwrap(), 1_700_000_000);
        let extensions: Vec<_> =
            file.pax_extensions().unwrap().unwrap().map(Result::unwrap).collect();
        assert_eq!(extensions[1].key().unwrap(), "SCHILY.xattr.user.a");
        assert_eq!(extensions[1].value_bytes(), [0, 255, b'=']);
        let mut content = String::new();
        file.read_to_string(&mut content).unwrap();
        assert_eq!(content, "hello");
        let link = entries.next().unwrap().unwrap();
        assert_eq!(link.link_name_bytes().unwrap(), long.as_bytes());
        let device = entries.next().unwrap().unwrap();
        assert_eq!(device.header().device_minor().unwrap(), Some(3));
        assert!(entries.next().is_none());
    }

    #[test]
    fn content_that_is_too_short_is_an_error() {
        let mut writer = TarWriter::new(Vec::new());
        let entry = Entry::new("a", EntryKind::File(5), 0o644);
        let error = writer.file(&entry, &b"1234"[..]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn the_length_of_a_record_counts_its_own_digits() {
        for value_len in 80..110 {
            let mut records = Vec::new();
            pax(&mut records, b"path", &vec![b'x'; value_len]);
            let said = std::str::from_utf8(&records).unwrap().split(' ').next().unwrap();
            assert_eq!(said.parse(), Ok(records.len()));
        }
    }
}
