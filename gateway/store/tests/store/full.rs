//! A full disk: a clear error, nothing lost, and work goes on once there is room.

use std::path::Path;

use kiln_store::{RecordInfo, StoreError};
use rustix::mount::{MountFlags, UnmountFlags};

use crate::support::*;

/// A small disk that goes away with its guard.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Self {
        let directory = tempfile::TempDir::new().unwrap();
        let options = c"size=6m";
        rustix::mount::mount("tmpfs", directory.path(), "tmpfs", MountFlags::empty(), options)
            .unwrap();
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        rustix::mount::unmount(self.0.path(), UnmountFlags::DETACH).ok();
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

    // Not even the index can grow.
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

#[test]
fn a_full_disk_has_an_error_of_its_own() {
    let error = StoreError::NoSpace { doing: "writing blob", path: "/x".into() };
    assert_eq!(error.to_string(), "no space left on device while writing blob `/x`");
}
