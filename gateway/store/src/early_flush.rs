//! Flushes a large file while it is being written, so that little is left to wait for at its end.

use std::fs::File;
use std::io;
use std::thread::JoinHandle;

/// How many bytes are written before they are flushed beside the writing.
const PIECE: u64 = 32 << 20;

/// What of a file is being flushed. Files of less than 32 MiB cost nothing.
#[derive(Default)]
pub(crate) struct EarlyFlush {
    /// Up to where flushing was asked for.
    asked: u64,
    running: Option<JoinHandle<io::Result<()>>>,
}

impl EarlyFlush {
    /// Hears that a file has so many bytes now, and may begin to flush them. One flush runs at a time.
    pub(crate) fn written(&mut self, file: &File, size: u64) -> io::Result<()> {
        if size - self.asked < PIECE || self.running.as_ref().is_some_and(|it| !it.is_finished()) {
            return Ok(());
        }
        self.wait()?;
        self.asked = size;
        // The kernel reports a failed write once for both, hence what is said here is passed on.
        let same = file.try_clone()?;
        let flush = move || same.sync_data();
        // Without a thread everything is flushed at the end.
        self.running = std::thread::Builder::new().name("kiln-flush".into()).spawn(flush).ok();
        Ok(())
    }

    /// Waits for what was begun.
    ///
    /// # Errors
    ///
    /// If what was written could not be put on disk.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        let Some(running) = self.running.take() else { return Ok(()) };
        running.join().map_err(|_| io::Error::other("a flushing thread died"))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_files_are_flushed_early_and_what_fails_is_told() {
        let mut flush = EarlyFlush::default();
        let file = tempfile::tempfile().unwrap();
        flush.written(&file, PIECE - 1).unwrap();
        assert!(flush.running.is_none());
        flush.written(&file, PIECE).unwrap();
        flush.wait().unwrap();
        // What cannot be flushed, as a file on a broken disk cannot.
        let pipe = File::from(rustix::pipe::pipe().unwrap().1);
        flush.written(&pipe, 2 * PIECE).unwrap();
        assert!(flush.wait().is_err());
        assert!(flush.wait().is_ok(), "it was told");
    }
}
