//! The layers of the workspace, as a test.
//!
//! [`LAYERS`] lists the crates bottom up. A crate imports crates of lower layers only, and the
//! rules below name the imports that are closed whatever the layer. Manifests and source files are
//! read as they are on disk; nothing is compiled. Dependencies of tests are not imports.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bottom layer first; crates of one layer do not know each other.
const LAYERS: &[&[&str]] = &[
    &["handle"],
    &["oci", "pb", "paths", "gzip", "metadata", "executor"],
    &[
        "wire",
        "filesync",
        "progress",
        "keys",
        "policy",
        "signatures",
        "filter",
        "provenance",
        "emulation",
        "proxy",
        "cdi",
    ],
    &["network", "llb", "document", "graph", "why", "cache", "store", "session", "registry"],
    &["frontend", "editor", "solver", "sources", "history"],
    &["client", "sdk", "testing", "engine", "exporters", "remotecache"],
    &["dockerfile", "mockerfile", "container", "examples"],
    &["worker"],
    &["bridge"],
    &["build"],
    &["control"],
    &["daemon"],
    &["cli"],
    &["tests", "fuzz"],
];

/// Crates that compute and never wait.
const PURE: &[&str] = &[
    "handle",
    "oci",
    "pb",
    "paths",
    "gzip",
    "keys",
    "llb",
    "document",
    "editor",
    "policy",
    "signatures",
    "filter",
    "cdi",
    "provenance",
    "graph",
    "why",
    "cache",
    "solver",
];

/// What crates that never wait do not depend on, directly or through others: runtimes and sockets.
const IMPURE_IMPORTS: &[&str] = &[
    "tokio",
    "async-std",
    "smol",
    "futures",
    "futures-util",
    "hyper",
    "h2",
    "mio",
    "reqwest",
    "socket2",
    "tonic",
    "tower",
    "ureq",
];

/// What crates that never wait do not mention either.
const IMPURE_WORDS: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "std::env::var",
    "std::net::Tcp",
    "std::net::Udp",
    "std::os::unix::net",
    "std::process::Command",
    "std::thread::sleep",
];

/// The platform whose dependencies are looked at: that of the tests.
pub(crate) const PLATFORM: &str = match cfg!(target_arch = "aarch64") {
    true => "aarch64-unknown-linux-gnu",
    false => "x86_64-unknown-linux-gnu",
};

/// The folders of crates, and the crates that are folders of their own.
const FOLDERS: &[&str] = &["sdk", "gateway", "frontends", "examples", "tests"];

/// One crate of the workspace.
pub(crate) struct Package {
    /// The top-level folder it is in: the first folder of its path.
    group: String,
    pub(crate) directory: PathBuf,
    /// What it depends on when it is used, by name; neither tests nor build scripts.
    dependencies: Vec<String>,
}

impl Package {
    /// The crates of this workspace it imports, without the prefix.
    fn imports(&self) -> impl Iterator<Item = &str> {
        self.dependencies.iter().filter_map(|name| name.strip_prefix("kiln-"))
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The crates of the workspace by the name of their folder.
pub(crate) fn workspace() -> BTreeMap<String, Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

fn package(json: &serde_json::Value) -> (String, Package) {
    let manifest = PathBuf::from(json["manifest_path"].as_str().unwrap());
    let directory = manifest.parent().unwrap().to_owned();
    let place = directory.strip_prefix(root().canonicalize().unwrap()).unwrap().to_owned();
    let folder = directory.file_name().unwrap().to_str().unwrap().to_owned();
    let name = json["name"].as_str().unwrap();
    assert_eq!(name, format!("kiln-{folder}"), "{} is not named after its folder", place.display());
    let dependencies = json["dependencies"].as_array().unwrap().iter();
    let dependencies = dependencies
        .filter(|dependency| dependency["kind"].is_null())
        .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
        .collect();
    let group = place.components().next().unwrap().as_os_str().to_str().unwrap().to_owned();
    (folder, Package { group, directory, dependencies })
}

fn layer(name: &str) -> usize {
    LAYERS
        .iter()
        .position(|layer| layer.contains(&name))
        .unwrap_or_else(|| panic!("`{name}` is in no layer"))
}

/// The Rust files of a directory, in order.
pub(crate) fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// A path as people write it, from the root of the workspace.
fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .or_else(|_| path.strip_prefix(root().canonicalize().unwrap()))
        .map_or_else(|_| path.display().to_string(), |path| path.display().to_string())
}

/// Fails with every culprit at once.
pub(crate) fn nobody(culprits: Vec<String>) {
    assert!(culprits.is_empty(), "\n  {}", culprits.join("\n  "));
}

/// The import that a layer plan forbids, if `name` makes it.
fn sideways(name: &str, import: &str) -> Option<String> {
    let (own, below) = (layer(name), layer(import));
    (below >= own).then(|| format!("`{name}` (layer {own}) imports `{import}` (layer {below})"))
}

#[test]
fn every_crate_is_in_one_layer() {
    let mut planned: Vec<_> = LAYERS.iter().flat_map(|layer| layer.iter().copied()).collect();
    planned.sort_unstable();
    let built: Vec<_> = workspace().into_keys().collect();
    assert_eq!(planned, built);
}

#[test]
fn imports_point_down() {
    let workspace = workspace();
    let wrong = workspace
        .iter()
        .flat_map(|(name, package)| package.imports().filter_map(|import| sideways(name, import)));
    nobody(wrong.collect());
}

#[test]
fn an_import_that_does_not_point_down_is_named() {
    let culprit = |name, import| sideways(name, import).unwrap_or_default();
    assert_eq!(culprit("store", "session"), "`store` (layer 3) imports `session` (layer 3)");
    assert_eq!(culprit("frontend", "bridge"), "`frontend` (layer 4) imports `bridge` (layer 8)");
    assert_eq!(culprit("bridge", "frontend"), "");
}

#[test]
fn the_sdk_and_the_frontends_never_see_the_gateway() {
    let workspace = workspace();
    let mut wrong = Vec::new();
    for (name, package) in &workspace {
        let closed: &[&str] = match package.group.as_str() {
            "sdk" => &["gateway", "frontends", "examples", "tests"],
            "frontends" | "examples" => &["gateway", "tests"],
            _ => &[],
        };
        for import in package.imports() {
            let group = &workspace[import].group;
            if closed.contains(&group.as_str()) {
                wrong.push(format!("{}/{name} imports {group}/{import}", package.group));
            }
        }
    }
    nobody(wrong);
}

#[test]
fn only_the_daemon_names_a_frontend() {
    let workspace = workspace();
    let names = |package: &Package| {
        let mut imports = package.imports();
        imports.any(|import| workspace[import].group == "frontends")
    };
    // What feeds every part of the workspace with bytes is a test of them all.
    let may = ["daemon", "fuzz"];
    let wrong = workspace.iter();
    let wrong = wrong.filter(|(name, package)| !may.contains(&name.as_str()) && names(package));
    nobody(wrong.map(|(name, _)| format!("`{name}` imports a frontend")).collect());
}

/// Every package of the resolved graph with what it depends on when it is used, by name: what
/// features and targets switch on, build scripts and tests left out.
fn resolved() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        // What other platforms need has not been downloaded.
        .args(["metadata", "--locked", "--format-version=1", "--filter-platform", PLATFORM])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let is_used = |dependency: &&serde_json::Value| {
        let mut kinds = dependency["dep_kinds"].as_array().unwrap().iter();
        kinds.any(|kind| kind["kind"].is_null())
    };
    // Several versions of a package count as one.
    let mut graph = BTreeMap::<String, Vec<String>>::new();
    for node in metadata["resolve"]["nodes"].as_array().unwrap() {
        let used = node["deps"].as_array().unwrap().iter().filter(is_used);
        let used = used.map(|dependency| package_name(&dependency["pkg"]));
        graph.entry(package_name(&node["id"])).or_default().extend(used);
    }
    graph
}

/// The name in a package id, such as `registry+https://…#tokio@1.54.0` or `path+file:///…/oci#kiln-oci@0.1.0`.
fn package_name(id: &serde_json::Value) -> String {
    let id = id.as_str().unwrap();
    let (source, fragment) = id.rsplit_once('#').unwrap();
    match fragment.split_once('@') {
        Some((name, _)) => name.to_owned(),
        None => source.rsplit('/').next().unwrap().to_owned(),
    }
}

/// How a crate comes to depend on what it must not: the chain of names, the culprit last.
fn way_to_impurity(graph: &BTreeMap<String, Vec<String>>, from: &str) -> Option<String> {
    let mut seen = std::collections::BTreeSet::from([from.to_owned()]);
    let mut open = std::collections::VecDeque::from([vec![from.to_owned()]]);
    while let Some(chain) = open.pop_front() {
        for next in &graph[chain.last().unwrap()] {
            let chain: Vec<_> = chain.iter().cloned().chain([next.clone()]).collect();
            if IMPURE_IMPORTS.contains(&next.as_str()) {
                return Some(chain.join(" -> "));
            }
            if seen.insert(next.clone()) {
                open.push_back(chain);
            }
        }
    }
    None
}

#[test]
fn pure_crates_have_no_runtime_clock_environment_or_socket() {
    let (workspace, graph) = (workspace(), resolved());
    let mut wrong = Vec::new();
    for name in PURE {
        wrong.extend(way_to_impurity(&graph, &format!("kiln-{name}")));
        for file in rust_files(&workspace[*name].directory.join("src")) {
            let text = std::fs::read_to_string(&file).unwrap();
            for word in IMPURE_WORDS.iter().filter(|word| text.contains(**word)) {
                wrong.push(format!("{} mentions {word}", shown(&file)));
            }
        }
    }
    nobody(wrong);
}

#[test]
fn the_way_to_an_impure_crate_is_named() {
    let graph = resolved();
    let way = way_to_impurity(&graph, "kiln-progress").unwrap();
    assert_eq!(way, "kiln-progress -> tokio");
    assert_eq!(way_to_impurity(&graph, "kiln-oci"), None);
}

#[test]
fn every_file_says_what_it_is() {
    let mut wrong = Vec::new();
    for file in FOLDERS.iter().flat_map(|folder| rust_files(&root().join(folder))) {
        if !std::fs::read_to_string(&file).unwrap().starts_with("//!") {
            wrong.push(format!("{} does not open with //!", shown(&file)));
        }
    }
    nobody(wrong);
}

/// What a `lib.rs` holds besides documentation, attributes, modules, re-exports and constants.
fn more_than_an_index(text: &str) -> Option<String> {
    let code = text.lines().filter(|line| {
        let line = line.trim_start();
        !(line.starts_with("//") || line.starts_with("#[") || line.starts_with("#!["))
    });
    let code = code.collect::<Vec<_>>().join("\n");
    let allowed = ["mod ", "pub mod ", "use ", "pub use ", "pub const "];
    code.split(';')
        .map(str::trim)
        .find(|item| !item.is_empty() && !allowed.iter().any(|start| item.starts_with(start)))
        .map(|item| item.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn a_library_opens_with_its_index_and_nothing_else() {
    let mut wrong = Vec::new();
    for package in workspace().values() {
        let file = package.directory.join("src/lib.rs");
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        if let Some(item) = more_than_an_index(&text) {
            wrong.push(format!("{}: {item}", shown(&file)));
        }
    }
    nobody(wrong);
}

#[test]
fn code_in_an_index_is_named() {
    let index = "//! What.\n\n#[cfg(test)]\nmod a;\npub use a::{\n    B, C,\n};\n";
    assert_eq!(more_than_an_index(index), None);
    let code = format!("{index}\npub fn work() {{\n    run();\n}}\n");
    assert_eq!(more_than_an_index(&code).as_deref(), Some("pub fn work() {"));
}

#[test]
fn shared_versions_and_lints_come_from_the_root() {
    let mut wrong = Vec::new();
    for package in workspace().values() {
        let file = package.directory.join("Cargo.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        for line in
            ["version.workspace = true", "edition.workspace = true", "[lints]\nworkspace = true"]
        {
            if !text.contains(line) {
                wrong.push(format!("{} lacks {line:?}", shown(&file)));
            }
        }
    }
    nobody(wrong);
}

/// The tests that a line of the threat model names: the crate, and the function.
fn named_tests(line: &str) -> Vec<(String, String)> {
    let mut package = String::new();
    let mut found = Vec::new();
    for (number, part) in line.split('`').enumerate() {
        if number % 2 == 0 {
            let words =
                part.trim_end().strip_suffix(':').and_then(|part| part.split_whitespace().last());
            package = words.map(|word| word.trim_start_matches('(').to_owned()).unwrap_or(package);
        } else if !package.is_empty()
            && part.contains('_')
            && part.chars().all(|c| c == '_' || c.is_ascii_lowercase())
        {
            found.push((package.clone(), part.to_owned()));
        }
    }
    found
}

/// Whether a file has a test of this name that is run: it is marked as one, or in the list of a suite.
pub(crate) fn has_test(text: &str, test: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let function = format!("fn {test}(");
    let is_it = |line: &&str| line.strip_prefix("async ").unwrap_or(line).starts_with(&function);
    let Some(at) = lines.iter().position(is_it) else { return false };
    let marks = || lines[..at].iter().rev().take_while(|line| line.starts_with(['#', '/']));
    let marked =
        marks().any(|mark| mark.starts_with("#[test]") || mark.starts_with("#[tokio::test"));
    let listed = lines.contains(&format!("{test},").as_str());
    (marked || listed) && !marks().any(|mark| mark.starts_with("#[ignore"))
}

#[test]
fn a_test_that_is_not_run_is_none() {
    let run = "#[test]\nfn a_b() {}\n/// Why.\n#[tokio::test(x)]\nasync fn c_d() {}\n    e_f,\nasync fn e_f(lab: &Lab) {}";
    for test in ["a_b", "c_d", "e_f"] {
        assert!(has_test(run, test), "{test}");
    }
    let not = "#[test]\n#[ignore = \"x\"]\nfn a_b() {}\n\nfn c_d() {}\n// fn e_f() {}";
    for test in ["a_b", "c_d", "e_f", "a"] {
        assert!(!has_test(not, test), "{test}");
    }
}

#[test]
fn every_promise_of_the_threat_model_has_its_test() {
    let workspace = workspace();
    let text = std::fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let mut wrong = Vec::new();
    let mut rows = 0;
    for line in text.lines() {
        let promise = line.starts_with("| ") && !line.ends_with("| test |");
        rows += usize::from(promise);
        let tests = named_tests(line);
        if promise && tests.is_empty() {
            wrong.push(format!("no test beside: {line}"));
        }
        for (package, test) in tests {
            let files = workspace.get(&package).map(|package| rust_files(&package.directory));
            let mut files = files.unwrap_or_default().into_iter();
            if !files.any(|file| has_test(&std::fs::read_to_string(file).unwrap(), &test)) {
                wrong.push(format!("{package} has no test {test}"));
            }
        }
    }
    assert!(rows > 25, "{rows}");
    nobody(wrong);
}

#[test]
fn the_contracts_are_where_strangers_look_for_them() {
    let schema = root().join("schemas/mockerfile.json");
    let text = std::fs::read_to_string(&schema).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(schema["properties"]["images"].is_object(), "the schema knows no `images`");
    let schema = std::fs::read_to_string(root().join("schemas/kilnd.json")).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert!(schema["properties"]["worker"].is_object(), "the schema knows no `worker`");
    for file in ["control", "gateway", "ops", "caps", "filesync"] {
        let path = root().join(format!("schemas/buildkit/{file}.proto"));
        assert!(path.is_file(), "{} is missing", shown(&path));
    }
}
