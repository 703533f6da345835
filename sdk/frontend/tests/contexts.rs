//! Options and contexts against the recorded Dockerfile builds: what is loaded on the way, which
//! graphs stand for directories and named contexts, and what the user reads when an option is wrong.

use std::collections::BTreeSet;
use std::path::PathBuf;

use kiln_frontend::{
    Contexts, FollowPaths, FrontendError, MainContext, NamedRequest, Settings, TargetPlatform,
};
use kiln_llb::{Marshal, State};
use kiln_testing::{Case, Fixture, FixtureBridge, block_on, render};
use serde_json::Value;

/// Contexts that the recorded build has no use for.
const UNUSED: &[&str] = &["313-nc-reserved-context", "314-nc-unused"];

struct Recorded {
    name: String,
    case: Case,
    build: Value,
}

fn all() -> Vec<Recorded> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/dockerfile");
    let mut names: Vec<PathBuf> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("case.json").is_file())
        .collect();
    names.sort();
    let read = |path: PathBuf| {
        let case = Case::load(&path).unwrap();
        let build = case.expected().unwrap().unwrap()["build"].clone();
        Recorded { name: path.file_name().unwrap().to_str().unwrap().to_owned(), case, build }
    };
    names.into_iter().map(read).collect()
}

impl Recorded {
    fn bridge(&self) -> FixtureBridge {
        Fixture::from_case(&self.case).unwrap().bridge()
    }

    fn is_ok(&self) -> bool {
        self.build["status"] == "ok"
    }

    /// The digests of all ops of the results.
    fn ops(&self) -> BTreeSet<String> {
        let results = self.build["results"].as_array().into_iter().flatten();
        let ops = results.flat_map(|result| result["ops"].as_array().into_iter().flatten());
        ops.map(|op| op["digest"].as_str().unwrap().to_owned()).collect()
    }

    /// What was loaded on the way: the graph's digest and the files read.
    fn loads(&self) -> BTreeSet<(String, Vec<String>, bool)> {
        let loads = self.build["loads"].as_array().into_iter().flatten();
        loads
            .map(|load| {
                let reads = load["reads"].as_array().into_iter().flatten();
                let reads = reads.map(|read| read.as_str().unwrap().to_owned()).collect();
                let name =
                    load["ops"][0]["metadata_json"]["description"]["llb.customname"].as_str();
                let own = name.is_some_and(|name| name.starts_with("[internal]"));
                (load["definition_sha256"].as_str().unwrap().to_owned(), reads, own)
            })
            .collect()
    }
}

fn message(error: &FrontendError) -> Value {
    error.to_string().into()
}

#[test]
fn a_wrong_option_is_refused_with_the_recorded_words() {
    let mut refused = 0;
    for recorded in all() {
        let bridge = recorded.bridge();
        if let Err(error) = Settings::read(kiln_frontend::Bridge::info(&bridge)) {
            assert_eq!(recorded.build["error"]["message"], error.to_string(), "{}", recorded.name);
            refused += 1;
        }
    }
    assert_eq!(refused, 21);
}

#[test]
fn the_file_and_its_ignore_file_are_loaded_as_recorded() {
    let mut compared = 0;
    for recorded in all().iter().filter(|recorded| recorded.is_ok()) {
        let bridge = recorded.bridge();
        block_on(async {
            let settings = Settings::read(kiln_frontend::Bridge::info(&bridge)).unwrap();
            let contexts = Contexts::new(&bridge, &settings);
            let file = contexts.definition_file(&["Dockerfile", "dockerfile"], "Dockerfile").await;
            let file = file.unwrap_or_else(|error| panic!("{}: {error}", recorded.name));
            contexts.ignore_file().await.unwrap();
            for warning in recorded.build["warnings"].as_array().into_iter().flatten() {
                assert_eq!(warning["vertex"], file.vertex.as_str(), "{}", recorded.name);
            }
        });
        let have: BTreeSet<_> = bridge
            .into_asked()
            .solves
            .iter()
            .map(|solve| {
                let graph = render::definition(&solve.definition).unwrap();
                let mut reads = solve.reads.clone();
                reads.sort();
                reads.dedup();
                (graph["definition_sha256"].as_str().unwrap().to_owned(), reads)
            })
            .collect();
        let want = recorded.loads();
        for (digest, reads) in &have {
            let same = want.iter().any(|(d, r, _)| d == digest && r == reads);
            assert!(same, "{}: {digest} {reads:?} not in {want:?}", recorded.name);
        }
        let own = want.iter().filter(|(_, _, own)| *own).count();
        assert!(have.len() >= own, "{}: {have:?} {want:?}", recorded.name);
        compared += have.len();
    }
    assert!(compared > 600, "{compared}");
}

#[test]
fn the_main_context_is_the_recorded_one() {
    let mut compared = 0;
    for recorded in all().iter().filter(|recorded| recorded.is_ok()) {
        let bridge = recorded.bridge();
        let main: MainContext = block_on(async {
            let settings = Settings::read(kiln_frontend::Bridge::info(&bridge)).unwrap();
            let contexts = Contexts::new(&bridge, &settings);
            contexts.definition_file(&["Dockerfile", "dockerfile"], "Dockerfile").await.unwrap();
            contexts.main_context().await.unwrap()
        });
        for result in recorded.build["results"].as_array().into_iter().flatten() {
            for op in result["ops"].as_array().into_iter().flatten() {
                let name = op["metadata_json"]["description"]["llb.customname"].as_str();
                let source = &op["op_json"]["source"];
                if !main.is_local() || name != Some("[internal] load build context") {
                    continue;
                }
                let paths = source["attrs"]["local.followpaths"].as_str().unwrap_or("[]");
                let state = main.state(serde_json::from_str(paths).unwrap());
                assert!(digests(&state).contains(op["digest"].as_str().unwrap()), "{op}");
                compared += 1;
            }
        }
    }
    assert!(compared > 80, "{compared}");
}

fn digests(state: &State) -> BTreeSet<String> {
    let definition = state.marshal(&Marshal::default()).unwrap();
    // Without the op that says which output is meant.
    let ops: Vec<_> = definition.ops().map(|op| op.unwrap().0.to_string()).collect();
    ops[..ops.len().saturating_sub(1)].iter().cloned().collect()
}

#[test]
fn named_contexts_are_the_recorded_ones() {
    let (mut found, mut failed) = (0, 0);
    for recorded in all() {
        let bridge = recorded.bridge();
        let info = kiln_frontend::Bridge::info(&bridge).clone();
        let names = info.options.0.keys().filter_map(|key| key.strip_prefix("context:"));
        let names: BTreeSet<&str> = names.map(|name| name.split("::").next().unwrap()).collect();
        let Ok(settings) = Settings::read(&info) else { continue };
        if names.is_empty() || UNUSED.contains(&recorded.name.as_str()) {
            continue;
        }
        let contexts = Contexts::new(&bridge, &settings);
        for name in names {
            for TargetPlatform { platform, .. } in settings.targets() {
                let paths = FollowPaths::default();
                let request = NamedRequest {
                    platform: Some(platform),
                    paths: paths.clone(),
                    resolve_mode: settings.resolve_mode,
                    ..NamedRequest::default()
                };
                // What is given for another platform only is not given here.
                let Some(context) = contexts.named(name, request).unwrap() else { continue };
                let key = context.key().to_owned();
                match block_on(context.load()) {
                    // A context of a stage that is not built is not looked for there.
                    Err(_) if recorded.is_ok() => {}
                    Err(error) => {
                        assert_eq!(recorded.build["error"]["message"], message(&error), "{name}");
                        failed += 1;
                    }
                    Ok(loaded) if recorded.is_ok() => {
                        let state = loaded.state;
                        if !state.is_scratch() {
                            paths.extend(recorded.follow_paths(&key));
                            let ops = recorded.ops();
                            for digest in digests(&state) {
                                assert!(ops.contains(&digest), "{}: {name}", recorded.name);
                            }
                            found += 1;
                        }
                    }
                    Ok(_) => {}
                }
            }
        }
    }
    assert!(found > 20 && failed == 8, "{found} found, {failed} failed");
}

impl Recorded {
    /// The paths that the language needs of a named directory where it first uses it.
    fn follow_paths(&self, key: &str) -> Vec<String> {
        let title = format!("[context {key}] load from client");
        let results = self.build["results"].as_array().into_iter().flatten();
        let ops = results.flat_map(|result| result["ops"].as_array().into_iter().flatten());
        let named =
            |op: &&Value| op["metadata_json"]["description"]["llb.customname"] == title.as_str();
        let lists = ops
            .filter(named)
            .filter_map(|op| op["op_json"]["source"]["attrs"]["local.followpaths"].as_str());
        let first = lists.map(|list| serde_json::from_str(list).unwrap()).next();
        first.unwrap_or_default()
    }
}
