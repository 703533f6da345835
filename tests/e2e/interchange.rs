//! Caches that BuildKit wrote are hit, and those that Kiln writes are the same: all recorded cases,
//! built for real.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_tests::{Kiln, Outcome, is_root, sha256, skip};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use serde_json::Value;

/// Cases that differ, with the reason. Whatever is not here must be equal.
const DIFFERENT: &[(&str, &str)] = &[
    ("011", "the result of a merge between two others is exported, which BuildKit leaves out"),
    ("018", "a layer with extended attributes has other headers in its tar"),
    ("076", "a layer that occurs twice in a merge is there once"),
    ("093", "LLB that is read from a file (BuildOp) is not supported"),
    ("094", "a layer that occurs twice in a merge is there once"),
];

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/cache")
}

/// A recorded case.
struct Case {
    name: String,
    path: PathBuf,
    about: Value,
    /// What it is built with, and what it is exported to.
    directory: tempfile::TempDir,
}

impl Case {
    /// The cases that need nothing but files, with a cache of their own.
    fn all() -> Vec<Self> {
        let cases = fs::read_dir(vectors().join("cases")).unwrap();
        let mut cases: Vec<Self> = cases.map(|entry| Self::open(entry.unwrap().path())).collect();
        cases.retain(|case| {
            case.about["services"].as_array().is_some_and(Vec::is_empty)
                && case.path.join("cache/index.json").exists()
        });
        cases.sort_by(|a, b| a.name.cmp(&b.name));
        cases
    }

    fn open(path: PathBuf) -> Self {
        let about: Value =
            serde_json::from_slice(&fs::read(path.join("case.json")).unwrap()).unwrap();
        let name = about["name"].as_str().unwrap().to_owned();
        Self { name, path, about, directory: tempfile::tempdir().unwrap() }
    }

    /// Lays its inputs out.
    fn prepare(&self) {
        let inputs = self.directory.path().join("inputs");
        fs::create_dir(&inputs).unwrap();
        for entry in fs::read_dir(self.path.join("inputs")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            match name.strip_suffix(".tree.json") {
                Some(tree) => lay_out(&path, &inputs.join(tree)),
                None if name == "Dockerfile" => {
                    fs::create_dir_all(inputs.join("dockerfile")).unwrap();
                    fs::copy(&path, inputs.join("dockerfile/Dockerfile")).unwrap();
                }
                None => drop(fs::copy(&path, inputs.join(&name)).unwrap()),
            }
        }
    }

    /// Builds it, with the arguments of the record but for the export of the cache.
    fn build(&self, kiln: &Kiln, cache: &str) -> Outcome {
        let given: Vec<&str> = self.about["buildctl_args"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let mut build = kiln.build();
        let mut arguments = given.iter().skip(1);
        while let Some(argument) = arguments.next() {
            if *argument == "--export-cache" {
                arguments.next();
                continue;
            }
            build = build.flag(self.filled(argument));
        }
        let definition = self.directory.path().join("inputs/definition.pb");
        if let Ok(definition) = fs::read(definition) {
            build = build.definition(definition);
        }
        build.flag(cache).run()
    }

    fn filled(&self, argument: &str) -> String {
        let inputs = self.directory.path().join("inputs");
        let filled = argument.replace("$INPUTS", inputs.to_str().unwrap());
        filled.replace("$BASE", vectors().join("base").to_str().unwrap())
    }

    /// How the cache was exported, to a place of ours.
    fn export(&self) -> (String, PathBuf) {
        let path = self.directory.path().join("cache");
        let export = self.about["export"].as_str().unwrap();
        (format!("--export-cache={export},dest={}", path.display()), path)
    }
}

/// Lays a recorded tree out.
fn lay_out(tree: &Path, root: &Path) {
    let entries: Vec<Value> = serde_json::from_slice(&fs::read(tree).unwrap()).unwrap();
    fs::create_dir(root).unwrap();
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    let number = |entry: &Value, name: &str| entry[name].as_u64().unwrap_or_default() as u32;
    for entry in &entries {
        let path = root.join(entry["path"].as_str().unwrap());
        match entry["type"].as_str().unwrap() {
            "dir" => fs::create_dir(&path).unwrap(),
            "symlink" => symlink(entry["link"].as_str().unwrap(), &path).unwrap(),
            "hardlink" => {
                fs::hard_link(root.join(entry["link"].as_str().unwrap()), &path).unwrap();
                continue;
            }
            "fifo" => rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::empty(), 0).unwrap(),
            _ => fs::write(&path, bytes(entry)).unwrap(),
        }
        let owner = (Some(number(entry, "uid")), Some(number(entry, "gid")));
        std::os::unix::fs::lchown(&path, owner.0, owner.1).unwrap();
        if entry["type"] != "symlink" {
            let mode = fs::Permissions::from_mode(number(entry, "mode"));
            fs::set_permissions(&path, mode).unwrap();
        }
        for (name, value) in entry["xattrs"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap();
            let value = match value.strip_prefix("base64:") {
                Some(text) => STANDARD.decode(text).unwrap(),
                None => value.as_bytes().to_vec(),
            };
            rustix::fs::lsetxattr(&path, name, &value, XattrFlags::empty()).unwrap();
        }
    }
    for entry in entries.iter().rev() {
        let Some(seconds) = entry["mtime"].as_i64() else { continue };
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        let path = root.join(entry["path"].as_str().unwrap());
        rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

fn bytes(entry: &Value) -> Vec<u8> {
    match (entry["text"].as_str(), entry["base64"].as_str()) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (_, Some(text)) => STANDARD.decode(text).unwrap(),
        _ => Vec::new(),
    }
}

/// The records of a cache: what leads to each, and how many layers its results have. With the diff
/// ids of the layers if these are the same each time.
fn records(cache: &Path, with_layers: bool) -> BTreeSet<String> {
    let read =
        |path: PathBuf| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let blob = |digest: &Value| {
        let hex = digest.as_str().unwrap().split_once(':').unwrap().1;
        read(cache.join("blobs/sha256").join(hex))
    };
    let index = read(cache.join("index.json"));
    let manifest = blob(&index["manifests"][0]["digest"]);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let parts: Vec<Value> =
        list(&manifest["manifests"]).into_iter().chain(list(&manifest["layers"])).collect();
    let is_config = |part: &&Value| part["mediaType"] == "application/vnd.buildkit.cacheconfig.v0";
    let config = match manifest["config"].is_null() {
        true => parts.iter().find(is_config).unwrap().clone(),
        false => manifest["config"].clone(),
    };
    let config = blob(&config["digest"]);
    let diff_ids: BTreeMap<&str, &str> = parts
        .iter()
        .filter_map(|part| {
            let diff_id = part["annotations"]["containerd.io/uncompressed"].as_str()?;
            Some((part["digest"].as_str()?, diff_id))
        })
        .collect();
    let (layers, records) = (list(&config["layers"]), list(&config["records"]));
    let chain = |mut layer: i64| {
        let mut chain = Vec::new();
        while layer >= 0 {
            let found = &layers[usize::try_from(layer).unwrap()];
            chain.push(diff_ids[found["blob"].as_str().unwrap()]);
            layer = found["parent"].as_i64().unwrap_or_default();
        }
        chain
    };
    let mut keys = BTreeMap::new();
    let key = |number: usize| key_of(number, &records, &mut keys);
    let keys: Vec<String> = (0..records.len()).map(key).collect();
    let line = |(record, key): (&Value, String)| {
        let results = list(&record["layers"]);
        let results = results.iter().map(|result| chain(result["layer"].as_i64().unwrap()));
        let results: Vec<String> = results
            .map(|chain| if with_layers { format!("{chain:?}") } else { chain.len().to_string() })
            .collect();
        format!("{} {key} {results:?}", record["digest"].as_str().unwrap())
    };
    records.iter().zip(keys).map(line).collect()
}

/// What leads to a record, whatever the order.
fn key_of(number: usize, records: &[Value], known: &mut BTreeMap<usize, String>) -> String {
    if let Some(key) = known.get(&number) {
        return key.clone();
    }
    let record = &records[number];
    let mut text = record["digest"].as_str().unwrap().to_owned();
    for ways in record["inputs"].as_array().into_iter().flatten() {
        let mut ways: Vec<String> = ways
            .as_array()
            .unwrap()
            .iter()
            .map(|way| {
                let from = usize::try_from(way["link"].as_u64().unwrap()).unwrap();
                let selector = way["selector"].as_str().unwrap_or_default();
                format!("{selector} {}", key_of(from, records, known))
            })
            .collect();
        ways.sort();
        text.push_str(&format!("{ways:?}"));
    }
    let key = sha256(text.as_bytes());
    known.insert(number, key.clone());
    key
}

#[test]
fn caches_of_buildkit_are_hit_and_the_same_are_written() {
    if !is_root() {
        return skip("root");
    }
    let cases = Case::all();
    let (run, next, failures) = (cases.len(), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            case.prepare();
            if let Err(why) = compare(case) {
                failures.lock().unwrap().push((case.name.clone(), why));
            }
        }
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    let failures = failures.into_inner().unwrap();
    let unexpected: Vec<_> = failures
        .iter()
        .filter(|(name, _)| !DIFFERENT.iter().any(|(known, _)| name.starts_with(known)))
        .collect();
    eprintln!("{} of {run} cases passed", run - failures.len());
    for (name, reason) in DIFFERENT {
        eprintln!("{name} differs: {reason}");
    }
    for (name, why) in &unexpected {
        eprintln!("{name}: {why}");
    }
    assert!(run >= 60, "only {run} cases");
    let names: Vec<&String> = unexpected.iter().map(|(name, _)| name).collect();
    assert!(names.is_empty(), "{} cases differ: {names:?}", names.len());
}

fn compare(case: &Case) -> Result<(), String> {
    let kiln = Kiln::new().within(Duration::from_secs(120));
    let import = format!("--import-cache=type=local,src={}", case.path.join("cache").display());
    let outcome = case.build(&kiln, &import);
    if !outcome.status.success() {
        return Err(format!("import: {outcome}"));
    }
    if case.about["verified"] == true {
        let allowed: BTreeSet<&str> = case.about["not_cached_on_import"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let ran: Vec<String> = outcome
            .steps()
            .into_iter()
            .filter(|step| !step.cached && case.is_step(&step.name))
            .map(|step| step.name)
            .filter(|name| !allowed.contains(name.as_str()))
            .collect();
        if !ran.is_empty() {
            return Err(format!("not found in BuildKit's cache: {ran:?}"));
        }
    }
    let kiln = Kiln::new().within(Duration::from_secs(120));
    let (export, path) = case.export();
    let outcome = case.build(&kiln, &export);
    if !outcome.status.success() || !path.join("index.json").exists() {
        return Err(format!("export: {outcome}"));
    }
    let with_layers = case.about["layers_reproducible"] == true;
    let expected = records(&case.path.join("cache"), with_layers);
    let exported = records(&path, with_layers);
    let missing: Vec<_> = expected.difference(&exported).collect();
    let extra: Vec<_> = exported.difference(&expected).collect();
    match missing.is_empty() && extra.is_empty() {
        true => Ok(()),
        false => {
            Err(format!("records that only BuildKit has: {missing:#?}, only here: {extra:#?}"))
        }
    }
}

impl Case {
    /// Whether it is one of the recorded steps.
    fn is_step(&self, name: &str) -> bool {
        self.about["steps"].as_array().into_iter().flatten().any(|step| step == name)
    }
}
