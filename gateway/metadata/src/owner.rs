//! Who has tables, and of which version.

use redb::{ReadTransaction, ReadableTable as _, TableDefinition, TableHandle as _};
use redb::{ReadableDatabase as _, WriteTransaction};

use crate::earlier::Earlier;

/// Who has which tables: the name of an owner, or [`FORMAT`]'s, and the version.
const SCHEMAS: TableDefinition<'_, &str, u64> = TableDefinition::new("schemas");
/// The row of how this crate lays the file out. No owner has this name.
const FORMAT_ROW: &str = "";
/// How this crate lays the file out.
const FORMAT: u64 = 1;

/// A part of the daemon that keeps tables here. Their names begin with the owner's and a full stop.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// Its name, for good.
    pub name: &'static str,
    /// The version of what is in its tables. If it is another one than that on disk, they are dropped.
    pub schema: u64,
    /// What is lost when they are, for the log.
    pub holds: &'static str,
    /// Makes its tables. They are empty, unless something was taken over from an earlier file.
    pub create: fn(&WriteTransaction) -> Result<(), redb::Error>,
    /// The file it had before there was one for all.
    pub earlier: Option<Earlier>,
}

/// What an owner finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Its tables, as it left them.
    Kept,
    /// Its tables, with what was in its earlier file.
    TakenOver,
    /// Empty tables.
    Nothing,
}

impl Owner {
    fn has(&self, table: &str) -> bool {
        table.strip_prefix(self.name).is_some_and(|rest| rest.starts_with('.'))
    }

    /// Drops all its tables and makes them anew, with what `earlier` has.
    pub(crate) fn make(
        &self,
        earlier: Option<&redb::Database>,
        transaction: &WriteTransaction,
    ) -> Result<(), redb::Error> {
        let tables: Vec<_> = transaction.list_tables()?.collect();
        for table in tables.into_iter().filter(|table| self.has(table.name())) {
            transaction.delete_table(table)?;
        }
        if let (Some(database), Some(Earlier { copy, .. })) = (earlier, self.earlier) {
            copy(&database.begin_read()?, transaction)?;
        }
        (self.create)(transaction)?;
        transaction.open_table(SCHEMAS)?.insert(self.name, self.schema)?;
        Ok(())
    }
}

/// The version of an owner's tables, if it has any.
pub(crate) fn schema(
    transaction: &ReadTransaction,
    owner: &Owner,
) -> Result<Option<u64>, redb::Error> {
    Ok(transaction.open_table(SCHEMAS)?.get(owner.name)?.map(|schema| schema.value()))
}

/// Whether a file is laid out; it is not if it is new.
///
/// # Errors
///
/// [`redb::Error::Corrupted`] if it is laid out by another program.
pub(crate) fn is_laid_out(transaction: &ReadTransaction) -> Result<bool, redb::Error> {
    let schemas = match transaction.open_table(SCHEMAS) {
        Err(redb::TableError::TableDoesNotExist(_)) => {
            return match transaction.list_tables()?.next() {
                None => Ok(false),
                Some(_) => Err(redb::Error::Corrupted("tables of another program".into())),
            };
        }
        schemas => schemas?,
    };
    // All of it, so that damage is seen now.
    let schemas: Vec<_> = schemas.iter()?.collect::<Result<_, _>>()?;
    let format = schemas.iter().find(|(name, _)| name.value() == FORMAT_ROW);
    match format.map(|(_, format)| format.value()) {
        Some(FORMAT) => Ok(true),
        found => Err(redb::Error::Corrupted(format!("format {found:?}, expected {FORMAT}"))),
    }
}

/// Lays a new file out.
pub(crate) fn lay_out(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(SCHEMAS)?.insert(FORMAT_ROW, FORMAT)?;
    Ok(())
}
