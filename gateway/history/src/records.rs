//! The tables of records, and of the blobs that each of them needs.
//!
//! They may be lost like everything else in the database of a state directory, with a word in the log;
//! see [`kiln_metadata`]. What is written here is not waited for by a build, and is one short transaction
//! each time, because builds write to the same database.

use std::collections::{BTreeMap, BTreeSet};

use kiln_metadata::{Durability, Earlier, Metadata, OpenError, Owner, copy};
use kiln_oci::Digest;
use kiln_pb::control::BuildHistoryRecord;
use prost::Message as _;
use redb::{ReadableTable as _, TableDefinition};

/// Records as messages, by the id of the build.
const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("history.records");
/// The digests of the blobs of a record, a line each, by the id of the build.
const BLOBS: TableDefinition<'_, &str, &str> = TableDefinition::new("history.blobs");
/// What is remembered beside a record: a media type and the digest of a blob a line, by the id of the
/// build.
const ATTACHMENTS: TableDefinition<'_, &str, &str> = TableDefinition::new("history.attachments");

const OWNER: Owner = Owner {
    name: "history",
    schema: 1,
    holds: "the history of builds",
    create: |transaction| {
        transaction.open_table(RECORDS)?;
        transaction.open_table(BLOBS)?;
        transaction.open_table(ATTACHMENTS)?;
        Ok(())
    },
    earlier: Some(Earlier {
        file: "history.redb",
        copy: |from, to| {
            copy(from, TableDefinition::new("records"), to, RECORDS)?;
            copy(from, TableDefinition::new("blobs"), to, BLOBS)?;
            copy(from, TableDefinition::new("attachments"), to, ATTACHMENTS)
        },
    }),
};

/// The tables.
#[derive(Debug)]
pub(crate) struct Records(Metadata);

/// A row: a record and the blobs it needs.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) record: BuildHistoryRecord,
    pub(crate) blobs: BTreeSet<Digest>,
    /// What is remembered beside it, by media type; the blobs are among those that it needs.
    pub(crate) attachments: BTreeMap<String, Digest>,
}

impl Records {
    /// Opens the tables, or makes them.
    pub(crate) fn open(metadata: &Metadata) -> Result<Self, OpenError> {
        metadata.begin(&OWNER)?;
        Ok(Self(metadata.clone()))
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

    /// Removes rows.
    pub(crate) fn remove(&self, builds: &[String]) -> Result<(), redb::Error> {
        if builds.is_empty() {
            return Ok(());
        }
        self.0.write(Durability::Immediate, |transaction| {
            let mut records = transaction.open_table(RECORDS)?;
            let mut blobs = transaction.open_table(BLOBS)?;
            let mut attachments = transaction.open_table(ATTACHMENTS)?;
            for build in builds {
                records.remove(build.as_str())?;
                blobs.remove(build.as_str())?;
                attachments.remove(build.as_str())?;
            }
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
