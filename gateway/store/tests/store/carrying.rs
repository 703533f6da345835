//! What is in long-lived directories goes to other machines and back.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use kiln_oci::Digest;
use kiln_store::{ApplyError, Carried, CarryError, Compression, Directory, Kind, Sharing, Store};

use crate::support::*;

const KEY: &str = "cache-mount:go";

async fn directory(store: &Store, sharing: Sharing) -> Directory {
    store.directory(KEY, Kind::ExecCacheMount, sharing, None).await.unwrap()
}

async fn carry(store: &Store, limit: u64) -> Result<Option<Carried>, CarryError> {
    store.carry(KEY, limit, Compression::default()).await
}

#[tokio::test]
async fn a_directory_is_the_same_where_it_is_restored() {
    let (_one, store) = store();
    let (_two, other) = super::support::store();
    assert!(carry(&store, 100).await.unwrap().is_none(), "there is none");
    let here = directory(&store, Sharing::Shared).await;
    drop(here.clone());
    put(&here.path(), "mod/a", "1");
    fs::hard_link(here.path().join("mod/a"), here.path().join("b")).unwrap();
    let expected = tree(&here.path());
    drop(here);
    let carried = carry(&store, 100).await.unwrap().unwrap();
    let again = carry(&store, 100).await.unwrap().unwrap();
    assert_eq!((&carried.layer, carried.changed), (&again.layer, again.changed));

    let unused = other.unused_directory(KEY).await.unwrap();
    assert!(unused.is_some());
    let blob = fs::read(carried.blob.path()).unwrap();
    let blob = other.write_blob(blob).await.unwrap();
    let there = directory(&other, Sharing::Locked).await;
    assert!(there.is_new());
    there.restore(&blob, &carried.layer.diff_id).await.unwrap();
    assert_eq!(tree(&there.path()), expected);
    let inode = |name: &str| fs::metadata(there.path().join(name)).unwrap().ino();
    assert_eq!(inode("mod/a"), inode("b"));
    drop((there, unused));
    assert!(other.unused_directory(KEY).await.unwrap().is_none(), "there is one now");
}

#[tokio::test]
async fn what_was_not_sent_whole_leaves_a_directory_as_it_was() {
    let (_root, store) = store();
    let there = directory(&store, Sharing::Shared).await;
    let tar = archive(&[file("f", "x"), file("g", "y")]);
    let whole = store.write_blob(gzip(&tar)).await.unwrap();
    let mut cut = gzip(&tar);
    cut.truncate(cut.len() / 2);
    let cut = store.write_blob(cut).await.unwrap();
    let right = Digest::sha256(&tar);
    let error = there.restore(&whole, &Digest::sha256("other")).await.unwrap_err();
    assert!(matches!(error, ApplyError::DiffId { .. }), "{error:?}");
    there.restore(&cut, &right).await.unwrap_err();
    assert!(tree(&there.path()).is_empty());
    there.restore(&whole, &right).await.unwrap();
    assert_eq!(tree(&there.path()).len(), 2);
}

#[tokio::test]
async fn what_is_too_large_or_empty_is_not_carried() {
    let (_root, store) = store();
    let here = directory(&store, Sharing::Shared).await;
    let path = here.path();
    drop(here);
    assert!(carry(&store, 100).await.unwrap().is_none(), "nothing is in it");
    put(&path, "f", &"x".repeat(101));
    let error = carry(&store, 100).await.unwrap_err();
    assert_eq!(error.to_string(), "it has more than 100 bytes");
    assert!(carry(&store, 101).await.unwrap().is_some());
}

#[tokio::test]
async fn who_comes_second_waits_until_a_directory_is_begun() {
    let (_root, store) = store();
    let unused = store.unused_directory(KEY).await.unwrap();
    let (other, begun) =
        (store.clone(), std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let seen = begun.clone();
    let second = tokio::spawn(async move {
        let unused = other.unused_directory(KEY).await.unwrap();
        assert!(seen.load(std::sync::atomic::Ordering::SeqCst), "too early");
        unused.is_some()
    });
    tokio::task::yield_now().await;
    let here = directory(&store, Sharing::Shared).await;
    begun.store(true, std::sync::atomic::Ordering::SeqCst);
    drop((here, unused));
    assert!(!second.await.unwrap());
}
