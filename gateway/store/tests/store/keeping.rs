//! What is kept survives, what is not goes, and a store that was hurt still opens.

use std::fs;
use std::io::Write;
use std::path::Path;

use kiln_oci::Digest;
use kiln_store::{
    BlobError, Kind, LoadError, OpenError, PruneOptions, RecordInfo, Sharing, Store, StoreOptions,
};
use redb::{ReadableDatabase as _, TableDefinition};
use tokio::io::AsyncWriteExt;

use crate::support::*;

#[tokio::test]
async fn a_kept_ref_is_loaded_after_a_restart() {
    let (root, store) = store();
    let base = store.prepare(None).await.unwrap();
    put(base.mount().await.unwrap().path(), "a", "1");
    let base = base.commit().await.unwrap();
    let empty = store.prepare(Some(&base.here())).await.unwrap().commit().await.unwrap();
    assert_eq!(empty.layers().len(), 2, "an empty step makes a layer too");
    let info = RecordInfo { kind: Kind::Internal, description: "two".into() };
    empty.keep(info).await.unwrap();
    let (id, temporary) = (empty.id().to_owned(), base.id().to_owned());
    drop((base, empty, store));

    let store = open(root.path());
    let r = store.load(&id).unwrap();
    assert_eq!(r.layers().len(), 2);
    assert_eq!(names(&r.layers()[0].path()), ["a"]);
    assert!(matches!(store.load(&temporary), Err(LoadError::NotFound(_))));
    let usage = store.usage(&Default::default()).await.unwrap();
    let record = usage.iter().find(|usage| usage.id == id).unwrap();
    assert_eq!((record.kind, record.description.as_str()), (Kind::Internal, "two"));
    assert_eq!((record.in_use, record.usage_count), (true, 2));
}

#[tokio::test]
async fn what_no_handle_and_no_record_needs_is_deleted() {
    let (root, store) = store();
    let mutable = store.prepare(None).await.unwrap();
    put(&mutable.overlay().upper, "a", "1");
    let kept = mutable.commit().await.unwrap();
    let above = store.prepare(Some(&kept.here())).await.unwrap().commit().await.unwrap();
    kept.keep(RecordInfo::default()).await.unwrap();
    let discarded = store.prepare(Some(&kept.here())).await.unwrap();
    let paths = [kept.layers()[0].path(), above.layers()[1].path(), discarded.overlay().upper];
    let exist = || paths.iter().map(|path| path.exists()).collect::<Vec<_>>();
    assert_eq!(exist(), [true, true, true]);
    drop((kept, discarded));
    assert_eq!(exist(), [true, true, false]);
    drop(above);
    assert_eq!(exist(), [true, false, false]);
    store.prune(Default::default(), &mut |_| {}).await.unwrap();
    assert_eq!(exist(), [false, false, false]);
    assert_eq!(fs::read_dir(root.path().join("trash")).unwrap().count(), 0);
}

#[tokio::test]
async fn leftovers_of_a_crash_are_removed() {
    let (root, store) = store();
    let kept = store.prepare(None).await.unwrap().commit().await.unwrap();
    kept.keep(RecordInfo::default()).await.unwrap();
    let number = kept.layers()[0].number();
    drop((kept, store));
    for leftover in ["snapshots/77/fs", "snapshots/what", "trash/old/x", "mnt/old"] {
        fs::create_dir_all(root.path().join(leftover)).unwrap();
    }
    fs::write(root.path().join("ingest/half"), "half").unwrap();
    let store = open(root.path());
    // Pruning waits for what is on its way out: first for the sweep, then for what that found.
    for _ in 0..2 {
        let nothing = PruneOptions { filter: vec!["id==x".into()], ..PruneOptions::default() };
        store.prune(nothing, &mut |_| {}).await.unwrap();
    }
    let left = |name: &str| {
        let entries = fs::read_dir(root.path().join(name)).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(left("snapshots"), [number.to_string()]);
    for name in ["ingest", "trash", "mnt"] {
        assert!(left(name).is_empty(), "{name}");
    }
}

#[tokio::test]
async fn a_missing_directory_and_a_corrupt_index_are_misses() {
    let (root, store) = store();
    let kept = store.prepare(None).await.unwrap().commit().await.unwrap();
    kept.keep(RecordInfo::default()).await.unwrap();
    let (id, path) = (kept.id().to_owned(), kept.layers()[0].path());
    drop(kept);
    fs::remove_dir_all(path).unwrap();
    assert!(matches!(store.load(&id), Err(LoadError::NotFound(_))));
    drop(store);
    for garbage in [vec![7; 9000], b"short".to_vec()] {
        fs::write(root.path().join("metadata.redb"), garbage).unwrap();
        let store = open(root.path());
        assert!(matches!(store.load(&id), Err(LoadError::NotFound(_))));
        let again = store.prepare(None).await.unwrap().commit().await.unwrap();
        again.keep(RecordInfo::default()).await.unwrap();
        assert!(root.path().join("metadata.redb.broken").exists());
    }
}

/// Moves the index into the file that it had for itself, as an older daemon left it.
fn as_it_was(root: &Path) {
    fn table<K: redb::Key + 'static, V: redb::Value + 'static>(
        from: &redb::ReadTransaction,
        to: &redb::WriteTransaction,
        name: &str,
    ) {
        let new = format!("store.{name}");
        let (new, old) = (TableDefinition::<K, V>::new(&new), TableDefinition::<K, V>::new(name));
        kiln_metadata::copy(from, new, to, old).unwrap();
    }
    let metadata = redb::Database::open(root.join("metadata.redb")).unwrap();
    let earlier = redb::Database::create(root.join("index.redb")).unwrap();
    let (from, to) = (metadata.begin_read().unwrap(), earlier.begin_write().unwrap());
    table::<&str, u64>(&from, &to, "numbers");
    table::<&str, &str>(&from, &to, "texts");
    table::<&str, &[u8]>(&from, &to, "records");
    table::<u64, &[u8]>(&from, &to, "layers");
    table::<u64, u64>(&from, &to, "layer_uses");
    table::<&str, u64>(&from, &to, "blob_uses");
    table::<&str, u64>(&from, &to, "chains");
    table::<&str, &[u8]>(&from, &to, "directories");
    to.open_table(TableDefinition::<&str, u64>::new("numbers"))
        .unwrap()
        .insert("schema", 1)
        .unwrap();
    to.commit().unwrap();
    drop((from, metadata));
    fs::remove_file(root.join("metadata.redb")).unwrap();
}

#[tokio::test]
async fn what_an_index_in_a_file_of_its_own_had_is_in_the_store() {
    let (root, store) = store();
    let base = apply(&store, None, &[file("a", "1")]).await;
    let top = apply(&store, Some(&base), &[file("b", "2")]).await;
    top.keep(RecordInfo { kind: Kind::Internal, description: "two".into() }).await.unwrap();
    let directory =
        store.directory("cache", Kind::ExecCacheMount, Sharing::Shared, None).await.unwrap();
    put(&directory.overlay().upper, "c", "3");
    let id = top.id().to_owned();
    drop((base, top, directory, store));
    as_it_was(root.path());
    let store = open(root.path());
    assert_eq!(store.load(&id).unwrap().layers().len(), 2);
    let found =
        store.directory("cache", Kind::ExecCacheMount, Sharing::Shared, None).await.unwrap();
    assert_eq!(names(&found.overlay().upper), ["c"]);
    // A layer that was applied before is found by what it was applied on.
    let again = apply(&store, None, &[file("a", "1")]).await;
    assert_eq!(again.layers()[0].number(), store.load(&id).unwrap().layers()[0].number());
    assert!(!root.path().join("index.redb").exists());
    drop((found, again, store));
    // One of a version that nobody knows is set aside.
    as_it_was(root.path());
    let index = redb::Database::open(root.path().join("index.redb")).unwrap();
    let transaction = index.begin_write().unwrap();
    let numbers = TableDefinition::<&str, u64>::new("numbers");
    transaction.open_table(numbers).unwrap().insert("schema", 9).unwrap();
    transaction.commit().unwrap();
    drop(index);
    let store = open(root.path());
    assert!(matches!(store.load(&id), Err(LoadError::NotFound(_))));
    assert!(root.path().join("index.redb.broken").exists());
}

#[tokio::test]
async fn a_root_has_one_owner_at_a_time() {
    let (root, store) = store();
    let error = Store::open(root.path(), StoreOptions::default()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { holder: Some(_), .. }), "{error}");
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(store);
    open(root.path());
}

#[tokio::test]
async fn blobs_are_whole_or_not_there() {
    let (root, store) = store();
    let content = "content ".repeat(500_000);
    let digest = Digest::sha256(&content);
    assert!(store.blob(&digest).is_none());

    let mut writer = store.writer().await.unwrap();
    writer.write_all(content.as_bytes()).await.unwrap();
    let error = writer.commit(Some(&Digest::sha256("x")), None).await.unwrap_err();
    assert!(matches!(error, BlobError::Digest { .. }), "{error}");

    let mut sink = store.sink().unwrap();
    sink.write_all(b"abc").unwrap();
    let error = sink.commit(None, Some(4)).unwrap_err();
    assert!(matches!(error, BlobError::Size { expected: 4, actual: 3 }), "{error}");

    let mut dropped = store.writer().await.unwrap();
    dropped.write_all(content.as_bytes()).await.unwrap();
    dropped.flush().await.unwrap();
    drop(dropped);
    assert_eq!(fs::read_dir(root.path().join("ingest")).unwrap().count(), 0);

    let mut writer = store.writer().await.unwrap();
    writer.write_all(content.as_bytes()).await.unwrap();
    let size = content.len() as u64;
    let blob = writer.commit(Some(&digest), Some(size)).await.unwrap();
    assert_eq!((blob.size(), blob.digest()), (size, &digest));
    assert_eq!(fs::read(blob.path()).unwrap(), content.as_bytes());
    store.verify(&digest).await.unwrap();
    fs::write(blob.path(), "spoiled").unwrap();
    let error = store.verify(&digest).await.unwrap_err();
    assert!(matches!(error, BlobError::Damaged { .. }), "{error}");
    assert!(store.blob(&digest).is_none(), "a spoiled blob is removed");
}

#[tokio::test]
async fn many_keeps_at_once_all_last() {
    let (root, store) = store();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let store = store.clone();
        tasks.spawn(async move {
            let r = store.prepare(None).await.unwrap().commit().await.unwrap();
            r.keep(RecordInfo::default()).await.unwrap();
            r.id().to_owned()
        });
    }
    let ids = tasks.join_all().await;
    drop(store);
    let store = open(root.path());
    for id in ids {
        store.load(&id).unwrap();
    }
}

#[tokio::test]
async fn a_reserve_of_the_disk_is_left_alone() {
    let root = tempfile::TempDir::new().unwrap();
    let options = StoreOptions { reserve_bytes: u64::MAX, ..StoreOptions::default() };
    let store = Store::open(root.path(), options).unwrap();
    let error = store.prepare(None).await.unwrap_err();
    assert!(error.to_string().contains("kept in reserve"), "{error}");
}
