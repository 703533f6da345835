//! Stories about what of a directory counts, and the recorded trees laid out on this machine.

#![expect(clippy::print_stderr, reason = "the tests say what they skip and how much passes")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_keys::Selector;
use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use serde_json::Value;

use super::*;

fn answer(root: &Path, selectors: &[Selector]) -> Result<Digest, String> {
    let query = ContentQuery { selectors: selectors.to_vec() };
    let answer = digest(Some(root), Origin::Scanned, &query);
    answer.map(|(digest, _)| digest).map_err(|error| error.to_string())
}

fn at(path: &str) -> Selector {
    Selector { path: path.into(), follow_links: true, ..Selector::default() }
}

fn tree() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("src/deep")).unwrap();
    fs::write(root.path().join("src/a.c"), "int a;").unwrap();
    fs::write(root.path().join("src/deep/b.c"), "int b;").unwrap();
    symlink("src", root.path().join("link")).unwrap();
    root
}

#[test]
fn times_do_not_count_but_bytes_and_permissions_do() {
    let root = tree();
    let file = root.path().join("src/a.c");
    let all = || answer(root.path(), &[at("/")]).unwrap();
    let first = all();
    fs::File::open(&file).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(all(), first);
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let second = all();
    assert_ne!(second, first);
    fs::write(&file, "int c;").unwrap();
    assert_ne!(all(), second);
}

#[test]
fn only_what_is_selected_counts() {
    let root = tree();
    let deep = answer(root.path(), &[at("/link/deep")]).unwrap();
    fs::write(root.path().join("src/a.c"), "changed").unwrap();
    assert_eq!(answer(root.path(), &[at("/src/deep")]).unwrap(), deep);
    let missing = answer(root.path(), &[at("/nothing")]).unwrap_err();
    assert_eq!(missing, "\"/nothing\": not found");
    let below_a_file = answer(root.path(), &[at("/src/a.c/x")]).unwrap_err();
    assert_eq!(below_a_file, "\"/src/a.c/x\": not found");
}

#[test]
fn links_of_the_tree_do_not_lead_out_of_it() {
    let root = tree();
    symlink("/src/a.c", root.path().join("absolute")).unwrap();
    symlink("../../../../src/a.c", root.path().join("src/up")).unwrap();
    let file = answer(root.path(), &[at("/src/a.c")]).unwrap();
    assert_eq!(answer(root.path(), &[at("/absolute")]).unwrap(), file);
    assert_eq!(answer(root.path(), &[at("/src/up")]).unwrap(), file);
    symlink("/etc", root.path().join("outside")).unwrap();
    let out = answer(root.path(), &[at("/outside/passwd")]).unwrap_err();
    assert_eq!(out, "\"/outside/passwd\": not found");
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap_or(0)).unwrap()
}

fn decoded(text: &str) -> Vec<u8> {
    match text.strip_prefix("base64:") {
        Some(encoded) => STANDARD.decode(encoded).unwrap(),
        None => text.as_bytes().to_vec(),
    }
}

/// Lays out one entry as it was recorded.
fn lay(root: &Path, entry: &Value) -> io::Result<()> {
    let path = root.join(text(&entry["path"]));
    let device = || rustix::fs::makedev(number(&entry["devmajor"]), number(&entry["devminor"]));
    let node = |kind, device| -> io::Result<()> {
        Ok(rustix::fs::mknodat(CWD, &path, kind, Mode::from_raw_mode(0o600), device)?)
    };
    match text(&entry["type"]) {
        "hardlink" => return fs::hard_link(root.join(text(&entry["link"])), &path),
        "dir" => fs::create_dir(&path)?,
        "symlink" => symlink(text(&entry["link"]), &path)?,
        "fifo" => node(FileType::Fifo, 0)?,
        "char" => node(FileType::CharacterDevice, device())?,
        "block" => node(FileType::BlockDevice, device())?,
        "socket" => node(FileType::Socket, 0)?,
        _ => match entry["base64"].as_str() {
            Some(encoded) => fs::write(&path, STANDARD.decode(encoded).unwrap())?,
            None => fs::write(&path, text(&entry["text"]))?,
        },
    }
    std::os::unix::fs::lchown(&path, Some(number(&entry["uid"])), Some(number(&entry["gid"])))?;
    if text(&entry["type"]) != "symlink" {
        fs::set_permissions(&path, Permissions::from_mode(number(&entry["mode"])))?;
    }
    for (name, value) in entry["xattrs"].as_object().into_iter().flatten() {
        let value = decoded(text(value));
        rustix::fs::lsetxattr(&path, name.as_str(), &value, XattrFlags::empty())?;
    }
    Ok(())
}

/// A recorded tree on disk; nothing, and aloud, if this machine cannot hold it.
fn laid_out(vector: &Value) -> Option<tempfile::TempDir> {
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
    for entry in vector["entries"].as_array().unwrap() {
        if let Err(error) = lay(root.path(), entry) {
            let name = text(&vector["name"]);
            eprintln!("skipped: needs root and a file system that holds {name}: {error}");
            return None;
        }
    }
    Some(root)
}

fn selector(query: &Value) -> Selector {
    let list = |key: &str| query[key].as_array().into_iter().flatten().map(|t| text(t).to_owned());
    Selector {
        path: text(&query["path"]).to_owned(),
        wildcard: query["wildcard"].as_bool().unwrap_or_default(),
        follow_links: query["follow_links"].as_bool().unwrap_or_default(),
        include: list("include").collect(),
        exclude: list("exclude").collect(),
        required_paths: list("required_paths").collect(),
    }
}

#[test]
fn recorded_trees_on_disk_have_the_recorded_digests() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = path.join("../../tests/vectors/cache/contenthash.json");
    let vectors: Vec<Value> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let (mut laid, mut passed) = (0, 0);
    for vector in &vectors {
        let Some(root) = laid_out(vector) else { continue };
        laid += 1;
        let listing = RefCell::default();
        let tree = Directory { root: root.path(), origin: Origin::Scanned, listing };
        for query in vector["queries"].as_array().unwrap() {
            let answer = contenthash::checksum(&tree, &selector(query));
            match query["digest"].as_str() {
                Some(digest) => assert_eq!(answer.unwrap().as_str(), digest, "{query}"),
                None => assert!(answer.is_err(), "{query}"),
            }
            passed += 1;
        }
    }
    eprintln!("content digests on disk: {passed} passed, {laid} trees of {}", vectors.len());
}

#[test]
fn what_was_looked_at_is_listed() {
    let root = tree();
    let listed = |selector: Selector| {
        let query = ContentQuery { selectors: vec![selector] };
        let (_, listing) = digest(Some(root.path()), Origin::Scanned, &query).unwrap();
        kiln_why::listing::read(&listing).unwrap()
    };
    let before = listed(at("/src"));
    let paths: Vec<_> = before.entries.keys().map(|path| String::from_utf8_lossy(path)).collect();
    assert_eq!(paths, ["src", "src/a.c", "src/deep", "src/deep/b.c"]);
    fs::write(root.path().join("src/deep/b.c"), "int c;").unwrap();
    fs::set_permissions(root.path().join("src/a.c"), Permissions::from_mode(0o600)).unwrap();
    let changes = kiln_why::listing::changes(&before, &listed(at("/src")));
    let changes: Vec<_> =
        changes.iter().map(|change| (change.path.as_str(), change.changed.join(" "))).collect();
    assert_eq!(changes, [("src/a.c", "mode".to_owned()), ("src/deep/b.c", "content".to_owned())]);
    assert_eq!(listed(at("/src/a.c")).entries.len(), 1);
}
