//! Packing: a layer directory becomes a tar stream.
//!
//! The same directory always gives the same bytes, and those that BuildKit gives (its layers are
//! written by containerd with Go's `archive/tar`): entries in order of their names, ustar headers with
//! PAX records only where a field cannot say it, numeric owners, whole seconds. Whiteouts become
//! `.wh.` files and opaque directories get a `.wh..wh..opq`; so a file whose own name begins so cannot
//! be packed. Holes become zeros, because many readers of layers know no sparse files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::attributes::{is_opaque, is_whiteout, xattrs};
use crate::error::StoreError;
use crate::owner;
use crate::sparse::Extents;

/// Zeros to write in place of holes.
static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

/// Why a layer was not packed.
#[derive(Debug)]
pub(crate) enum PackerError {
    /// A file that would delete another where the layer is unpacked.
    Whiteout(PathBuf),
    Store(StoreError),
}

impl From<StoreError> for PackerError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The largest number that seven octal digits hold, for owners and devices.
const SMALL_LIMIT: u64 = 0o7777777;
/// The largest number that eleven octal digits hold, for sizes and times.
const LARGE_LIMIT: u64 = 0o77777777777;

/// Writes the tar of a layer directory.
pub(crate) struct Packer<'a, W> {
    root: &'a Path,
    user_namespace: bool,
    /// Times later than this become this.
    clamp: Option<i64>,
    out: W,
    /// The first name of each file with several.
    names: BTreeMap<(u64, u64), Vec<u8>>,
}

/// What a header says, beside names.
#[derive(Default)]
struct Fields {
    kind: u8,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: i64,
    device: (u32, u32),
}

impl<'a, W: Write> Packer<'a, W> {
    pub(crate) fn new(root: &'a Path, user_namespace: bool, clamp: Option<i64>, out: W) -> Self {
        Self { root, user_namespace, clamp, out, names: BTreeMap::new() }
    }

    /// Writes everything, and gives the stream back.
    pub(crate) fn pack(mut self) -> Result<W, PackerError> {
        // Depth first without recursion: a layer may be nested deeper than a stack is.
        let mut pending = self.children(Path::new(""))?;
        while let Some((name, metadata)) = pending.pop() {
            if name.file_name().is_some_and(|name| name.as_bytes().starts_with(b".wh.")) {
                return Err(PackerError::Whiteout(name));
            }
            self.entry(&name, &metadata)?;
            if metadata.is_dir() {
                pending.extend(self.children(&name)?);
            }
        }
        self.write(&[0; 1024])?;
        Ok(self.out)
    }

    /// The entries of a directory, last first.
    fn children(&self, directory: &Path) -> Result<Vec<(PathBuf, Metadata)>, StoreError> {
        let path = self.root.join(directory);
        let failed = |error| StoreError::io("list", &path, error);
        let mut names: Vec<OsString> = Vec::new();
        for entry in fs::read_dir(&path).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
        }
        names.sort_by(|a, b| b.cmp(a));
        let look = |name: OsString| {
            let path = self.root.join(directory).join(&name);
            let metadata = fs::symlink_metadata(&path)
                .map_err(|error| StoreError::io("inspect", &path, error))?;
            Ok((directory.join(name), metadata))
        };
        names.into_iter().map(look).collect()
    }

    fn entry(&mut self, name: &Path, metadata: &Metadata) -> Result<(), StoreError> {
        let path = self.root.join(name);
        if is_whiteout(metadata) {
            let mut hidden = OsString::from(".wh.");
            hidden.push(name.file_name().unwrap_or_default());
            let name = name.with_file_name(hidden);
            return self.whiteout(name.as_os_str().as_bytes());
        }
        let kind = metadata.file_type();
        if kind.is_socket() {
            return Ok(());
        }
        let mut bytes = name.as_os_str().as_bytes().to_vec();
        let mut fields = self.fields(&path, metadata);
        let mut link = Vec::new();
        if kind.is_dir() {
            fields.kind = b'5';
            bytes.push(b'/');
        } else if kind.is_symlink() {
            fields.kind = b'2';
            let target = fs::read_link(&path);
            let target = target.map_err(|error| StoreError::io("read link", &path, error))?;
            link = target.into_os_string().into_vec();
        } else if let Some(first) = self.first_name(&bytes, metadata) {
            fields.kind = b'1';
            link = first;
        } else if kind.is_file() {
            fields.kind = b'0';
            fields.size = metadata.len();
        } else {
            fields.kind = match () {
                () if kind.is_char_device() => b'3',
                () if kind.is_block_device() => b'4',
                () => b'6',
            };
        }
        let extended = xattrs(&path);
        let mut extended =
            extended.map_err(|error| StoreError::io("read attributes of", &path, error))?;
        // Another name has the attributes of the first, but capabilities are written again.
        let is_link = fields.kind == b'1';
        extended.retain(|(name, _)| is_portable(name.as_bytes(), is_link));
        self.header(&bytes, &link, &fields, &extended)?;
        if fields.kind == b'0' {
            self.content(&path, fields.size)?;
        }
        if kind.is_dir() && is_opaque(&path, self.user_namespace) {
            bytes.extend_from_slice(b".wh..wh..opq");
            self.whiteout(&bytes)?;
        }
        Ok(())
    }

    /// A file that says that something is hidden. It has no attributes, and is from 1970.
    fn whiteout(&mut self, name: &[u8]) -> Result<(), StoreError> {
        self.header(name, b"", &Fields { kind: b'0', ..Fields::default() }, &[])
    }

    fn fields(&self, path: &Path, metadata: &Metadata) -> Fields {
        let (uid, gid) = owner::owner_of(path, metadata);
        let device = match metadata.rdev() {
            0 => (0, 0),
            device => (rustix::fs::major(device), rustix::fs::minor(device)),
        };
        let mtime = metadata.mtime();
        Fields {
            kind: 0,
            mode: metadata.mode() & 0o7777,
            uid,
            gid,
            size: 0,
            mtime: self.clamp.map_or(mtime, |latest| mtime.min(latest)),
            device,
        }
    }

    /// The name under which a file with several was written before; notes it the first time.
    fn first_name(&mut self, name: &[u8], metadata: &Metadata) -> Option<Vec<u8>> {
        if metadata.nlink() < 2 {
            return None;
        }
        let first = self.names.get(&(metadata.dev(), metadata.ino())).cloned();
        if first.is_none() {
            self.names.insert((metadata.dev(), metadata.ino()), name.to_vec());
        }
        first
    }

    fn content(&mut self, path: &Path, size: u64) -> Result<(), StoreError> {
        let failed = |error| StoreError::io("read", path, error);
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let mut buffer = vec![0; usize::try_from(size).unwrap_or(usize::MAX).min(256 << 10)];
        let mut at = 0;
        for extent in Extents::of(&file, &metadata) {
            let (offset, len) = extent.map_err(failed)?;
            self.zeros(offset.min(size) - at)?;
            at = offset.min(size);
            let end = (offset + len).min(size);
            while at < end {
                let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
                let read = file.read_at(&mut buffer[..most], at).map_err(failed)?;
                if read == 0 {
                    let error = io::Error::other("it became shorter while it was read");
                    return Err(failed(error));
                }
                self.write(&buffer[..read])?;
                at += read as u64;
            }
        }
        self.zeros(size - at)?;
        self.pad(size)
    }

    fn zeros(&mut self, mut len: u64) -> Result<(), StoreError> {
        while len > 0 {
            let next = len.min(ZEROS.len() as u64);
            self.write(&ZEROS[..next as usize])?;
            len -= next;
        }
        Ok(())
    }

    fn header(
        &mut self,
        name: &[u8],
        link: &[u8],
        fields: &Fields,
        extended: &[(OsString, Vec<u8>)],
    ) -> Result<(), StoreError> {
        let mut records: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut record = |key: &[u8], value: Vec<u8>| records.insert(key.to_vec(), value);
        for (key, text) in [(&b"path"[..], name), (b"linkpath", link)] {
            if text.len() > 100 || !text.is_ascii() {
                record(key, text.to_vec());
            }
        }
        let too_large = [
            (&b"uid"[..], u64::from(fields.uid), SMALL_LIMIT),
            (b"gid", u64::from(fields.gid), SMALL_LIMIT),
            (b"size", fields.size, LARGE_LIMIT),
        ];
        for (key, value, _) in too_large.iter().filter(|(_, value, limit)| value > limit) {
            record(key, value.to_string().into_bytes());
        }
        if u64::try_from(fields.mtime).map_or(true, |mtime| mtime > LARGE_LIMIT) {
            record(b"mtime", fields.mtime.to_string().into_bytes());
        }
        for (name, value) in extended {
            record(&[b"SCHILY.xattr.", name.as_bytes()].concat(), value.clone());
        }
        // A long name alone may fit into the two fields that ustar has for it.
        if records.keys().all(|key| key == b"path")
            && let Some((prefix, short)) = split_name(name)
        {
            return self.block(prefix, short, link, fields);
        }
        self.records(name, &records)?;
        self.block(b"", &short_of(name), &short_of(link), fields)
    }

    /// An entry of PAX records, in front of the one they belong to.
    fn records(
        &mut self,
        name: &[u8],
        records: &BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<(), StoreError> {
        let mut bytes = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            // The length counts its own digits.
            let mut len = rest + 1;
            while len.to_string().len() + rest != len {
                len = len.to_string().len() + rest;
            }
            bytes.extend_from_slice(format!("{len} ").as_bytes());
            bytes.extend_from_slice(&[key, &b"="[..], value, b"\n"].concat());
        }
        let at = name.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let (directory, file) = name.split_at(at);
        let own = [directory, b"PaxHeaders.0/", file].concat();
        let own = own.strip_suffix(b"/").unwrap_or(&own);
        let mut ascii: Vec<u8> = own.iter().copied().filter(u8::is_ascii).take(100).collect();
        while ascii.last() == Some(&b'/') {
            ascii.pop();
        }
        let fields = Fields { kind: b'x', size: bytes.len() as u64, ..Fields::default() };
        self.block(b"", &ascii, b"", &fields)?;
        self.write(&bytes)?;
        self.pad(fields.size)
    }

    fn block(
        &mut self,
        prefix: &[u8],
        name: &[u8],
        link: &[u8],
        fields: &Fields,
    ) -> Result<(), StoreError> {
        let mut block = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        let small = |value: u64| format!("{:07o}", if value > SMALL_LIMIT { 0 } else { value });
        let large = |value: u64| format!("{:011o}", if value > LARGE_LIMIT { 0 } else { value });
        put(0, name);
        put(100, small(u64::from(fields.mode)).as_bytes());
        put(108, small(u64::from(fields.uid)).as_bytes());
        put(116, small(u64::from(fields.gid)).as_bytes());
        put(124, large(fields.size).as_bytes());
        put(136, large(u64::try_from(fields.mtime).unwrap_or(0)).as_bytes());
        put(148, b"        ");
        put(156, &[fields.kind]);
        put(157, &link[..link.len().min(100)]);
        put(257, b"ustar\x0000");
        if fields.kind != b'x' {
            put(329, small(u64::from(fields.device.0)).as_bytes());
            put(337, small(u64::from(fields.device.1)).as_bytes());
        }
        put(345, prefix);
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.write(&block)
    }

    fn pad(&mut self, size: u64) -> Result<(), StoreError> {
        let padding = (size.next_multiple_of(512) - size) as usize;
        self.write(&[0; 512][..padding])
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.out.write_all(bytes).map_err(|error| StoreError::io("packing", self.root, error))
    }
}

/// A tar of one file, which belongs to nobody and is from no time.
pub(crate) fn single(name: &Path, content: &[u8]) -> io::Result<Vec<u8>> {
    let mut packer = Packer::new(Path::new(""), false, None, Vec::new());
    let fields = Fields { kind: b'0', size: content.len() as u64, ..Fields::default() };
    let written = packer
        .header(name.as_os_str().as_bytes(), b"", &fields, &[])
        .and_then(|()| packer.write(content))
        .and_then(|()| packer.pad(fields.size))
        .and_then(|()| packer.write(&[0; 1024]));
    written.map_err(io::Error::other)?;
    Ok(packer.out)
}

/// Labels belong to the machine, and ACLs name its users; neither travels.
fn is_portable(name: &[u8], is_link: bool) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && !is_link)
}

/// What a field for 100 bytes has of a text: what is ASCII, as much as fits, and not ending in a
/// slash where it was cut, because the slash would make it a directory for some readers.
fn short_of(text: &[u8]) -> Vec<u8> {
    let mut short: Vec<u8> = text.iter().copied().filter(u8::is_ascii).collect();
    if short.len() > 100 {
        short.truncate(100);
        while short.last() == Some(&b'/') {
            short.pop();
        }
    }
    short
}

/// A name as prefix and rest, if the fields of ustar can hold it.
fn split_name(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if !name.is_ascii() {
        return None;
    }
    if name.len() <= 100 {
        return Some((b"", name));
    }
    // As much as possible goes into the prefix; the slash of a directory stays with the rest.
    let most = name.len().saturating_sub(1).min(156);
    let slash = name[..most].iter().rposition(|byte| *byte == b'/').filter(|at| *at > 0)?;
    let (prefix, rest) = (&name[..slash], &name[slash + 1..]);
    (prefix.len() <= 155 && !rest.is_empty() && rest.len() <= 100).then_some((prefix, rest))
}

/// Whether anything in a layer directory was changed after a moment.
pub(crate) fn is_later(root: &Path, seconds: i64) -> Result<bool, StoreError> {
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        let failed = |error| StoreError::io("list", &directory, error);
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let metadata = entry.metadata().map_err(failed)?;
            if metadata.mtime() > seconds {
                return Ok(true);
            }
            if metadata.is_dir() {
                pending.push(entry.path());
            }
        }
    }
    Ok(false)
}
