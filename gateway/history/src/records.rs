//! The database of records, and of the blobs that each of them needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use kiln_oci::Digest;
use kiln_pb::control::BuildHistoryRecord;
use kiln_store::Database;
use prost::Message as _;
use redb::{Durability, ReadableTable as _, TableDefinition};

use crate::error::OpenError;

/// Records as messages, by the id of the build.
const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
/// The digests of the blobs of a record, a line each, by the id of the build.
const BLOBS: TableDefinition<'_, &str, &str> = TableDefinition::new("blobs");
/// What is remembered beside a record: a media type and the digest of a blob a line, by the id of the
/// build.
const ATTACHMENTS: TableDefinition<'_, &str, &str> = TableDefinition::new("attachments");
/// How much memory the database may use, in bytes.
const CACHE_BYTES: usize = 4 << 20;

/// The database.
#[derive(Debug)]
pub(crate) struct Records(Database);

/// A row: a record and the blobs it needs.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) record: BuildHistoryRecord,
    pub(crate) blobs: BTreeSet<Digest>,
    /// What is remembered beside it, by media type; the blobs are among those that it needs.
    pub(crate) attachments: BTreeMap<String, Digest>,
}

impl Records {
    /// Opens the database. One that cannot be read is begun anew, unless that is for want of space.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let failed =
            |source| OpenError::Database { path: path.to_owned(), source: Box::new(source) };
        match Self::open_once(path) {
            Ok(records) => Ok(records),
            Err(error @ redb::Error::DatabaseAlreadyOpen) => Err(failed(error)),
            Err(error) if kiln_store::is_full(&error) => Err(failed(error)),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the history of builds is begun anew");
                match fs::remove_file(path) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => {
                        return Err(OpenError::File { path: path.to_owned(), source });
                    }
                    _ => {}
                }
                Self::open_once(path).map_err(failed)
            }
        }
    }

    fn open_once(path: &Path) -> Result<Self, redb::Error> {
        let database = Database::open(path, CACHE_BYTES)?;
        // A file that has its tables already is not written to: starting must not wait for the disk.
        let has_tables = database.read(|transaction| {
            Ok(transaction.open_table(RECORDS).is_ok()
                && transaction.open_table(BLOBS).is_ok()
                && transaction.open_table(ATTACHMENTS).is_ok())
        })?;
        if has_tables {
            return Ok(Self(database));
        }
        database.write(Durability::Immediate, |transaction| {
            transaction.open_table(RECORDS)?;
            transaction.open_table(BLOBS)?;
            transaction.open_table(ATTACHMENTS)?;
            Ok(())
        })?;
        Ok(Self(database))
    }

    /// Writes a row; it is on disk when this returns.
    pub(crate) fn put(&self, row: &Row) -> Result<(), redb::Error> {
        let (build, message) = (row.record.r#ref.as_str(), row.record.encode_to_vec());
        let blobs: Vec<String> = row.blobs.iter().map(ToString::to_string).collect();
        let attachments = row.attachments.iter().map(|(kind, digest)| format!("{kind} {digest}"));
        let attachments = attachments.collect::<Vec<_>>().join("\n");
        self.0.write(Durability::Immediate, |transaction| {
            transaction.open_table(RECORDS)?.insert(build, message.as_slice())?;
            transaction.open_table(BLOBS)?.insert(build, blobs.join("\n").as_str())?;
            transaction.open_table(ATTACHMENTS)?.insert(build, attachments.as_str())?;
            Ok(())
        })
    }

    /// Removes a row.
    pub(crate) fn remove(&self, build: &str) -> Result<(), redb::Error> {
        self.0.write(Durability::Immediate, |transaction| {
            transaction.open_table(RECORDS)?.remove(build)?;
            transaction.open_table(BLOBS)?.remove(build)?;
            transaction.open_table(ATTACHMENTS)?.remove(build)?;
            Ok(())
        })
    }

    /// A row, if it is there and can be read.
    pub(crate) fn get(&self, build: &str) -> Result<Option<Row>, redb::Error> {
        self.0.read(|transaction| {
            let record = transaction.open_table(RECORDS)?.get(build)?;
            let Some(record) = record.and_then(|record| decode(build, record.value())) else {
                return Ok(None);
            };
            let blobs = transaction.open_table(BLOBS)?.get(build)?;
            let blobs = blobs.map(|blobs| digests(blobs.value())).unwrap_or_default();
            let attachments = transaction.open_table(ATTACHMENTS)?.get(build)?;
            let attachments = attachments.map(|lines| attached(lines.value())).unwrap_or_default();
            Ok(Some(Row { record, blobs, attachments }))
        })
    }

    /// The records that are wanted, and can be read.
    pub(crate) fn find(
        &self,
        wanted: impl Fn(&BuildHistoryRecord) -> bool,
    ) -> Result<Vec<BuildHistoryRecord>, redb::Error> {
        self.0.read(|transaction| {
            let mut found = Vec::new();
            for entry in transaction.open_table(RECORDS)?.iter()? {
                let (build, record) = entry?;
                found.extend(decode(build.value(), record.value()).filter(&wanted));
            }
            Ok(found)
        })
    }

    /// The ids of all rows, also of those that cannot be read.
    pub(crate) fn builds(&self) -> Result<Vec<String>, redb::Error> {
        self.0.read(|transaction| {
            let mut builds = Vec::new();
            for entry in transaction.open_table(RECORDS)?.iter()? {
                builds.push(entry?.0.value().to_owned());
            }
            Ok(builds)
        })
    }
}

fn decode(build: &str, bytes: &[u8]) -> Option<BuildHistoryRecord> {
    BuildHistoryRecord::decode(bytes).ok().filter(|record| record.r#ref == build)
}

fn digests(lines: &str) -> BTreeSet<Digest> {
    lines.lines().filter_map(|line| line.parse().ok()).collect()
}

fn attached(lines: &str) -> BTreeMap<String, Digest> {
    let pairs = lines.lines().filter_map(|line| line.split_once(' '));
    pairs.filter_map(|(kind, digest)| Some((kind.to_owned(), digest.parse().ok()?))).collect()
}
