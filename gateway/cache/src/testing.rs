//! The contracts of this crate as suites: what every database and every store is held to.

use kiln_keys::CacheMap;
use kiln_oci::Digest;

use crate::{
    Answer, Batch, CacheKey, CacheStore, FoundRecord, InputKey, KeyValue, KnownInput, Lookup,
    SavedRecord, SavedResult, Saving, Sum,
};

/// Holds an empty database to the contract of [`KeyValue`].
///
/// # Panics
///
/// If it breaks it.
pub fn key_value_suite(database: &dyn KeyValue) {
    let key = |text: &str| text.as_bytes().to_vec();
    let scan = |prefix: &str, after: Option<&str>, limit| -> Vec<String> {
        let found = database.scan(prefix.as_bytes(), after.map(str::as_bytes), limit).unwrap();
        found.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect()
    };
    let keys = ["a", "ab", "abc", "abd", "b", "a\u{ff}"];
    let puts = keys.iter().map(|text| (key(text), key("1"))).collect();
    database.write(Batch { puts, deletes: Vec::new() }).unwrap();
    assert_eq!(database.get(b"ab").unwrap(), Some(key("1")));
    assert_eq!(database.get(b"ac").unwrap(), None);
    assert_eq!(scan("ab", None, 10), ["ab", "abc", "abd"], "in order, and no more");
    assert_eq!(scan("ab", None, 2), ["ab", "abc"]);
    assert_eq!(scan("ab", Some("abc"), 2), ["abd"]);
    assert_eq!(scan("a", Some("abd"), 9), ["a\u{ff}"]);
    assert_eq!(scan("c", None, 9), [""; 0]);
    let change = Batch {
        puts: vec![(key("ab"), key("2")), (key("c"), Vec::new())],
        deletes: vec![key("abc"), key("never")],
    };
    database.write(change).unwrap();
    database.flush().unwrap();
    assert_eq!(database.get(b"ab").unwrap(), Some(key("2")));
    assert_eq!(database.get(b"c").unwrap(), Some(Vec::new()));
    assert_eq!(scan("ab", None, 9), ["ab", "abd"]);
}

/// The operation of this name, by its digest alone.
pub fn operation(name: &str) -> CacheKey {
    CacheKey::operation(&CacheMap::plain(Digest::sha256(name), 0), 0)
}

/// A record as an input that is read whole.
pub fn all_of(record: CacheKey) -> InputKey {
    InputKey { record, selector: None }
}

/// A record as an input of which a part is read.
pub fn part_of(record: CacheKey, path: &str) -> InputKey {
    InputKey { record, selector: Some(Sum::of(&Digest::sha256(path))) }
}

/// Saves a record that is reached over these inputs, each known by several keys, with a result.
pub fn save(
    store: &dyn CacheStore,
    name: &str,
    inputs: &[&[InputKey]],
    result: Option<(&str, u64)>,
) -> CacheKey {
    let operation = operation(name);
    let numbered = inputs
        .iter()
        .zip(0..)
        .flat_map(|(keys, number)| keys.iter().map(move |key| (number, *key)));
    let lists: Vec<Vec<InputKey>> = inputs.iter().map(|keys| keys.to_vec()).collect();
    let key = if inputs.is_empty() { operation } else { CacheKey::derived(operation, &lists) };
    let record = SavedRecord { key, operation, inputs: numbered.collect() };
    let result = result.map(|(id, created)| (key, SavedResult { created, id: id.into() }));
    store.save(&Saving { records: vec![record], results: result.into_iter().collect() });
    key
}

/// Looks a whole operation up.
///
/// # Panics
///
/// If the store does not answer at once.
pub fn look_up(store: &dyn CacheStore, name: &str, inputs: &[&[InputKey]]) -> Answer {
    let known = inputs.iter().zip(0..);
    let inputs = known
        .map(|(keys, number)| KnownInput { number, keys: keys.to_vec(), is_open: true })
        .collect();
    now(store, &Lookup { operation: operation(name), inputs, whole: true })
}

/// The answer of a store that has it at once.
///
/// # Panics
///
/// If it has not.
pub fn now(store: &dyn CacheStore, lookup: &Lookup) -> Answer {
    let mut answer = store.look_up(lookup);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match answer.as_mut().poll(&mut context) {
        std::task::Poll::Ready(answer) => answer,
        std::task::Poll::Pending => panic!("the store takes its time"),
    }
}

/// Holds an empty store to the contract of [`CacheStore`].
///
/// # Panics
///
/// If it breaks it.
pub fn store_suite(store: &dyn CacheStore) {
    let keys = |answer: &Answer| -> Vec<CacheKey> {
        answer.records.iter().map(|record| record.key).collect()
    };
    assert_eq!(look_up(store, "image", &[]), Answer::default());
    let image = save(store, "image", &[], Some(("image-1", 1)));
    let tool = save(store, "tool", &[], None);
    let run = save(store, "run", &[&[all_of(image)], &[part_of(tool, "/bin")]], Some(("run-1", 2)));

    // A root by its key; one that only leads on is found too, without results.
    let found = look_up(store, "image", &[]);
    let result = SavedResult { created: 1, id: "image-1".into() };
    let record = FoundRecord { key: image, results: vec![result], unlinked: Vec::new() };
    assert_eq!(found.records, [record]);
    assert_eq!(look_up(store, "tool", &[]).records[0].results, []);

    // A record that all inputs lead to, and what does not lead there.
    let inputs: &[&[InputKey]] = &[&[all_of(image)], &[part_of(tool, "/bin")]];
    let answer = look_up(store, "run", inputs);
    assert_eq!((keys(&answer), answer.linked), (vec![run], vec![0, 1]));
    let answer = look_up(store, "run", &[&[all_of(image)], &[part_of(tool, "/lib")]]);
    assert_eq!((keys(&answer), answer.linked), (vec![], vec![0]), "another part of the input");
    assert_eq!(keys(&look_up(store, "other", inputs)), []);
    assert_eq!(keys(&look_up(store, "run", &[inputs[1], inputs[0]])), [], "the order counts");
    let some = Lookup {
        operation: operation("run"),
        inputs: vec![KnownInput { number: 1, keys: inputs[1].to_vec(), is_open: true }],
        whole: false,
    };
    let answer = now(store, &some);
    assert_eq!((keys(&answer), answer.linked), (vec![], vec![1]), "one input is no record");

    // One of several keys is enough; the others are named, so that they can be linked.
    let content = all_of(CacheKey::content(&Digest::sha256("files")));
    let two: &[&[InputKey]] = &[&[content, all_of(image)], inputs[1]];
    let answer = look_up(store, "run", two);
    assert_eq!(answer.records[0].unlinked, [(0, content)]);
    save_links(store, run, "run", &[(0, content)]);
    assert_eq!(look_up(store, "run", two).records[0].unlinked, []);
    assert_eq!(keys(&look_up(store, "run", &[&[content], inputs[1]])), [run]);

    // Several results of a record, and the same result in several records.
    let again = SavedResult { created: 9, id: "run-2".into() };
    store.save(&Saving { records: Vec::new(), results: vec![(run, again.clone())] });
    let mut results = look_up(store, "run", inputs).records.remove(0).results;
    results.sort_unstable();
    assert_eq!(results, [SavedResult { created: 2, id: "run-1".into() }, again]);
    store.forget("run-2");
    assert_eq!(look_up(store, "run", inputs).records[0].results.len(), 1);
    let last = save(store, "last", &[&[all_of(run)]], Some(("run-1", 3)));
    store.forget("run-1");
    assert_eq!(keys(&look_up(store, "last", &[&[all_of(run)]])), []);
    assert_ne!(last, run);
    assert_eq!(keys(&look_up(store, "run", inputs)), [], "it led only to what is gone");
    assert_eq!(keys(&look_up(store, "tool", &[])), []);
    assert_eq!(keys(&look_up(store, "image", &[])), [image], "it has a result of its own");

    // Nothing that belongs to a session is there afterwards.
    let session = CacheKey::session(&Digest::sha256("context"));
    let copy = save(store, "copy", &[&[all_of(session), content]], Some(("copy-1", 4)));
    assert_eq!(keys(&look_up(store, "copy", &[&[all_of(session)]])), []);
    assert_eq!(keys(&look_up(store, "copy", &[&[content]])), [copy]);

    store.forget_missing(&|id| id != "image-1");
    assert_eq!(keys(&look_up(store, "image", &[])), []);
    assert_eq!(keys(&look_up(store, "copy", &[&[content]])), [copy]);
    store.flush();
}

/// Links further keys to a record.
pub fn save_links(store: &dyn CacheStore, key: CacheKey, name: &str, inputs: &[(u32, InputKey)]) {
    let record = SavedRecord { key, operation: operation(name), inputs: inputs.to_vec() };
    store.save(&Saving { records: vec![record], results: Vec::new() });
}
