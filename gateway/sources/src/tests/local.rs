//! Directories of the client.

use super::{Room, identifier, tree};

fn files(list: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    list.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[tokio::test]
async fn a_directory_is_keyed_for_its_session_only() {
    let room = Room::new();
    let attrs = [("local.includepattern", r#"["a","b"]"#)];
    let pin = room.pin(&identifier("local://context", &attrs)).await.unwrap();
    assert!(pin.is_session_only());
    assert!(pin.key.as_str().starts_with("session:context:sha256:"));
    let other = room.pin(&identifier("local://context", &[])).await.unwrap();
    assert_ne!(pin.key, other.key);
    let renamed = identifier("local://context", &[("local.session", "sub:session-2")]);
    assert!(room.pin(&renamed).await.unwrap().key.as_str().starts_with("session:sub-context:"));
}

#[tokio::test]
async fn the_working_copy_is_used_again_when_nobody_looks_at_it() {
    let mut room = Room::new();
    *room.session.files.lock().unwrap() = files(&[("a", "1")]);
    let source = identifier("local://context", &[]);
    let first = room.get(&source).await.unwrap();
    assert_eq!(tree(&first).await["a"].split(' ').nth(1), Some("1"));
    *room.session.files.lock().unwrap() = files(&[("b", "2")]);
    let second = room.get(&source).await.unwrap();
    assert_eq!(tree(&second).await.len(), 1, "the first one is in use, so it is another copy");
    drop((first, second));
    let third = room.get(&source).await.unwrap();
    assert!(tree(&third).await.contains_key("b"));
    assert!(room.parts().contains(&"transferring context:".to_owned()));
}

#[tokio::test]
async fn a_failed_transfer_leaves_no_state() {
    let room = Room::new();
    *room.session.files.lock().unwrap() = files(&[("a", "1")]);
    *room.session.fails.lock().unwrap() = true;
    let source = identifier("local://context", &[]);
    let error = room.get(&source).await.unwrap_err();
    assert!(error.to_string().contains("`context`"), "{error}");
    *room.session.fails.lock().unwrap() = false;
    *room.session.files.lock().unwrap() = files(&[("b", "2")]);
    let content = room.get(&source).await.unwrap();
    assert_eq!(tree(&content).await.keys().collect::<Vec<_>>(), ["b"]);
}

#[tokio::test]
async fn a_list_of_a_directory_is_keyed_and_kept_apart_from_the_directory() {
    let room = Room::new();
    let whole = identifier("local://context", &[]);
    let attrs = [("local.metadatatransfer", "true"), ("local.metadatatransferexclude", r#"["a"]"#)];
    let (list, other) =
        (identifier("local://context", &attrs), identifier("local://context", &attrs[..1]));
    let mut keys = std::collections::BTreeSet::new();
    for source in [&whole, &list, &other] {
        keys.insert(room.pin(source).await.unwrap().key.as_str().to_owned());
    }
    assert_eq!(keys.len(), 3, "{keys:?}");
    *room.session.files.lock().unwrap() = files(&[("a", "1")]);
    drop(room.get(&whole).await.unwrap());
    *room.session.files.lock().unwrap() = files(&[("b", "2")]);
    let content = room.get(&list).await.unwrap();
    assert_eq!(tree(&content).await.keys().collect::<Vec<_>>(), ["b"], "not what the whole left");
}
