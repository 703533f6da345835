//! The recorded vectors in this crate are those they were copied from.
//!
//! A plain clone carries all it needs. Where the originals lie beside the checkout, in
//! `../shared/vectors`, the copy is held to them byte for byte.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The originals, where this machine has them.
fn originals() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    path.is_dir().then_some(path)
}

fn copies() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

/// The files of a directory by their path in it, with what they hold.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else {
                let name = path.strip_prefix(directory).unwrap().to_owned();
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// The names in either of two sets of files that are missing or different in the other.
fn differences<'a>(
    copy: &'a BTreeMap<PathBuf, Vec<u8>>,
    original: &'a BTreeMap<PathBuf, Vec<u8>>,
) -> Vec<&'a PathBuf> {
    let changed = copy.iter().filter(|(name, bytes)| original.get(*name) != Some(*bytes));
    let absent = original.iter().filter(|(name, _)| !copy.contains_key(*name));
    changed.chain(absent).map(|(name, _)| name).collect()
}

#[test]
fn recorded_vectors_are_all_here_and_unchanged() {
    let sets = [
        ("llb", 197),
        ("dockerfile", 627),
        ("dockerfile-more", 25),
        ("micro", 21),
        ("cache", 1165),
    ];
    for (directory, at_least) in sets {
        let copy = files(&copies().join(directory));
        assert!(copy.len() >= at_least, "only {} files of {directory}", copy.len());
        let Some(originals) = originals() else {
            return eprintln!("skipped: needs ../shared/vectors beside the checkout");
        };
        let original = files(&originals.join(directory));
        assert_eq!(differences(&copy, &original), Vec::<&PathBuf>::new(), "of {directory}");
    }
}

#[test]
fn a_changed_and_a_missing_file_are_both_named() {
    let set = |files: &[(&str, &str)]| -> BTreeMap<PathBuf, Vec<u8>> {
        files.iter().map(|(name, text)| (name.into(), text.as_bytes().to_vec())).collect()
    };
    let copy = set(&[("same", "1"), ("changed", "1"), ("extra", "1")]);
    let original = set(&[("same", "1"), ("changed", "2"), ("missing", "1")]);
    let names: Vec<_> = differences(&copy, &original).iter().map(|n| n.to_str().unwrap()).collect();
    assert_eq!(names, ["changed", "extra", "missing"]);
}
