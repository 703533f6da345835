//! Stories about keys and stores; every store is held to the same contract.

use kiln_oci::Digest;

use crate::key::{InputKey, content_key, definition_key};
use crate::{CacheDep, CacheMap, CacheRecord, CacheStore, DiskStore, MemoryStore};

fn map(name: &str, inputs: usize) -> CacheMap {
    CacheMap::new(Digest::sha256(name), inputs)
}

fn record(name: &str) -> CacheRecord {
    CacheRecord {
        key: content_key(&map(name, 0), &[]),
        results: vec![Some(format!("ref-{name}")), None],
        description: name.into(),
        created: 1,
    }
}

fn suite(store: &dyn CacheStore) {
    let (a, b) = (record("a"), record("b"));
    let by_definition = definition_key(&map("a", 0), &[]);
    assert_eq!(store.get(&a.key), None);
    store.put(&a, Some(&by_definition));
    store.put(&b, None);
    assert_eq!(store.get(&a.key), Some(a.clone()));
    assert_eq!(store.get(&by_definition), Some(a.clone()));
    assert_eq!(store.get(&b.key), Some(b.clone()));
    store.put(&b, Some(&by_definition));
    store.remove(&a.key);
    assert_eq!(store.get(&a.key), None);
    assert_eq!(
        store.get(&by_definition),
        Some(b.clone()),
        "the alias belongs to another record by now"
    );
    store.remove(&b.key);
    assert_eq!(store.get(&by_definition), None);
}

#[test]
fn memory_keeps_the_contract() {
    suite(&MemoryStore::default());
}

#[test]
fn disk_keeps_the_contract_and_survives_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache.redb");
    let store = DiskStore::open(&path).unwrap();
    suite(&store);
    let kept = record("kept");
    store.put(&kept, None);
    store.flush();
    drop(store);
    assert_eq!(DiskStore::open(&path).unwrap().get(&kept.key), Some(kept));
}

#[test]
fn a_broken_file_is_moved_aside_and_started_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache.redb");
    std::fs::write(&path, b"this is no database, whatever its name says").unwrap();
    let store = DiskStore::open(&path).unwrap();
    let kept = record("kept");
    store.put(&kept, None);
    assert_eq!(store.get(&kept.key), Some(kept));
    assert!(directory.path().join("cache.redb.corrupt").exists());
}

#[test]
fn keys_depend_on_operation_input_output_and_selector() {
    let input = content_key(&map("input", 0), &[]);
    let base = definition_key(&map("op", 1), &[InputKey::Made(&input, 0)]);
    assert_eq!(base, definition_key(&map("op", 1), &[InputKey::Made(&input, 0)]));
    assert_ne!(base, definition_key(&map("other", 1), &[InputKey::Made(&input, 0)]));
    assert_ne!(base, definition_key(&map("op", 1), &[InputKey::Made(&input, 1)]));
    let mut selected = map("op", 1);
    selected.deps[0] = CacheDep { selector: Some(Digest::sha256("/src")), by_content: false };
    assert_ne!(base, definition_key(&selected, &[InputKey::Made(&input, 0)]));
    assert_ne!(base, content_key(&map("op", 1), &[InputKey::Made(&input, 0)]));
}
