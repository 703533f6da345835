//! Stories about keys, links and what survives.

use kiln_keys::CacheMap;
use kiln_metadata::Metadata;
use kiln_oci::Digest;

use crate::testing::{all_of, key_value_suite, look_up, operation, save, store_suite};
use crate::{
    Answer, CacheKey, CacheStore, DiskKeyValue, ExportLink, InputKey, KeyValue, LinkStore,
    MemoryKeyValue, SavedResult,
};

fn memory() -> LinkStore<MemoryKeyValue> {
    LinkStore::new(MemoryKeyValue::default())
}

#[test]
fn memory_keeps_both_contracts() {
    key_value_suite(&MemoryKeyValue::default());
    store_suite(&memory());
}

#[test]
fn disk_keeps_both_contracts_and_survives_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let metadata = Metadata::open(directory.path(), None).unwrap();
        DiskKeyValue::open(&metadata).unwrap()
    };
    key_value_suite(&open());
    let store = LinkStore::new(open());
    store_suite(&store);
    let image = save(&store, "image", &[], Some(("saved", 1)));
    store.flush();
    drop(store);
    let store = LinkStore::new(open());
    assert_eq!(look_up(&store, "image", &[]).records[0].key, image);
}

#[test]
fn records_of_the_file_that_the_cache_had_for_itself_are_found() {
    let root = tempfile::tempdir().unwrap();
    let open = || Metadata::open(root.path(), None).unwrap();
    let store = LinkStore::new(DiskKeyValue::open(&open()).unwrap());
    let image = save(&store, "image", &[], Some(("saved", 1)));
    drop(store);
    // Its entries as they were laid out before.
    let metadata = open();
    let entries = DiskKeyValue::open(&metadata).unwrap().scan(b"", None, usize::MAX).unwrap();
    drop(metadata);
    std::fs::remove_file(root.path().join(kiln_metadata::FILE)).unwrap();
    let earlier = redb::Database::create(root.path().join("cache.redb")).unwrap();
    let transaction = earlier.begin_write().unwrap();
    let table = redb::TableDefinition::<&[u8], &[u8]>::new("links.v1");
    for (key, value) in &entries {
        let mut table = transaction.open_table(table).unwrap();
        table.insert(key.as_slice(), value.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
    drop(earlier);
    let store = LinkStore::new(DiskKeyValue::open(&open()).unwrap());
    assert_eq!(look_up(&store, "image", &[]).records[0].key, image);
    assert!(!root.path().join("cache.redb").exists());
}

/// The digests that BuildKit computes for the same texts.
#[test]
fn keys_are_those_of_buildkit() {
    let digest = Digest::sha256("test");
    let map = CacheMap::plain(digest.clone(), 0);
    let sum = |text: String| Digest::sha256(text).to_string();
    assert_eq!(CacheKey::operation(&map, 2).to_string(), sum(format!("{digest}@2")));
    assert_eq!(CacheKey::content(&digest).to_string(), sum(format!("{digest}@-1")));
    let session = CacheMap { session_scoped: true, ..map };
    assert_eq!(CacheKey::operation(&session, 0).to_string(), format!("random:{}", digest.hex()));
}

#[test]
fn the_key_of_a_record_is_what_leads_to_it_in_whatever_order() {
    let (a, b) = (all_of(operation("a")), all_of(operation("b")));
    let derived = |inputs: &[Vec<InputKey>]| CacheKey::derived(operation("run"), inputs);
    assert_eq!(derived(&[vec![a, b]]), derived(&[vec![b, a]]));
    assert_ne!(derived(&[vec![a, b]]), derived(&[vec![a], vec![b]]));
    assert_ne!(derived(&[vec![a], vec![b]]), derived(&[vec![b], vec![a]]));
    assert_ne!(derived(&[vec![a]]), CacheKey::derived(operation("other"), &[vec![a]]));
}

#[test]
fn a_base_that_everything_stands_on_does_not_slow_down_the_search() {
    let store = memory();
    let base = save(&store, "base", &[], None);
    let files = |number: usize| all_of(CacheKey::content(&Digest::sha256(number.to_string())));
    for number in 0..500 {
        save(&store, "copy", &[&[all_of(base)], &[files(number)]], Some(("copy", 1)));
    }
    let answer = look_up(&store, "copy", &[&[all_of(base)], &[files(321)]]);
    assert_eq!(answer.records.len(), 1);
    let answer = look_up(&store, "copy", &[&[all_of(base)], &[files(999)]]);
    assert_eq!((answer.records.len(), answer.linked), (0, vec![0]));
}

#[test]
fn the_number_of_records_in_an_answer_is_bounded() {
    let store = memory();
    let base = save(&store, "base", &[], None);
    for number in 0..100_u64 {
        let other = all_of(CacheKey::content(&Digest::sha256(number.to_string())));
        save(&store, "run", &[&[all_of(base), other]], Some(("run", number)));
    }
    let records = look_up(&store, "run", &[&[all_of(base)]]).records;
    assert_eq!(records.len(), Answer::MOST_RECORDS);
}

#[test]
fn a_chain_that_led_to_one_result_goes_with_it_however_long() {
    let store = memory();
    let mut last = save(&store, "base", &[], None);
    for number in 0..10_000 {
        last = save(&store, &format!("step {number}"), &[&[all_of(last)]], None);
    }
    save(&store, "end", &[&[all_of(last)]], Some(("end", 1)));
    assert_eq!(store.export(&[last]).unwrap().records.len(), 10_001);
    store.forget("end");
    assert_eq!(look_up(&store, "base", &[]), Answer::default());
    assert_eq!(store.export(&[last]).unwrap().records, []);
}

#[test]
fn an_export_holds_every_way_to_a_record_and_what_is_on_it() {
    let store = memory();
    let content = CacheKey::content(&Digest::sha256("files"));
    let image = save(&store, "image", &[], Some(("image-1", 1)));
    let stage = save(&store, "stage", &[&[all_of(image)]], Some(("stage-1", 2)));
    // Known by how it was made and by what is in it; the latter is only a way back.
    let copy = save(&store, "copy", &[&[all_of(stage), all_of(content)]], Some(("copy-1", 3)));
    let graph = store.export(&[copy]).unwrap();
    let keys: Vec<CacheKey> = graph.records.iter().map(|record| record.key).collect();
    let number = |key| keys.iter().position(|other| *other == key).unwrap();
    assert_eq!(keys.len(), 4);
    assert!(number(image) < number(stage) && number(stage) < number(copy));
    let record = &graph.records[number(copy)];
    assert_eq!(record.operation, operation("copy"));
    assert_eq!(record.results, [SavedResult { created: 3, id: "copy-1".into() }]);
    let mut ways = record.inputs[0].clone();
    ways.sort_unstable();
    let mut expected = [stage, content].map(|k| ExportLink { record: number(k), selector: None });
    expected.sort_unstable();
    assert_eq!(ways, expected);
}

#[test]
fn an_export_leaves_out_circles_and_what_cannot_be_reached() {
    let store = memory();
    let content = CacheKey::content(&Digest::sha256("files"));
    // A step that changes nothing: what it makes has the content that it reads.
    let same = save(&store, "touch", &[&[all_of(content)]], Some(("same", 1)));
    let other = save(&store, "chmod", &[&[all_of(same)]], Some(("other", 1)));
    crate::testing::save_links(&store, same, "touch", &[(0, all_of(same)), (0, all_of(other))]);
    let graph = store.export(&[other]).unwrap();
    assert_eq!(graph.records.len(), 3);
    assert!(graph.records.iter().flat_map(|r| &r.inputs).all(|ways| ways.len() == 1));
    // A record of a session's directory has no way that an export could hold.
    let session = CacheKey::session(&Digest::sha256("context"));
    let lost = save(&store, "lost", &[&[all_of(content)], &[all_of(session)]], Some(("lost", 1)));
    assert!(store.export(&[lost]).unwrap().records.iter().all(|record| record.key != lost));
}
