//! What owners had in files of their own before there was one for all.

use redb::{Key, ReadTransaction, ReadableTable as _, TableDefinition, Value, WriteTransaction};

/// A file that an owner had for itself. What is in it is taken over once, then it is removed.
#[derive(Clone, Copy, Debug)]
pub struct Earlier {
    /// Its name in the state directory.
    pub file: &'static str,
    /// Copies its tables; fails if it is of a version that is not known.
    pub copy: fn(&ReadTransaction, &WriteTransaction) -> Result<(), redb::Error>,
}

/// Copies a table, if it is there, into one of another name.
///
/// # Errors
///
/// What redb answers.
pub fn copy<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    old: TableDefinition<'_, K, V>,
    to: &WriteTransaction,
    new: TableDefinition<'_, K, V>,
) -> Result<(), redb::Error> {
    let old = match from.open_table(old) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
        old => old?,
    };
    let mut new = to.open_table(new)?;
    for entry in old.iter()? {
        let (key, value) = entry?;
        new.insert(key.value(), value.value())?;
    }
    Ok(())
}
