//! What sources remember between builds: entity tags, resolved names, checkouts, documents.
//!
//! Tables of the state directory's database. They are a cache: an entry that is lost or wrong costs a
//! request, never a wrong result, because content is verified and refs are looked up. The oldest
//! entries go when there are too many.

use std::time::{Duration, SystemTime};

use kiln_metadata::{Durability, Earlier, Metadata, OpenError, Owner, copy};
use redb::{ReadableTable as _, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Key → time of use (seconds), then the value.
type Table = TableDefinition<'static, &'static str, &'static [u8]>;

/// One kind of memory, and how much of it is kept.
pub(crate) struct StateTable {
    table: Table,
    most_entries: u64,
}

/// What URLs answered last.
pub(crate) const HTTP: StateTable =
    StateTable { table: Table::new("sources.http"), most_entries: 4096 };
/// What image names were resolved to last.
pub(crate) const IMAGES: StateTable =
    StateTable { table: Table::new("sources.images"), most_entries: 4096 };
/// Which repositories have which digests, for anyone.
pub(crate) const REACHED: StateTable =
    StateTable { table: Table::new("sources.reached"), most_entries: 16384 };
/// Kept refs of git checkouts and images, by key.
pub(crate) const REFS: StateTable =
    StateTable { table: Table::new("sources.refs"), most_entries: 16384 };
/// Manifests and configs, by digest.
pub(crate) const DOCUMENTS: StateTable =
    StateTable { table: Table::new("sources.documents"), most_entries: 1024 };

/// All of them, with the names that their tables had in a file of their own.
const TABLES: [(&str, &StateTable); 5] = [
    ("http", &HTTP),
    ("images", &IMAGES),
    ("reached", &REACHED),
    ("refs", &REFS),
    ("documents", &DOCUMENTS),
];

const OWNER: Owner = Owner {
    name: "sources",
    schema: 1,
    holds: "what sources remember",
    create: |transaction| {
        for (_, rows) in TABLES {
            transaction.open_table(rows.table)?;
        }
        Ok(())
    },
    earlier: Some(Earlier {
        file: "sources.redb",
        copy: |from, to| {
            TABLES.iter().try_for_each(|(name, rows)| copy(from, Table::new(name), to, rows.table))
        },
    }),
};

/// A value that is remembered again within this time is not written again, in seconds.
const RECENT: u64 = 3600;

/// The memory; a cheap handle.
#[derive(Clone)]
pub(crate) struct State(Metadata);

impl State {
    /// Opens the memory.
    pub(crate) fn open(metadata: &Metadata) -> Result<Self, OpenError> {
        metadata.begin(&OWNER)?;
        Ok(Self(metadata.clone()))
    }

    /// What is remembered, if it is there and can be read.
    pub(crate) async fn get<T: DeserializeOwned>(&self, rows: &StateTable, key: &str) -> Option<T> {
        serde_json::from_slice(&self.get_bytes(rows, key).await?).ok()
    }

    /// The same for what is bytes anyway.
    pub(crate) async fn get_bytes(&self, rows: &StateTable, key: &str) -> Option<Vec<u8>> {
        let (metadata, table, key) = (self.0.clone(), rows.table, key.to_owned());
        let read = move || {
            metadata.read(|transaction| {
                let value = transaction.open_table(table)?.get(key.as_str())?;
                Ok(value.and_then(|value| Some(value.value().get(8..)?.to_vec())))
            })
        };
        tokio::task::spawn_blocking(read).await.ok()?.unwrap_or_else(|error| {
            tracing::warn!(%error, "memory of sources cannot be read");
            None
        })
    }

    /// Remembers a value in place of an older one. Failing to do so is logged and does not matter.
    pub(crate) async fn put<T: Serialize>(&self, rows: &StateTable, key: &str, value: &T) {
        match serde_json::to_vec(value) {
            Ok(bytes) => self.put_bytes(rows, key, &bytes).await,
            Err(error) => tracing::warn!(%error, "a memory of sources cannot be written"),
        }
    }

    /// The same for what is bytes anyway.
    pub(crate) async fn put_bytes(&self, rows: &StateTable, key: &str, value: &[u8]) {
        let (metadata, table) = (self.0.clone(), rows.table);
        let (most, key) = (rows.most_entries, key.to_owned());
        let mut row = now().to_be_bytes().to_vec();
        row.extend_from_slice(value);
        let write = move || -> Result<(), redb::Error> {
            if remembers(&metadata, table, &key, &row)? {
                return Ok(());
            }
            // Losing the last entries to a crash is fine, waiting for the disk each time is not.
            metadata.write(Durability::None, |transaction| {
                let mut table = transaction.open_table(table)?;
                table.insert(key.as_str(), row.as_slice())?;
                if redb::ReadableTableMetadata::len(&table)? > most {
                    drop_oldest(&mut table)?;
                }
                Ok(())
            })
        };
        match tokio::task::spawn_blocking(write).await {
            Ok(Err(error)) => tracing::warn!(%error, "memory of sources cannot be written"),
            Err(error) => tracing::warn!(%error, "memory of sources was not written"),
            Ok(Ok(())) => {}
        }
    }
}

/// Whether this very value was remembered within the last hour: writing it again would only keep
/// others from writing.
fn remembers(
    metadata: &Metadata,
    table: Table,
    key: &str,
    row: &[u8],
) -> Result<bool, redb::Error> {
    metadata.read(|transaction| {
        let table = transaction.open_table(table)?;
        let Some(known) = table.get(key)? else { return Ok(false) };
        let age = |row: &[u8]| row.first_chunk().map_or(0, |time| u64::from_be_bytes(*time));
        let known = known.value();
        let recent = age(row).saturating_sub(age(known)) < RECENT;
        Ok(recent && known.get(8..) == row.get(8..))
    })
}

/// Removes the older half.
fn drop_oldest(
    table: &mut redb::Table<'_, &'static str, &'static [u8]>,
) -> Result<(), redb::Error> {
    let mut ages = Vec::new();
    for entry in table.iter()? {
        let (key, value) = entry?;
        let age = value.value().get(..8).unwrap_or_default().to_vec();
        ages.push((age, key.value().to_owned()));
    }
    ages.sort();
    for (_, key) in &ages[..ages.len() / 2] {
        table.remove(key.as_str())?;
    }
    Ok(())
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_secs()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn open(root: &Path) -> State {
        State::open(&Metadata::open(root, None).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_full_shelf_forgets_the_older_half() {
        let directory = tempfile::tempdir().unwrap();
        let state = open(directory.path());
        let rows = StateTable { most_entries: 4, ..HTTP };
        for number in 0..5 {
            state.put(&rows, &number.to_string(), &number).await;
        }
        assert_eq!(state.get::<u32>(&rows, "0").await, None);
        assert_eq!(state.get::<u32>(&rows, "4").await, Some(4));
    }

    #[tokio::test]
    async fn what_is_remembered_survives_being_closed() {
        let directory = tempfile::tempdir().unwrap();
        let state = open(directory.path());
        state.put(&REFS, "a", &1).await;
        drop(state);
        assert_eq!(open(directory.path()).get::<u32>(&REFS, "a").await, Some(1));
    }

    #[tokio::test]
    async fn a_value_that_is_remembered_already_is_not_written_again() {
        let directory = tempfile::tempdir().unwrap();
        let state = open(directory.path());
        state.put(&HTTP, "a", &1).await;
        state.0.flush().unwrap();
        let file = || std::fs::read(state.0.path()).unwrap();
        let before = file();
        state.put(&HTTP, "a", &1).await;
        state.0.flush().unwrap();
        assert!(file() == before);
        state.put(&HTTP, "a", &2).await;
        state.0.flush().unwrap();
        assert!(file() != before);
    }

    #[tokio::test]
    async fn what_was_remembered_in_a_file_of_its_own_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sources.redb");
        let earlier = redb::Database::create(&path).unwrap();
        let transaction = earlier.begin_write().unwrap();
        for (name, _) in TABLES {
            let mut table = transaction.open_table(Table::new(name)).unwrap();
            table.insert("key", &b"\0\0\0\0\0\0\0\x015"[..]).unwrap();
        }
        transaction.commit().unwrap();
        drop(earlier);
        let state = open(directory.path());
        for (name, rows) in TABLES {
            assert_eq!(state.get::<u32>(rows, "key").await, Some(5), "{name}");
        }
        assert!(!path.exists());
    }
}
