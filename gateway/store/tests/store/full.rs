//! A full disk: a clear error, nothing lost, and work goes on once there is room.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use kiln_metadata::{Durability, Found, Owner, is_full};
use kiln_store::{PruneOptions, RecordInfo, Store, StoreError};
use redb::TableDefinition;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::support::*;

/// A small disk that goes away with its guard.
struct SmallDisk {
    directory: tempfile::TempDir,
    _image: Option<tempfile::NamedTempFile>,
}

impl SmallDisk {
    fn new() -> Self {
        let directory = tempfile::TempDir::new().unwrap();
        let options = c"size=6m";
        rustix::mount::mount("tmpfs", directory.path(), "tmpfs", MountFlags::empty(), options)
            .unwrap();
        Self { directory, _image: None }
    }

    /// A disk with blocks and inodes of its own; `None` where none can be made.
    fn ext4() -> Option<Self> {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(24 << 20).unwrap();
        let directory = tempfile::TempDir::new().unwrap();
        let run = |program: &str, words: &[&str]| {
            let mut command = Command::new(program);
            command.args(words).arg(image.path()).stdout(Stdio::null()).stderr(Stdio::null());
            if program == "mount" {
                command.arg(directory.path());
            }
            command.status().is_ok_and(|status| status.success())
        };
        if !run("mkfs.ext4", &["-q", "-m", "0"]) || !run("mount", &["-o", "loop"]) {
            skip("mkfs.ext4 and loop devices");
            return None;
        }
        Some(Self { directory, _image: Some(image) })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes until not a byte is free.
    fn fill(&self) {
        let mut filler =
            std::fs::File::options().append(true).create(true).open(self.filler()).unwrap();
        for size in [1 << 20, 1 << 12, 1] {
            while filler.write_all(&vec![0; size]).is_ok() {}
            filler.sync_data().ok();
        }
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        rustix::mount::unmount(self.directory.path(), UnmountFlags::DETACH).ok();
    }
}

/// Some text for an error and all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test]
async fn a_full_disk_is_named_and_loses_nothing() {
    if !can_mount() {
        return;
    }
    let disk = SmallDisk::new();
    let store = open(disk.path());
    let kept = apply(&store, None, &[file("kept", "k")]).await;
    kept.keep(RecordInfo::default()).await.unwrap();

    let error = store.write_blob(vec![1; 8 << 20]).await.unwrap_err();
    let text = chain(&error);
    assert!(text.contains("no space left on device while writing blob"), "{text}");
    assert!(text.contains(&disk.path().display().to_string()), "{text}");

    // Small when compressed, large when extracted.
    let tar = archive(&[file("large", &"0".repeat(8 << 20))]);
    let layer = blob(&store, &tar, gzip(&tar), "").await;
    let text = chain(&store.apply(None, &layer).await.unwrap_err());
    assert!(text.contains("no space left on device while writing"), "{text}");

    // Not even the index can grow. What was extracted goes in the background; until it is gone the
    // filler would find no room, and what it should take would be left to the records.
    while std::fs::read_dir(disk.path().join("trash")).unwrap().next().is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let filler = disk.path().join("filler");
    std::fs::write(&filler, vec![0; 8 << 20]).unwrap_err();
    let mut failed = None;
    for _ in 0..200 {
        let r = match store.prepare(None).await {
            Ok(step) => step.commit().await.unwrap(),
            Err(error) => {
                failed = Some(chain(&error));
                break;
            }
        };
        let info = RecordInfo { description: "d".repeat(20_000), ..RecordInfo::default() };
        if let Err(error) = r.keep(info).await {
            failed = Some(chain(&error));
            break;
        }
    }
    let text = failed.expect("the disk is full");
    assert!(text.contains("no space left on device"), "{text}");
    std::fs::remove_file(filler).unwrap();

    let again = apply(&store, Some(&kept), &[file("more", "m")]).await;
    again.keep(RecordInfo::default()).await.unwrap();
    let ids = [kept.id().to_owned(), again.id().to_owned()];
    drop((kept, again, store));
    let store = open(disk.path());
    for id in &ids {
        store.load(id).unwrap();
    }
}

/// Somebody else's table in the database of the store.
const OTHER: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("other.table");
const OWNER: Owner = Owner {
    name: "other",
    schema: 1,
    holds: "nothing of worth",
    create: |transaction| transaction.open_table(OTHER).map(drop).map_err(redb::Error::from),
    earlier: None,
};

#[tokio::test]
async fn a_full_disk_costs_no_owner_of_tables_what_was_durable() {
    if !can_mount() {
        return;
    }
    let disk = SmallDisk::new();
    let store = open(disk.path());
    let metadata = store.metadata().clone();
    metadata.begin(&OWNER).unwrap();
    let put = |number: u64, durability| {
        metadata.write(durability, |transaction| {
            transaction.open_table(OTHER)?.insert(number, &[7; 20_000][..])?;
            Ok(())
        })
    };
    let is_there = |number: u64| {
        let read =
            metadata.read(|transaction| Ok(transaction.open_table(OTHER)?.get(number)?.is_some()));
        read.unwrap()
    };
    let kept = apply(&store, None, &[file("kept", "k")]).await;
    kept.keep(RecordInfo::default()).await.unwrap();
    put(0, Durability::Immediate).unwrap();
    disk.fill();
    let failed = (1..400).find_map(|number| put(number, Durability::None).err());
    assert!(failed.is_some_and(|error| is_full(&error)));
    // Nobody is without what was durable, before there is room and after.
    assert!(is_there(0));
    store.load(kept.id()).unwrap();
    std::fs::remove_file(disk.filler()).unwrap();
    put(1000, Durability::Immediate).unwrap();
    let again = apply(&store, None, &[file("again", "a")]).await;
    again.keep(RecordInfo::default()).await.unwrap();
    let ids = [kept.id().to_owned(), again.id().to_owned()];
    assert!(is_there(0) && is_there(1000));
    drop((kept, again, metadata, store));
    let store = open(disk.path());
    assert_eq!(store.metadata().begin(&OWNER).unwrap(), Found::Kept);
    for id in &ids {
        store.load(id).unwrap();
    }
    assert!(!disk.path().join("metadata.redb.broken").exists());
}

#[test]
fn a_full_disk_has_an_error_of_its_own() {
    let error = StoreError::NoSpace { doing: "writing blob", path: "/x".into() };
    assert_eq!(error.to_string(), "no space left on device while writing blob `/x`");
}

/// Things worth pruning: records on top of each other, and one beside.
async fn furnish(store: &Store) {
    let base = apply(store, None, &[file("base", &"b".repeat(200_000))]).await;
    let top = apply(store, Some(&base), &[file("top", &"t".repeat(100_000))]).await;
    let beside = apply(store, None, &[file("beside", &"x".repeat(100_000))]).await;
    for one in [base, top, beside] {
        let info = RecordInfo { description: "d".repeat(2000), ..RecordInfo::default() };
        one.keep(info).await.unwrap();
    }
}

/// Fills the disk with records, the index to its last page, until not even one more fits.
async fn crowd(store: &Store, disk: &SmallDisk) {
    disk.fill();
    let filler = std::fs::File::options().write(true).open(disk.filler()).unwrap();
    filler.set_len(filler.metadata().unwrap().len() - (600 << 10)).unwrap();
    for number in 0..1000 {
        let Ok(step) = store.prepare(None).await else { break };
        let info = RecordInfo { description: "d".repeat(20_000), ..RecordInfo::default() };
        if let Err(error) = step.commit().await.unwrap().keep(info).await {
            assert!(chain(&error).contains("no space left on device"), "{number}: {error}");
            break;
        }
    }
    disk.fill();
}

/// Prunes everything, and uses the store as if nothing had happened.
async fn recover(store: &Store) {
    let mut removed = 0;
    let options = PruneOptions { all: true, ..PruneOptions::default() };
    store.prune(options, &mut |_| removed += 1).await.unwrap();
    assert!(removed >= 3, "{removed}");
    assert_eq!(store.usage(&Default::default()).await.unwrap(), []);
    let again = apply(store, None, &[file("again", "a")]).await;
    again.keep(RecordInfo::default()).await.unwrap();
}

async fn a_full_disk_is_pruned(disk: SmallDisk) {
    let store = open(disk.path());
    // The background makes the reserve; here it must be there.
    store.prune(PruneOptions::default(), &mut |_| {}).await.unwrap();
    assert!(disk.path().join("reserve").exists());
    furnish(&store).await;
    crowd(&store, &disk).await;
    recover(&store).await;

    // The same, once the reserve is gone and something else has taken its space.
    std::fs::remove_file(disk.filler()).unwrap();
    std::fs::remove_file(disk.path().join("reserve")).ok();
    furnish(&store).await;
    crowd(&store, &disk).await;
    recover(&store).await;

    // And by a store that is opened only now.
    std::fs::remove_file(disk.filler()).unwrap();
    furnish(&store).await;
    crowd(&store, &disk).await;
    drop(store);
    disk.fill();
    let store = open(disk.path());
    recover(&store).await;
}

#[tokio::test]
async fn a_full_disk_in_memory_is_pruned() {
    if can_mount() {
        a_full_disk_is_pruned(SmallDisk::new()).await;
    }
}

#[tokio::test]
async fn a_full_disk_of_blocks_is_pruned() {
    if !can_mount() {
        return;
    }
    if let Some(disk) = SmallDisk::ext4() {
        a_full_disk_is_pruned(disk).await;
    }
}

/// An index of so many pages that removing from all of them takes more space than it has to spare.
#[tokio::test]
async fn a_large_index_is_pruned_without_any_space() {
    if !can_mount() {
        return;
    }
    for reserve in [true, false] {
        let disk = SmallDisk::new();
        let store = open(disk.path());
        store.prune(PruneOptions::default(), &mut |_| {}).await.unwrap();
        furnish(&store).await;
        let mut small = Vec::new();
        for _ in 0..1500 {
            small.push(store.prepare(None).await.unwrap().commit().await.unwrap());
        }
        let info = RecordInfo { description: "d".repeat(400), ..RecordInfo::default() };
        let kept = futures::future::join_all(small.iter().map(|one| one.keep(info.clone()))).await;
        kept.into_iter().for_each(Result::unwrap);
        drop(small);
        if !reserve {
            std::fs::remove_file(disk.path().join("reserve")).unwrap();
        }
        disk.fill();
        recover(&store).await;
    }
}
