//! Long-lived directories: who gets which, and when.

use std::time::Duration;

use kiln_store::{Directory, Filter, KeepError, Kind, RecordInfo, Sharing, Store, StoreOptions};

use crate::support::*;

async fn get(store: &Store, key: &str, sharing: Sharing) -> Directory {
    store.directory(key, Kind::ExecCacheMount, sharing, None).await.unwrap()
}

#[tokio::test]
async fn a_directory_survives_release_and_restart() {
    let (root, store) = store();
    let first = get(&store, "k", Sharing::Shared).await;
    assert!(first.is_new());
    put(&first.path(), "f", "x");
    drop((first, store));
    let store = open(root.path());
    let again = get(&store, "k", Sharing::Private).await;
    assert!(!again.is_new());
    assert_eq!(names(&again.path()), ["f"]);
    let other = get(&store, "l", Sharing::Private).await;
    assert!(other.is_new() && names(&other.path()).is_empty());
}

#[tokio::test]
async fn sharing_decides_who_gets_a_busy_directory() {
    let (_root, store) = store();
    let (a, b) = tokio::join!(get(&store, "s", Sharing::Shared), get(&store, "s", Sharing::Shared));
    assert_eq!(a.path(), b.path());
    let (a, b) =
        tokio::join!(get(&store, "p", Sharing::Private), get(&store, "p", Sharing::Private));
    assert_ne!(a.path(), b.path());
    let one = a.path();
    drop(a);
    assert_eq!(get(&store, "p", Sharing::Private).await.path(), one, "the free one is reused");
}

#[tokio::test]
async fn a_locked_directory_is_waited_for() {
    let (_root, store) = store();
    let first = get(&store, "k", Sharing::Locked).await;
    let path = first.path();
    let view = first.as_ref();
    drop(first);
    let wait = tokio::time::timeout(Duration::from_millis(50), get(&store, "k", Sharing::Locked));
    assert!(wait.await.is_err(), "a view holds the lock");
    let waiter = tokio::spawn({
        let store = store.clone();
        async move { get(&store, "k", Sharing::Locked).await.path() }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(view);
    assert_eq!(waiter.await.unwrap(), path);
}

#[tokio::test]
async fn a_view_shows_the_directory_and_cannot_be_kept() {
    let (_root, store) = store();
    let directory = get(&store, "k", Sharing::Shared).await;
    put(&directory.path(), "f", "x");
    let view = directory.as_ref();
    assert_eq!(names(view.mount().await.unwrap().path()), ["f"]);
    let error = view.keep(RecordInfo::default()).await.unwrap_err();
    assert!(matches!(error, KeepError::View(_)), "{error}");
    let blobs = store.layer_blobs(&view, Default::default(), &nobody(), &|_| {}).await.unwrap();
    put(&directory.path(), "g", "y");
    let later = store.layer_blobs(&view, Default::default(), &nobody(), &|_| {}).await.unwrap();
    assert_ne!(blobs, later, "nothing is remembered of what changes");
}

#[tokio::test]
async fn a_base_shows_through_and_is_kept() {
    if !can_mount() {
        return;
    }
    let (root, store) = store();
    let base = apply(&store, None, &[file("base", "b")]).await;
    let directory = store
        .directory("k", Kind::ExecCacheMount, Sharing::Shared, Some(&base.here()))
        .await
        .unwrap();
    put(directory.mount().await.unwrap().path(), "own", "o");
    assert_eq!(names(directory.as_ref().mount().await.unwrap().path()), ["base", "own"]);
    let plain = get(&store, "k", Sharing::Shared).await;
    assert_ne!(plain.id(), directory.id(), "another base is another directory");
    let (id, number) = (directory.id().to_owned(), base.layers()[0].number());
    drop((base, directory, plain, store));
    let store = open(root.path());
    let usage = store.usage(&Default::default()).await.unwrap();
    assert!(usage.iter().any(|usage| usage.id == id && usage.mutable));
    assert!(root.path().join(format!("snapshots/{number}/fs/base")).exists());
}

#[tokio::test]
async fn all_who_share_a_directory_with_a_base_share_its_mount() {
    if !can_mount() {
        return;
    }
    let (_root, store) = store();
    let base = apply(&store, None, &[file("base", "b")]).await;
    let base = base.here();
    let get = || store.directory("k", Kind::ExecCacheMount, Sharing::Shared, Some(&base));
    let (a, b) = tokio::join!(get(), get());
    let (a, b) = (a.unwrap(), b.unwrap());
    let (one, two) = tokio::join!(a.mount(), b.mount());
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.path(), two.path());
    put(one.path(), "own", "o");
    drop((one, a));
    assert_eq!(names(two.path()), ["base", "own"], "one leaving does not end it for the other");
    let point = two.path().to_owned();
    drop((two, b));
    assert!(!point.exists());
    let again = get().await.unwrap();
    assert_eq!(names(again.mount().await.unwrap().path()), ["base", "own"]);
}

#[tokio::test]
async fn a_forgotten_directory_begins_empty() {
    let (_root, store) = store();
    let busy = get(&store, "k", Sharing::Shared).await;
    put(&busy.path(), "f", "x");
    store.forget_directory("k").await.unwrap();
    assert!(busy.path().join("f").exists(), "its user goes on");
    let fresh = get(&store, "k", Sharing::Shared).await;
    assert!(fresh.is_new() && names(&fresh.path()).is_empty());
    let path = busy.path();
    drop(busy);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_writer_that_never_ended_leaves_a_mark() {
    let (root, store) = store();
    let cache = get(&store, "k", Sharing::Shared).await;
    let (fine, killed) = (cache.writer().unwrap(), cache.writer().unwrap());
    put(&cache.path(), "half", "1");
    fine.ended();
    drop((killed, cache));
    let interrupted = async |store: &Store| {
        let filter = Filter::parse(&["interrupted"]).unwrap();
        store.usage(&filter).await.unwrap().len()
    };
    assert_eq!(interrupted(&store).await, 1);
    // The mark outlives the process, and the directory is given out all the same.
    drop(store);
    let store = open(root.path());
    let cache = get(&store, "k", Sharing::Shared).await;
    assert_eq!(names(&cache.path()), ["half"]);
    drop((cache, store));

    let options = StoreOptions { discard_interrupted: true, ..StoreOptions::default() };
    let store = Store::open(root.path(), options).unwrap();
    let cache = get(&store, "k", Sharing::Locked).await;
    assert!(cache.is_new());
    assert_eq!(names(&cache.path()), [""; 0]);
    cache.writer().unwrap().ended();
    drop(cache);
    assert_eq!(interrupted(&store).await, 0);
}
