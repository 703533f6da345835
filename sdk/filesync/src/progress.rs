//! How far a transfer is.

use std::fmt;
use std::sync::Arc;

/// What has crossed so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Entries described: files, directories, links.
    pub entries: u64,
    /// Files whose content has crossed completely.
    pub files: u64,
    /// Content, in bytes.
    pub bytes: u64,
}

/// Hears of progress, often, and from a thread that may block; it must be quick.
#[derive(Clone, Default)]
pub struct OnProgress(Option<Arc<dyn Fn(Progress) + Send + Sync>>);

impl OnProgress {
    /// Calls `listener` whenever something has crossed.
    pub fn new(listener: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    pub(crate) fn tell(&self, progress: Progress) {
        if let Some(listener) = &self.0 {
            listener(progress);
        }
    }
}

impl fmt::Debug for OnProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "OnProgress(listener)" } else { "OnProgress(nobody)" })
    }
}
