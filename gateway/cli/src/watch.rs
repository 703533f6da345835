//! Waits for files to be saved.
//!
//! A file and directories are watched; what comes out is which of the two it was. A save is often
//! several events, and editors replace files rather than write them: only when nothing has happened
//! for a moment is a change reported.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{Receiver, channel};

/// For so long must nothing happen.
const QUIET: Duration = Duration::from_millis(40);
/// Events that may wait; more of them say nothing new.
const WAITING: usize = 1024;
/// Directories that are written by builds, or are nobody's source.
const ASIDE: &[&str] = &["target", "node_modules"];

/// What was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Changed {
    /// The file.
    File,
    /// The frontend, and perhaps the file.
    Frontend,
}

/// A watch over a file and the sources of a frontend.
pub(crate) struct Watch {
    // Watches until it is dropped.
    _watcher: RecommendedWatcher,
    changes: Receiver<Changed>,
}

impl Watch {
    /// Starts to watch.
    ///
    /// # Errors
    ///
    /// If something is not there, or the system has no watches left.
    pub(crate) fn start(file: &Path, sources: &[PathBuf]) -> anyhow::Result<Self> {
        let file = std::path::absolute(file)?;
        let sources: Vec<PathBuf> =
            sources.iter().map(std::path::absolute).collect::<Result<_, _>>()?;
        let (sender, changes) = channel(WAITING);
        let judge = Judge { file: file.clone(), sources: sources.clone() };
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let Ok(event) = event else { return };
            if let Some(changed) = judge.changed(&event) {
                // Full or closed: somebody will look anyway, or nobody.
                sender.try_send(changed).ok();
            }
        })
        .context("failed to watch for changes")?;
        let mut watch = |path: &Path| {
            let watched = watcher.watch(path, RecursiveMode::NonRecursive);
            watched.with_context(|| format!("failed to watch {}", path.display()))
        };
        watch(file.parent().unwrap_or(&file))?;
        for source in &sources {
            match source.is_dir() {
                true => directories(source).iter().try_for_each(|path| watch(path))?,
                false => watch(source.parent().unwrap_or(source))?,
            }
        }
        Ok(Self { _watcher: watcher, changes })
    }

    /// Waits until something is saved.
    ///
    /// # Errors
    ///
    /// If the watch has ended.
    ///
    /// # Cancellation
    ///
    /// What was saved until then may be forgotten.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Changed> {
        let ended = "the watch for changes has ended";
        let mut changed = self.changes.recv().await.context(ended)?;
        while let Ok(more) = tokio::time::timeout(QUIET, self.changes.recv()).await {
            changed = changed.max(more.context(ended)?);
        }
        Ok(changed)
    }
}

/// Knows what an event is about.
struct Judge {
    file: PathBuf,
    sources: Vec<PathBuf>,
}

impl Judge {
    fn changed(&self, event: &Event) -> Option<Changed> {
        if matches!(event.kind, EventKind::Access(_)) {
            return None;
        }
        event.paths.iter().filter_map(|path| self.of(path)).max()
    }

    fn of(&self, path: &Path) -> Option<Changed> {
        if path == self.file {
            return Some(Changed::File);
        }
        let below = |source: &PathBuf| {
            let rest = path.strip_prefix(source).ok()?;
            rest.iter().all(|part| !is_aside(part)).then_some(Changed::Frontend)
        };
        self.sources.iter().find_map(below)
    }
}

/// Hidden, temporary, or of a build.
fn is_aside(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with('.') || name.ends_with('~') || ASIDE.contains(&&*name)
}

/// A directory and those in it that hold sources.
fn directories(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.to_owned()];
    let mut next = 0;
    while let Some(directory) = found.get(next).cloned() {
        next += 1;
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        let below = entries.flatten().filter(|entry| !is_aside(&entry.file_name()));
        found.extend(
            below
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn save(path: &Path) {
        std::fs::write(path, "saved").unwrap();
    }

    async fn next(watch: &mut Watch) -> Changed {
        tokio::time::timeout(Duration::from_secs(10), watch.next()).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn saves_of_the_file_and_of_sources_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir_all(path("project/src")).unwrap();
        std::fs::create_dir_all(path("project/target/debug")).unwrap();
        std::fs::create_dir(path("files")).unwrap();
        save(&path("files/Mockerfile.yaml"));
        let mut watch = Watch::start(&path("files/Mockerfile.yaml"), &[path("project")]).unwrap();

        save(&path("files/Mockerfile.yaml"));
        assert_eq!(next(&mut watch).await, Changed::File);
        // An editor's way to save.
        save(&path("files/.swap"));
        std::fs::rename(path("files/.swap"), path("files/Mockerfile.yaml")).unwrap();
        assert_eq!(next(&mut watch).await, Changed::File);
        save(&path("project/src/lib.rs"));
        save(&path("files/Mockerfile.yaml"));
        assert_eq!(next(&mut watch).await, Changed::Frontend);

        save(&path("files/other"));
        save(&path("project/target/debug/built"));
        save(&path("project/.git"));
        assert!(std::fs::read(path("project/src/lib.rs")).is_ok());
        save(&path("project/Cargo.toml"));
        assert_eq!(next(&mut watch).await, Changed::Frontend);
        let more = tokio::time::timeout(Duration::from_millis(10), watch.next()).await;
        assert!(more.is_err(), "what is aside does not count");
    }
}
