//! Content digests of recorded trees, held to what BuildKit computed.

#![expect(clippy::print_stdout, reason = "the tests say how much of the vectors passes")]

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_keys::Selector;
use kiln_keys::contenthash::{Entries, FileKind, Header, Origin, checksum};
use serde_json::Value;

fn vectors() -> Vec<Value> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/cache/contenthash.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> u32 {
    value.as_u64().map_or(0, |number| u32::try_from(number).unwrap())
}

fn bytes(entry: &Value) -> Vec<u8> {
    match entry["base64"].as_str() {
        Some(encoded) => STANDARD.decode(encoded).unwrap(),
        None => text(&entry["text"]).as_bytes().to_vec(),
    }
}

fn xattrs(entry: &Value) -> Vec<(Vec<u8>, Vec<u8>)> {
    let list = entry["xattrs"].as_object().into_iter().flatten();
    list.map(|(name, value)| {
        let value = match text(value).strip_prefix("base64:") {
            Some(encoded) => STANDARD.decode(encoded).unwrap(),
            None => text(value).as_bytes().to_vec(),
        };
        (name.as_bytes().to_vec(), value)
    })
    .collect()
}

fn insert(tree: &mut Entries, entry: &Value, origin: Origin) {
    let path = text(&entry["path"]);
    let kind = match text(&entry["type"]) {
        "hardlink" => return assert!(tree.link(path, text(&entry["link"]))),
        "dir" => FileKind::Directory,
        "symlink" => FileKind::Symlink,
        "fifo" => FileKind::Fifo,
        "char" => FileKind::CharDevice,
        "block" => FileKind::BlockDevice,
        _ => FileKind::File,
    };
    let bytes = bytes(entry);
    let device = |key: &str| match origin {
        Origin::Sent => entry[key].as_u64().unwrap_or(0),
        Origin::Scanned => 0,
    };
    let header = Header {
        kind,
        mode: number(&entry["mode"]),
        uid: number(&entry["uid"]),
        gid: number(&entry["gid"]),
        size: bytes.len() as u64,
        target: text(&entry["link"]).as_bytes().to_vec(),
        device: (device("devmajor"), device("devminor")),
        xattrs: xattrs(entry),
    };
    tree.insert_with(path, &header, &bytes);
}

fn tree(entries: &Value, origin: Origin) -> Entries {
    let mut tree = Entries::new(origin);
    for entry in entries.as_array().unwrap() {
        insert(&mut tree, entry, origin);
    }
    tree
}

fn selector(query: &Value) -> Selector {
    let list = |key: &str| {
        query[key].as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned())
    };
    Selector {
        path: text(&query["path"]).to_owned(),
        wildcard: query["wildcard"].as_bool().unwrap_or_default(),
        follow_links: query["follow_links"].as_bool().unwrap_or_default(),
        include: list("include").collect(),
        exclude: list("exclude").collect(),
        required_paths: list("required_paths").collect(),
    }
}

fn answer(tree: &Entries, selector: &Selector) -> String {
    match checksum(tree, selector) {
        Ok(digest) => digest.to_string(),
        Err(error) => format!("error: {error}"),
    }
}

/// What BuildKit answered for one way of making the tree.
fn wanted(query: &Value, origin: Origin) -> String {
    let scanned = match query["error"].as_str() {
        // The system's answer, where BuildKit asks it for a path below a file. There is nothing
        // either way, and in a tree of changes it says so too.
        Some(error) if error.ends_with("not a directory") => {
            return text(&query["digest_by_changes"]).to_owned();
        }
        Some(error) => format!("error: {error}"),
        None => text(&query["digest"]).to_owned(),
    };
    match (origin, query["digest_by_changes"].as_str()) {
        (Origin::Sent, Some(other)) => other.to_owned(),
        _ => scanned,
    }
}

fn check(origin: Origin) {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for vector in vectors() {
        let tree = tree(&vector["entries"], origin);
        for query in vector["queries"].as_array().unwrap() {
            let (got, wanted) = (answer(&tree, &selector(query)), wanted(query, origin));
            if got != wanted {
                wrong.push(format!("{} {query}\n  got {got}", vector["name"]));
            }
            count += 1;
        }
    }
    println!("content digests, {origin:?}: {} passed of {count}", count - wrong.len());
    assert_eq!(count, 368);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn recorded_trees_have_the_recorded_digests_when_scanned() {
    check(Origin::Scanned);
}

#[test]
fn recorded_trees_have_the_recorded_digests_when_fed_by_changes() {
    check(Origin::Sent);
}
