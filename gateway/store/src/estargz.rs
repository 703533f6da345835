//! Writes layers as eStargz: gzip from which single files can be read without the rest.
//!
//! A tar comes in and goes out unchanged, so that every reader of compressed tars reads it. Behind its end
//! stand a table of contents, which says where the data of each file begins, and a footer, which says where
//! the table begins. Data begin in a gzip member of their own every 4 MiB. There are no landmarks of what
//! should be fetched first: they are files, which readers that know nothing of them would show. The table
//! belongs to what is uncompressed, so a layer has another diff id than in other compressions.
//!
//! The format is that of the stargz-snapshotter of containerd, `docs/estargz.md` there, as BuildKit
//! writes it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_oci::{Descriptor, Digest, Hasher};
use serde::Serialize;
use tar::EntryType;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::archive::{Archive, ArchiveError, Entry};
use crate::compressor::Gzip;
use crate::pack;

/// The annotation of a layer that says the digest of its table.
pub const TABLE_DIGEST: &str = "containerd.io/snapshot/stargz/toc.digest";
/// The annotation of a layer that says how many bytes it has uncompressed.
pub const UNCOMPRESSED_SIZE: &str = "io.containers.estargz.uncompressed-size";
/// The annotation of a blob that says its diff id, where that is not the layer's.
const UNCOMPRESSED: &str = "containerd.io/uncompressed";

/// The name of the table, which no file of a layer may have.
const TABLE_NAME: &str = "stargz.index.json";
/// The most data of a file in one piece, in bytes.
const CHUNK: u64 = 4 << 20;
/// The most bytes in one gzip member, where many entries have no data.
const MEMBER: usize = 8 << 20;
/// The most bytes that the table may take, about.
const TABLE_LIMIT: usize = 512 << 20;
/// How long the footer is, in bytes.
const FOOTER: usize = 51;

/// Why a layer cannot be written so. It goes through writers as an [`io::Error`].
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unfit(String);

fn unfit(problem: impl Into<String>) -> io::Error {
    io::Error::other(Unfit(problem.into()))
}

/// What a layer is that was written.
#[derive(Debug)]
pub(crate) struct Written {
    /// Of everything that is uncompressed, the table too.
    diff_id: Digest,
    size: u64,
    table: Digest,
}

impl Written {
    /// The digest of everything that is uncompressed, the table too.
    pub(crate) fn diff_id(&self) -> &Digest {
        &self.diff_id
    }

    /// Says in the descriptor of the blob what its readers want to know.
    pub(crate) fn annotate(&self, blob: &mut Descriptor) {
        blob.annotations.insert(TABLE_DIGEST.into(), self.table.to_string());
        blob.annotations.insert(UNCOMPRESSED_SIZE.into(), self.size.to_string());
        blob.annotations.insert(UNCOMPRESSED.into(), self.diff_id.to_string());
    }
}

/// Whether a blob is said to be eStargz.
pub(crate) fn is_estargz(blob: &Descriptor) -> bool {
    blob.annotations.contains_key(TABLE_DIGEST)
}

/// The diff id of a blob that was made here of a layer with another one.
pub(crate) fn own_diff_id(blob: &Descriptor, layer: Option<&Digest>) -> Option<Digest> {
    let own = blob.annotations.get(UNCOMPRESSED)?.parse().ok();
    own.filter(|own| Some(own) != layer)
}

/// Takes out what only blobs that were made here may say.
pub(crate) fn foreign(blob: &mut Descriptor) {
    blob.annotations.remove(UNCOMPRESSED);
}

/// Limits a blob to the tar that it was made of; `None` if it has no footer of this format.
pub(crate) fn without_table(file: &mut File) -> io::Result<Option<u64>> {
    let size = file.seek(SeekFrom::End(0))?;
    let mut footer = [0; FOOTER];
    let found = match size.checked_sub(FOOTER as u64) {
        None => None,
        Some(at) => {
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(&mut footer)?;
            table_offset(&footer).filter(|offset| *offset < at)
        }
    };
    file.seek(SeekFrom::Start(0))?;
    Ok(found)
}

/// Compresses a tar on a thread of its own.
pub(crate) struct Estargz<W: Write> {
    pieces: Option<SyncSender<Vec<u8>>>,
    thread: Option<JoinHandle<io::Result<(W, Written)>>>,
}

impl<W: Write + Send + 'static> Estargz<W> {
    pub(crate) fn new(level: i32, out: W) -> io::Result<Self> {
        let (sender, pieces) = sync_channel(8);
        let input = Pieces { pieces, piece: Vec::new(), at: 0 };
        let work = move || write(input, level, out);
        let thread = std::thread::Builder::new().name("kiln-estargz".into()).spawn(work)?;
        Ok(Self { pieces: Some(sender), thread: Some(thread) })
    }

    /// Writes what is left, and gives the stream back.
    pub(crate) fn finish(mut self) -> io::Result<(W, Written)> {
        self.join()
    }
}

impl<W: Write> Estargz<W> {
    fn join(&mut self) -> io::Result<(W, Written)> {
        self.pieces.take();
        let died = || io::Error::other("the compressing thread died");
        self.thread.take().ok_or_else(died)?.join().map_err(|_| died())?
    }
}

impl<W: Write> Write for Estargz<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.pieces.as_ref().map(|pieces| pieces.send(bytes.to_vec()));
        match sent {
            Some(Ok(())) => Ok(bytes.len()),
            _ => match self.join() {
                Ok(_) => Err(io::ErrorKind::BrokenPipe.into()),
                Err(error) => Err(error),
            },
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Drop for Estargz<W> {
    fn drop(&mut self) {
        // What it wrote goes with the stream.
        self.join().ok();
    }
}

/// What comes from the thread that writes.
struct Pieces {
    pieces: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            let Ok(piece) = self.pieces.recv() else { return Ok(0) };
            (self.piece, self.at) = (piece, 0);
        }
        let len = buffer.len().min(self.piece.len() - self.at);
        buffer[..len].copy_from_slice(&self.piece[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}

/// Passes on all that is read, compressed.
struct Through<R, W: Write> {
    input: R,
    gzip: Gzip<W>,
    hasher: Hasher,
    size: u64,
}

impl<R, W: Write> Through<R, W> {
    fn pass(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        self.gzip.write_all(bytes)
    }
}

impl<R: Read, W: Write> Read for Through<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.pass(&buffer[..read])?;
        Ok(read)
    }
}

#[derive(Serialize)]
struct Table {
    version: u32,
    entries: Vec<Row>,
}

/// A file, or a further piece of its data.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    r#type: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    #[serde(rename = "modtime", skip_serializing_if = "String::is_empty")]
    time: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    link_name: String,
    #[serde(skip_serializing_if = "is_none")]
    mode: u32,
    #[serde(skip_serializing_if = "is_none")]
    uid: u32,
    #[serde(skip_serializing_if = "is_none")]
    gid: u32,
    #[serde(skip_serializing_if = "is_zero")]
    offset: u64,
    #[serde(skip_serializing_if = "is_none")]
    dev_major: u32,
    #[serde(skip_serializing_if = "is_none")]
    dev_minor: u32,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    #[serde(skip_serializing_if = "is_zero")]
    chunk_offset: u64,
    /// Nothing means to the end of the file.
    #[serde(skip_serializing_if = "is_zero")]
    chunk_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk_digest: Option<Digest>,
    /// The gzip member in which its data begin, until it is known where that is.
    #[serde(skip)]
    member: Option<usize>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_none(number: &u32) -> bool {
    *number == 0
}

impl Row {
    fn of(entry: &Entry) -> io::Result<Self> {
        let name = text(&entry.path, &entry.path)?;
        if name.split('/').filter(|part| !matches!(*part, "" | ".")).eq([TABLE_NAME]) {
            return Err(unfit(format!(
                "a layer with a file `/{TABLE_NAME}` cannot be compressed as estargz, whose own table \
                 has that name"
            )));
        }
        let r#type = match entry.kind {
            EntryType::Regular | EntryType::Continuous if entry.pieces.is_none() => "reg",
            EntryType::Directory => "dir",
            EntryType::Symlink => "symlink",
            EntryType::Link => "hardlink",
            EntryType::Char => "char",
            EntryType::Block => "block",
            EntryType::Fifo => "fifo",
            _ => {
                return Err(unfit(format!(
                    "`{name}` is of a kind that estargz cannot name, so choose another compression"
                )));
            }
        };
        let is_file = r#type == "reg";
        let attribute = |(key, value): &(Vec<u8>, Vec<u8>)| {
            Ok((text(key, &entry.path)?, STANDARD.encode(value)))
        };
        Ok(Self {
            r#type,
            size: if is_file { entry.size } else { 0 },
            time: time_of(entry.mtime),
            link_name: match r#type {
                "symlink" | "hardlink" => text(&entry.link, &entry.path)?,
                _ => String::new(),
            },
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            dev_major: entry.device.0,
            dev_minor: entry.device.1,
            xattrs: entry.xattrs.iter().map(attribute).collect::<io::Result<_>>()?,
            digest: (is_file && entry.size == 0).then(|| Digest::sha256("")),
            name,
            ..Self::default()
        })
    }

    /// About how many bytes it takes.
    fn len(&self) -> usize {
        let xattrs = self.xattrs.iter().map(|(key, value)| key.len() + value.len());
        400 + self.name.len() + self.link_name.len() + xattrs.sum::<usize>()
    }
}

/// JSON knows no other text.
fn text(bytes: &[u8], file: &[u8]) -> io::Result<String> {
    let text = std::str::from_utf8(bytes).map(str::to_owned);
    text.map_err(|_| {
        let file: String = String::from_utf8_lossy(file).chars().take(200).collect();
        unfit(format!(
            "a name of `{file}` is not UTF-8, which the table of estargz cannot say, so choose another \
             compression"
        ))
    })
}

/// Whole seconds, the nearest; nothing for the beginning of 1970 and for times that have no name.
fn time_of((seconds, nanoseconds): (i64, i64)) -> String {
    let seconds = seconds.saturating_add(i64::from(nanoseconds >= 500_000_000));
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok().filter(|_| seconds != 0);
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

fn write<W: Write>(input: impl Read, level: i32, out: W) -> io::Result<(W, Written)> {
    let gzip = Gzip::with_members(level, MEMBER, out);
    let through = Through { input, gzip, hasher: Hasher::default(), size: 0 };
    let mut archive = Archive::new(through);
    let mut rows = Vec::new();
    let mut left = TABLE_LIMIT;
    while let Some(entry) = archive.next().map_err(malformed)? {
        for row in rows_of(&entry, &mut archive)? {
            left = left.checked_sub(row.len()).ok_or_else(|| {
                unfit("a layer has too many files for the table of estargz, so choose another compression")
            })?;
            rows.push(row);
        }
    }
    // What is behind the end belongs to the tar, too.
    io::copy(archive.reader(), &mut io::sink())?;
    finish(archive.into_reader(), rows)
}

/// The rows of one entry, whose data go through.
fn rows_of<R: Read, W: Write>(
    entry: &Entry,
    archive: &mut Archive<Through<R, W>>,
) -> io::Result<Vec<Row>> {
    let mut row = Row::of(entry)?;
    let size = row.size;
    let mut whole = Hasher::default();
    let (mut rows, mut at) = (Vec::new(), 0);
    let mut buffer = vec![0; size.min(256 << 10) as usize];
    while at < size {
        archive.reader().gzip.cut()?;
        row.member = Some(archive.reader().gzip.members());
        let len = CHUNK.min(size - at);
        let mut hasher = Hasher::default();
        let mut left = len;
        while left > 0 {
            let most = left.min(buffer.len() as u64) as usize;
            let read = archive.read(&mut buffer[..most])?;
            hasher.update(&buffer[..read]);
            if size > CHUNK {
                whole.update(&buffer[..read]);
            }
            left -= read as u64;
        }
        row.chunk_offset = at;
        row.chunk_size = if len == CHUNK { len } else { 0 };
        row.chunk_digest = Some(hasher.finish());
        at += len;
        let next = Row { name: row.name.clone(), r#type: "chunk", ..Row::default() };
        rows.push(std::mem::replace(&mut row, next));
    }
    match rows.first_mut() {
        None => rows.push(row),
        Some(first) if size > CHUNK => first.digest = Some(whole.finish()),
        Some(first) => first.digest = first.chunk_digest.clone(),
    }
    Ok(rows)
}

/// Adds the table, once it is known where everything is, and the footer.
fn finish<R, W: Write>(mut through: Through<R, W>, rows: Vec<Row>) -> io::Result<(W, Written)> {
    through.gzip.cut()?;
    through.gzip.drain()?;
    let starts = through.gzip.starts().to_vec();
    let mut entries = rows;
    for row in &mut entries {
        let start = row.member.and_then(|member| starts.get(member));
        row.offset = start.copied().unwrap_or(0);
    }
    let json = serde_json::to_vec(&Table { version: 1, entries }).map_err(io::Error::other)?;
    let table = Digest::sha256(&json);
    let tar = pack::single(Path::new(TABLE_NAME), &json)?;
    drop(json);
    // Some readers take the table for one member.
    through.gzip.set_most(tar.len());
    through.pass(&tar)?;
    through.gzip.cut()?;
    through.gzip.drain()?;
    let at = through.gzip.starts().last().copied().unwrap_or(0);
    let mut out = through.gzip.finish()?;
    out.write_all(&footer(at))?;
    let written = Written { diff_id: through.hasher.finish(), size: through.size, table };
    Ok((out, written))
}

fn malformed(error: ArchiveError) -> io::Error {
    match error {
        ArchiveError::Read(error) => error,
        ArchiveError::Malformed { entry, problem } => {
            let entry: String = String::from_utf8_lossy(&entry).chars().take(200).collect();
            io::Error::new(io::ErrorKind::InvalidData, format!("entry `{entry}`: {problem}"))
        }
    }
}

/// An empty gzip member, in whose extra field it stands where the table begins.
fn footer(table: u64) -> [u8; FOOTER] {
    let mut footer = [0; FOOTER];
    // Its only flag is that of an extra field, its time and operating system are unknown.
    footer[..10].copy_from_slice(&[0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff]);
    footer[10..16].copy_from_slice(&[26, 0, b'S', b'G', 22, 0]);
    footer[16..38].copy_from_slice(format!("{table:016x}STARGZ").as_bytes());
    // The last block, stored and empty; its checksum and length are 0.
    footer[38..43].copy_from_slice(&[1, 0, 0, 0xff, 0xff]);
    footer
}

/// Where a footer says that the table begins.
fn table_offset(footer: &[u8; FOOTER]) -> Option<u64> {
    let digits = std::str::from_utf8(&footer[16..32]).ok()?;
    let table = u64::from_str_radix(digits, 16).ok()?;
    (*footer == self::footer(table)).then_some(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_footer_says_where_the_table_begins() {
        assert_eq!(table_offset(&footer(0x1234_5678)), Some(0x1234_5678));
        assert_eq!(table_offset(&[0; FOOTER]), None);
        let mut empty = Vec::new();
        flate2::read::GzDecoder::new(&footer(7)[..]).read_to_end(&mut empty).unwrap();
        assert!(empty.is_empty());
    }

    #[test]
    fn times_are_the_nearest_seconds() {
        assert_eq!(time_of((1_000_000_000, 0)), "2001-09-09T01:46:40Z");
        assert_eq!(time_of((1_000_000_000, 500_000_000)), "2001-09-09T01:46:41Z");
        assert_eq!((time_of((0, 0)), time_of((i64::MAX, 0))), (String::new(), String::new()));
    }
}
