//! What the link graph needs of a database: ordered keys, and changes that happen whole.

use std::error::Error;

/// What went wrong in a database.
pub type KeyValueError = Box<dyn Error + Send + Sync>;

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Ordered keys with values. Synchronous; every call is answered at once or fails.
pub trait KeyValue: Send + Sync {
    /// The value of a key.
    ///
    /// # Errors
    ///
    /// If the database cannot be read.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KeyValueError>;

    /// The first entries whose keys begin with `prefix` and come behind `after`, in order.
    ///
    /// # Errors
    ///
    /// If the database cannot be read.
    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, KeyValueError>;

    /// Makes changes, all or none. They are seen at once, and may be lost in a crash until
    /// [`KeyValue::flush`].
    ///
    /// # Errors
    ///
    /// If the database cannot be written. Nothing was changed then.
    fn write(&self, batch: Batch) -> Result<(), KeyValueError>;

    /// Makes all changes survive a crash.
    ///
    /// # Errors
    ///
    /// If the database cannot be written.
    fn flush(&self) -> Result<(), KeyValueError>;
}

/// Changes that belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Entries that are there afterwards.
    pub puts: Vec<Entry>,
    /// Keys that are not there afterwards.
    pub deletes: Vec<Vec<u8>>,
}

impl Batch {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty()
    }
}
