//! Reads tar archives entry by entry, from a stream, trusting nothing in them.
//!
//! Understands ustar and what came before it, GNU long names, base-256 numbers and old sparse files,
//! and PAX records with extended attributes (of star and of libarchive) and sparse files 0.0, 0.1
//! and 1.0. Memory is bounded whatever an archive says. What the entries mean is the business of
//! [`crate::extract`], for layers and for archives that a build step unpacks alike.

use std::collections::BTreeMap;
use std::io::{self, Read};

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use tar::{EntryType, Header};

/// The most bytes that extra headers of one entry may take.
const EXTRA_LIMIT: u64 = 1 << 20;
/// The most entries an archive may have.
const ENTRY_LIMIT: u64 = 4_000_000;
/// The most data pieces of a sparse file.
const PIECE_LIMIT: usize = 1 << 20;
/// The longest path the kernel takes.
const PATH_LIMIT: usize = 4096;

/// An entry of an archive, its headers put together.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is.
    pub kind: EntryType,
    /// Its name as the archive has it, which may lead anywhere.
    pub path: Vec<u8>,
    /// Where a link points.
    pub link: Vec<u8>,
    /// Permissions with the set-id and sticky bits, without the type.
    pub mode: u32,
    /// Its user; never the one number that means "no user".
    pub uid: u32,
    /// Its group, likewise.
    pub gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, i64),
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes by name, without the prefix of the record.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The length of the file.
    pub size: u64,
    /// For a sparse file: offset and length of each piece that the archive stores.
    pub pieces: Option<Vec<(u64, u64)>>,
}

/// Why an archive cannot be read on.
#[derive(Debug)]
pub(crate) enum ArchiveError {
    /// The stream failed.
    Read(io::Error),
    /// The archive is not what it should be.
    Malformed { entry: Vec<u8>, problem: String },
}

impl From<io::Error> for ArchiveError {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// A tar stream. [`Archive::next`] gives an entry, and reading gives its data.
pub(crate) struct Archive<R> {
    reader: R,
    /// Bytes of the entry's data not read yet, and of the padding behind.
    data: u64,
    padding: u64,
    entries: u64,
}

impl<R: Read> Archive<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, data: 0, padding: 0, entries: 0 }
    }

    /// The next entry, or `None` at the end. Data of the last one that was not read is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, ArchiveError> {
        let mut extra = Extra::default();
        loop {
            self.skip()?;
            let Some(block) = self.block()? else { return Ok(None) };
            let header = Header::from_byte_slice(&block);
            let name = header.path_bytes().into_owned();
            let bad = |problem: &str| malformed(&name, problem);
            check_sum(&block).map_err(|()| bad("the checksum of its header is wrong"))?;
            let size = number(&header.as_old().size)
                .and_then(|size| u64::try_from(size).ok())
                .ok_or_else(|| bad("its size is not a number"))?;
            self.begin(size);
            match header.entry_type() {
                EntryType::GNULongName => extra.long_name = Some(self.text(size, &name)?),
                EntryType::GNULongLink => extra.long_link = Some(self.text(size, &name)?),
                EntryType::XHeader => {
                    let records = self.extra(size, &name)?;
                    extra.records = records_of(&records)
                        .ok_or_else(|| bad("its extended header is malformed"))?;
                }
                EntryType::XGlobalHeader => {}
                _ => {
                    self.entries += 1;
                    if self.entries > ENTRY_LIMIT {
                        return Err(bad("the archive has more than 4000000 entries"));
                    }
                    return self.entry(header, name.clone(), extra).map(Some);
                }
            }
        }
    }

    /// The stream, of which nothing is read ahead.
    pub(crate) fn reader(&mut self) -> &mut R {
        &mut self.reader
    }

    /// The stream, behind what was read.
    pub(crate) fn into_reader(self) -> R {
        self.reader
    }

    /// Reads to the end of the stream, beyond the end of the archive.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        io::copy(&mut self.reader, &mut io::sink()).map(drop)
    }

    fn entry(
        &mut self,
        header: &Header,
        name: Vec<u8>,
        mut extra: Extra,
    ) -> Result<Entry, ArchiveError> {
        let old = header.as_old();
        let records = &mut extra.records;
        let path = records.remove(&b"path"[..]).or(extra.long_name).unwrap_or(name);
        let link = records.remove(&b"linkpath"[..]).or(extra.long_link);
        let link = link.or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
        let link = link.unwrap_or_default();
        let bad = |problem: &str| malformed(&path, problem);
        if path.len() > PATH_LIMIT || link.len() > PATH_LIMIT {
            return Err(bad("its name or target is longer than 4096 bytes"));
        }
        if path.contains(&0) || link.contains(&0) {
            return Err(bad("its name or target contains a zero byte"));
        }
        let mut decimal = |key: &[u8]| match records.remove(key) {
            None => Ok(None),
            Some(text) => match std::str::from_utf8(&text).ok().and_then(|t| t.parse().ok()) {
                Some(value) => Ok(Some(value)),
                None => Err(bad("a number in its extended header is malformed")),
            },
        };
        let id = |field: &[u8], record: Option<u64>| {
            let value = record.map(i128::from).or_else(|| number(field).map(i128::from));
            owner(value).map_err(|problem| bad(&problem))
        };
        let uid = id(&old.uid, decimal(b"uid")?)?;
        let gid = id(&old.gid, decimal(b"gid")?)?;
        if let Some(size) = decimal(b"size")? {
            self.begin(size);
        }
        if header_only(header.entry_type()) {
            // Old writers give links the size of their target, with no data behind.
            self.begin(0);
        }
        let stored = self.data;
        let mtime = match records.remove(&b"mtime"[..]) {
            Some(text) => time(&text).ok_or_else(|| bad("its time is malformed"))?,
            None => (number(&old.mtime).ok_or_else(|| bad("its time is not a number"))?, 0),
        };
        let mode = number(&old.mode).ok_or_else(|| bad("its mode is not a number"))?;
        let mut entry = Entry {
            kind: kind_of(header, &path),
            link,
            mode: (mode & 0o7777) as u32,
            uid,
            gid,
            mtime,
            device: device(header).ok_or_else(|| bad("its device number does not fit"))?,
            xattrs: xattrs_of(records)
                .ok_or_else(|| bad("an extended attribute of it is malformed"))?,
            size: stored,
            pieces: None,
            path: path.clone(),
        };
        if entry.kind == EntryType::GNUSparse {
            self.old_sparse(header, &mut entry)?;
        } else if records.keys().any(|key| key.starts_with(b"GNU.sparse.")) {
            self.pax_sparse(records, &mut entry)?;
        }
        Ok(entry)
    }

    /// The map of a GNU sparse file, in the header and the blocks behind it.
    fn old_sparse(&mut self, header: &Header, entry: &mut Entry) -> Result<(), ArchiveError> {
        let bad = || malformed(&entry.path, "its sparse map is malformed");
        let gnu = header.as_gnu().ok_or_else(bad)?;
        let real = number(&gnu.realsize).and_then(|n| u64::try_from(n).ok()).ok_or_else(bad)?;
        let mut pieces = Vec::new();
        let mut add = |offset: &[u8], len: &[u8]| {
            if offset.first().is_none_or(|byte| *byte == 0) {
                return Some(());
            }
            let piece = (u64::try_from(number(offset)?).ok()?, u64::try_from(number(len)?).ok()?);
            pieces.push(piece);
            (pieces.len() <= PIECE_LIMIT).then_some(())
        };
        for piece in &gnu.sparse {
            add(&piece.offset, &piece.numbytes).ok_or_else(bad)?;
        }
        let mut more = gnu.isextended[0] == 1;
        while more {
            let mut block = [0u8; 512];
            self.reader.read_exact(&mut block)?;
            for piece in block[..504].chunks_exact(24) {
                add(&piece[..12], &piece[12..]).ok_or_else(bad)?;
            }
            more = block[504] == 1;
        }
        self.set_pieces(entry, real, pieces)
    }

    /// The map of a PAX sparse file: in a record (0.0 and 0.1), or in front of the data (1.0).
    fn pax_sparse(
        &mut self,
        records: &BTreeMap<Vec<u8>, Vec<u8>>,
        entry: &mut Entry,
    ) -> Result<(), ArchiveError> {
        let bad = || malformed(&entry.path, "its sparse map is malformed or of an unknown version");
        let record = |key: &str| records.get(key.as_bytes());
        let decimal = |text: &[u8]| std::str::from_utf8(text).ok()?.trim().parse::<u64>().ok();
        let real = record("GNU.sparse.realsize").or_else(|| record("GNU.sparse.size"));
        let real = real.and_then(|size| decimal(size)).ok_or_else(bad)?;
        let mut numbers = Vec::new();
        if let Some(map) = record("GNU.sparse.map") {
            for text in map.split(|byte| *byte == b',') {
                numbers.push(decimal(text).ok_or_else(bad)?);
            }
        } else if record("GNU.sparse.major").is_some_and(|major| major == b"1") {
            let (mut line, mut read, mut wanted) = (Vec::new(), 0u64, None::<usize>);
            while wanted.is_none_or(|wanted| numbers.len() < wanted) {
                let mut byte = [0u8];
                self.read_exact(&mut byte)?;
                read += 1;
                if byte[0] != b'\n' {
                    line.push(byte[0]);
                    if line.len() > 20 {
                        return Err(bad());
                    }
                    continue;
                }
                let value = decimal(&line).ok_or_else(bad)?;
                line.clear();
                match wanted {
                    None if value <= PIECE_LIMIT as u64 => wanted = Some(value as usize * 2),
                    None => return Err(bad()),
                    Some(_) => numbers.push(value),
                }
            }
            let mut rest = vec![0; (read.next_multiple_of(512) - read) as usize];
            self.read_exact(&mut rest)?;
        } else if record("GNU.sparse.numblocks").is_none_or(|blocks| blocks != b"0") {
            return Err(bad());
        }
        if numbers.len() % 2 != 0 || numbers.len() > PIECE_LIMIT * 2 {
            return Err(bad());
        }
        let pieces = numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        if let Some(name) = record("GNU.sparse.name") {
            if name.len() > PATH_LIMIT || name.contains(&0) {
                return Err(bad());
            }
            entry.path.clone_from(name);
        }
        self.set_pieces(entry, real, pieces)
    }

    fn set_pieces(
        &self,
        entry: &mut Entry,
        real: u64,
        pieces: Vec<(u64, u64)>,
    ) -> Result<(), ArchiveError> {
        let (mut at, mut total) = (0u64, 0u64);
        for (offset, len) in &pieces {
            let end = offset.checked_add(*len).filter(|end| *end <= real && *offset >= at);
            at = end.ok_or_else(|| malformed(&entry.path, "its sparse map is out of order"))?;
            total += len;
        }
        if total != self.data {
            return Err(malformed(&entry.path, "its sparse map does not fit its data"));
        }
        entry.kind = EntryType::Regular;
        entry.size = real;
        entry.pieces = Some(pieces);
        Ok(())
    }

    /// A header block; `None` at the end of the archive.
    fn block(&mut self) -> Result<Option<[u8; 512]>, ArchiveError> {
        let mut block = [0u8; 512];
        let mut filled = 0;
        while filled < block.len() {
            match self.reader.read(&mut block[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(malformed(b"", "the archive ends within a header")),
                read => filled += read,
            }
        }
        Ok(block.iter().any(|byte| *byte != 0).then_some(block))
    }

    fn begin(&mut self, size: u64) {
        self.data = size;
        self.padding = (512 - size % 512) % 512;
    }

    fn skip(&mut self) -> Result<(), ArchiveError> {
        let left = self.data.saturating_add(self.padding);
        let skipped = io::copy(&mut (&mut self.reader).take(left), &mut io::sink())?;
        // Some writers leave out the padding of the last entry.
        if skipped < self.data {
            return Err(ArchiveError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        self.begin(0);
        Ok(())
    }

    fn extra(&mut self, size: u64, name: &[u8]) -> Result<Vec<u8>, ArchiveError> {
        if size > EXTRA_LIMIT {
            return Err(malformed(name, "its extra header is larger than 1 MiB"));
        }
        let mut bytes = vec![0; size as usize];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn text(&mut self, size: u64, name: &[u8]) -> Result<Vec<u8>, ArchiveError> {
        let mut text = self.extra(size, name)?;
        if let Some(end) = text.iter().position(|byte| *byte == 0) {
            text.truncate(end);
        }
        Ok(text)
    }
}

/// Reads the data of the entry, only as much as the archive stores.
impl<R: Read> Read for Archive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.data).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self.reader.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.data -= read as u64;
        Ok(read)
    }
}

/// What came in front of an entry's own header.
#[derive(Default)]
struct Extra {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    records: BTreeMap<Vec<u8>, Vec<u8>>,
}

fn malformed(entry: &[u8], problem: &str) -> ArchiveError {
    ArchiveError::Malformed { entry: entry.to_owned(), problem: problem.to_owned() }
}

/// What an entry is. Before ustar there were no directories: they were files whose names end so.
fn kind_of(header: &Header, path: &[u8]) -> EntryType {
    match header.as_old().linkflag[0] {
        0 if path.ends_with(b"/") => EntryType::Directory,
        _ => header.entry_type(),
    }
}

/// A user or group. All ones is no owner but the kernel's word for leaving things as they are, so
/// that a file of that owner would become the builder's.
fn owner(value: Option<i128>) -> Result<u32, String> {
    let value = value.ok_or("its owner is no number")?;
    let id = u32::try_from(value).ok().filter(|id| *id != u32::MAX);
    id.ok_or_else(|| format!("its owner {value} is not between 0 and {}", u32::MAX - 1))
}

/// Major and minor number; `None` if one does not fit.
fn device(header: &Header) -> Option<(u32, u32)> {
    if !matches!(header.entry_type(), EntryType::Char | EntryType::Block) {
        return Some((0, 0));
    }
    let Some(ustar) = header.as_ustar().map(|ustar| (&ustar.dev_major, &ustar.dev_minor)) else {
        let gnu = header.as_gnu()?;
        return numbers(&gnu.dev_major, &gnu.dev_minor);
    };
    numbers(ustar.0, ustar.1)
}

fn numbers(major: &[u8], minor: &[u8]) -> Option<(u32, u32)> {
    let small = |field| u32::try_from(number(field)?).ok();
    Some((small(major)?, small(minor)?))
}

/// Kinds that have no data, whatever their size field says.
fn header_only(kind: EntryType) -> bool {
    matches!(
        kind,
        EntryType::Link
            | EntryType::Symlink
            | EntryType::Char
            | EntryType::Block
            | EntryType::Directory
            | EntryType::Fifo
    )
}

/// The sum of the header's bytes, its own field counted as blanks. Old writers summed signed bytes.
fn check_sum(block: &[u8; 512]) -> Result<(), ()> {
    let expected = number(&block[148..156]).ok_or(())?;
    let field = |i: usize| (148..156).contains(&i);
    let bytes = || block.iter().enumerate().map(|(i, b)| if field(i) { b' ' } else { *b });
    let unsigned: i64 = bytes().map(i64::from).sum();
    let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
    if expected == unsigned || expected == signed { Ok(()) } else { Err(()) }
}

/// A number field: octal digits, or base 256 if the first bit is set. Empty is 0.
fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        // Two's complement over the remaining bits; what does not fit 63 bits is refused.
        let negative = first & 0x40 != 0;
        let mut value: i128 = if negative { -1 } else { 0 };
        for (i, byte) in field.iter().enumerate() {
            let byte = match i {
                0 if negative => byte | 0x80,
                0 => byte & 0x7f,
                _ => *byte,
            };
            value = value.checked_mul(256)? + i128::from(byte);
            i64::try_from(value).ok()?;
        }
        return i64::try_from(value).ok();
    }
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = std::str::from_utf8(text).ok()?.trim();
    if text.is_empty() {
        return Some(0);
    }
    if !text.bytes().all(|byte| (b'0'..=b'7').contains(&byte)) {
        return None;
    }
    i64::from_str_radix(text, 8).ok()
}

/// Records `length key=value\n`; later ones replace earlier ones.
///
/// Sparse files 0.0 repeat two keys for each of their pieces. They become the one record that 0.1
/// has.
fn records_of(mut bytes: &[u8]) -> Option<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut records = BTreeMap::new();
    let mut pieces: Vec<&[u8]> = Vec::new();
    while !bytes.is_empty() {
        let blank = bytes.iter().take(20).position(|byte| *byte == b' ')?;
        let len: usize = std::str::from_utf8(&bytes[..blank]).ok()?.parse().ok()?;
        if len <= blank + 1 || len > bytes.len() || bytes[len - 1] != b'\n' {
            return None;
        }
        let record = &bytes[blank + 1..len - 1];
        let equals = record.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        bytes = &bytes[len..];
        if key == b"GNU.sparse.offset" || key == b"GNU.sparse.numbytes" {
            let is_offset = key == b"GNU.sparse.offset";
            if is_offset != pieces.len().is_multiple_of(2) || value.contains(&b',') {
                return None;
            }
            pieces.push(value);
        } else if value.is_empty() && !is_xattr(key) {
            // An empty value takes back an earlier record.
            records.remove(key);
        } else {
            records.insert(key.to_vec(), value.to_vec());
        }
    }
    if !pieces.is_empty() {
        records.insert(b"GNU.sparse.map".to_vec(), pieces.join(&b','));
    }
    Some(records)
}

/// The prefix of extended attributes as star, GNU tar and Go write them: as they are.
const XATTR: &[u8] = b"SCHILY.xattr.";
/// The same as bsdtar writes them: names percent-encoded, values in base 64 without padding.
const ENCODED_XATTR: &[u8] = b"LIBARCHIVE.xattr.";

fn is_xattr(key: &[u8]) -> bool {
    key.starts_with(XATTR) || key.starts_with(ENCODED_XATTR)
}

/// The extended attributes; `None` if one is malformed. One that is there in both ways is taken as
/// it is.
fn xattrs_of(records: &BTreeMap<Vec<u8>, Vec<u8>>) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found = BTreeMap::new();
    for (key, value) in records {
        if let Some(name) = key.strip_prefix(ENCODED_XATTR) {
            found.insert(percent_decoded(name)?, base64_decoded(value)?);
        }
    }
    for (key, value) in records {
        if let Some(name) = key.strip_prefix(XATTR) {
            found.insert(name.to_vec(), value.clone());
        }
    }
    let named = |name: &[u8]| !name.is_empty() && !name.contains(&0);
    Some(found.into_iter().filter(|(name, _)| named(name)).collect())
}

fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        decoded.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    Some(decoded)
}

fn base64_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&STANDARD, config).decode(text).ok()
}

/// A decimal number of seconds, possibly negative, possibly with a fraction.
fn time(text: &[u8]) -> Option<(i64, i64)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: i64 = digits.parse().ok()?;
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0"), Some(0));
        assert_eq!(number(b"12x4\0"), None);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 1, 0]), Some(256));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(number(&[0xbf; 12]), None, "does not fit");
    }

    #[test]
    fn times_have_fractions_and_signs() {
        assert_eq!(time(b"12"), Some((12, 0)));
        assert_eq!(time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"1.2.3"), None);
        assert_eq!(time(b"x"), None);
    }

    #[test]
    fn records_of_the_wrong_length_are_refused() {
        assert_eq!(records_of(b"11 key=abc\n").map(|r| r.len()), Some(1));
        for bad in ["12 key=abc\n", "10 key=abc\n", "3 \n", "x key=a\n", "99999999999 a=b\n"] {
            assert_eq!(records_of(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
