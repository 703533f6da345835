//! What the builder promises, told with small graphs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_llb::{
    Action, BoxError, CapSet, Constraints, CopyOptions, Definition, DefinitionError, Exec, Image,
    ImageMeta, ImageRequest, Local, Marshal, MarshalError, MetaResolver, Mkdir, Mkfile, Mount,
    Owner, Passthrough, PassthroughInput, ResolvedImage, Secret, Sharing, SourceMap, SourceRange,
    Ssh, State, Symlink, args, caps,
};
use kiln_oci::{Digest, Platform};

fn options() -> Marshal<'static> {
    Marshal::on(Platform::new("linux", "amd64"))
}

fn marshal(state: &State) -> Definition {
    state.marshal(&options()).unwrap()
}

/// A graph in short: per op its kind, its inputs by position, and what is said about it.
fn sketch(definition: &Definition) -> String {
    let ops: Vec<_> = definition.ops().map(Result::unwrap).collect();
    let position = |wanted: &str| ops.iter().position(|(digest, _)| digest.as_str() == wanted);
    let json = definition.to_json().unwrap();
    let mut out = String::new();
    for ((n, (digest, op)), line) in ops.iter().enumerate().zip(json.lines()) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["Digest"], digest.as_str());
        let inputs = op
            .inputs
            .iter()
            .map(|input| format!("{}.{}", position(&input.digest).unwrap(), input.index));
        let inputs: Vec<String> = inputs.collect();
        let kind = line["Op"]["Op"].as_object().unwrap().keys().next();
        let kind = kind.map_or("result", String::as_str);
        let name = line["OpMetadata"]["description"]["llb.customname"].as_str().unwrap_or_default();
        let words = [kind, &inputs.join(" "), name];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        out += &format!("{n}: {}\n", words.join(" "));
    }
    out
}

fn command(word: &str) -> Exec {
    Exec::default().with_args(args![word])
}

#[test]
fn a_vertex_used_twice_is_sent_once() {
    let base = State::image("alpine");
    let (a, b) = (base.run(command("a")).root(), base.run(command("b")).root());
    insta::assert_snapshot!(sketch(&marshal(&State::merge(&[a.clone(), b, a]))), @"
    0: source
    1: exec 0.0
    2: exec 0.0
    3: merge 1.0 2.0 1.0
    4: result 3.0
    ");
}

#[test]
fn equal_ops_built_apart_are_sent_once() {
    let image = || State::image("alpine");
    let copy = Action::copy(image(), "/a", "/b", CopyOptions::default());
    insta::assert_snapshot!(sketch(&marshal(&image().file(copy))), @"
    0: source
    1: file 0.0
    2: result 1.0
    ");
}

#[test]
fn a_state_does_not_change_when_it_is_built_upon() {
    let base = State::image("alpine").with_env("A", "1");
    let before = marshal(&base.run(command("x")).root());
    let run = base.with_env("A", "2").with_dir("/d").run(command("x"));
    drop(run.with_mount(Mount::cache("/c").shared(Sharing::Locked)));
    assert_eq!(marshal(&base.run(command("x")).root()), before);
    assert_ne!(marshal(&run.root()), before);
}

#[test]
fn each_writable_mount_is_an_output() {
    let run = State::image("alpine").run(command("x").with_mounts(vec![
        Mount::bind("/z", &State::scratch()),
        Mount::cache("/c"),
        Mount::bind("/a", &State::scratch()),
    ]));
    let head = |state: State| marshal(&state).head().unwrap().unwrap().1;
    assert_eq!(head(run.root()), 0);
    assert_eq!(head(run.mount("/a").unwrap()), 1);
    assert_eq!(head(run.mount("/z").unwrap()), 2);
    assert!(run.mount("/nowhere").is_none());
    let error = run.mount("/c").unwrap().marshal(&options()).unwrap_err();
    assert_eq!(error.to_string(), "invalid mount: /c");
}

#[test]
fn a_command_that_cannot_write_leaves_its_root_as_it_was() {
    let base = State::image("alpine");
    let run = base.run(command("x").with_readonly_root(true));
    assert_eq!(marshal(&run.root()), marshal(&base));
}

#[test]
fn the_same_calls_give_the_same_bytes_anywhere() {
    fn graph() -> State {
        let source = State::local("context", Local::default().with_session_id("s"));
        let base = State::image("alpine").with_env("B", "1").with_env("A", "2");
        let run = base.run(
            command("x")
                .with_mounts(vec![Mount::bind("/src", &source).readonly(), Mount::cache("/c")])
                .with_secrets(vec![
                    Secret::file("token", "/run/token"),
                    Secret::env("token", "TOKEN"),
                ])
                .with_ssh(vec![Ssh::default()]),
        );
        let owner = Some(Owner::parse("app:0"));
        let mkdir = Action::mkdir("/d", Mkdir::default().with_owner(owner));
        State::merge(&[base, run.root().file(mkdir)])
    }
    let want = marshal(&graph()).to_bytes();
    let threads: Vec<_> =
        (0..4).map(|_| std::thread::spawn(|| marshal(&graph()).to_bytes())).collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), want);
    }
    let graph = graph();
    assert_eq!(marshal(&graph), marshal(&graph));
}

#[test]
fn a_chain_of_twenty_thousand_commands_fits_a_small_stack() {
    let long = || {
        let base = State::image("alpine");
        let state = (0..20_000).fold(base, |state, n| {
            state.run(Exec::default().with_args(args!["step", n.to_string()])).root()
        });
        let definition = marshal(&state);
        drop(state);
        let again = State::from_definition(&definition).unwrap();
        assert_eq!(marshal(&again).def.len(), 20_002);
    };
    let thread = std::thread::Builder::new().stack_size(256 << 10).spawn(long).unwrap();
    thread.join().unwrap();
}

#[test]
fn a_definition_can_be_built_upon_and_keeps_what_was_said() {
    let map = SourceMap::new("Buildfile", "Build", "FROM alpine\n");
    let constraints =
        Constraints::named("load").with_locations(vec![map.location([SourceRange::lines(1, 1)])]);
    let base = State::image_with("alpine", Image::default().with_constraints(constraints));
    let first = marshal(&base.run(command("x")).root());
    let again =
        State::from_definition(&Definition::from_bytes(&first.to_bytes()).unwrap()).unwrap();
    assert_eq!(marshal(&again), first);
    insta::assert_snapshot!(
        sketch(&marshal(&again.file(Action::mkfile("/a", "1", Mkfile::default())))),
        @"
    0: source load
    1: exec 0.0
    2: file 1.0
    3: result 2.0
    "
    );
}

#[test]
fn a_definition_with_a_hole_is_refused() {
    let mut definition = marshal(&State::image("alpine").run(command("x")).root());
    definition.def.remove(0);
    let error = State::from_definition(&definition).unwrap_err();
    assert!(matches!(error, DefinitionError::MissingInput { .. }), "{error}");
    definition.def = vec![b"\xff".to_vec().into()];
    let error = State::from_definition(&definition).unwrap_err();
    assert!(matches!(error, DefinitionError::DecodeOp { .. }), "{error}");
    definition.def = vec![b"".to_vec().into()];
    let error = State::from_definition(&definition).unwrap_err();
    assert!(matches!(error, DefinitionError::NoTerminal(_)), "{error}");
}

#[test]
fn a_definition_whose_locations_name_no_file_is_refused() {
    let mut definition = marshal(&State::image("alpine"));
    let source = definition.source.as_mut().unwrap();
    for locations in source.locations.values_mut() {
        locations.locations.push(kiln_pb::pb::Location { source_index: -1, ranges: vec![] });
    }
    let error = State::from_definition(&definition).unwrap_err();
    assert!(matches!(error, DefinitionError::MissingSource(-1)), "{error}");
}

struct Counting(AtomicUsize);

impl MetaResolver for Counting {
    fn resolve(&self, request: &ImageRequest<'_>) -> Result<ResolvedImage, BoxError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let mut config = kiln_oci::ImageConfig::default();
        config.config.env = vec!["PATH=/opt/bin".into()];
        config.config.working_dir = "/opt".into();
        let digest = Some(Digest::sha256(request.reference));
        Ok(ResolvedImage { reference: request.reference.into(), digest, config })
    }
}

#[test]
fn an_image_config_is_asked_for_once_and_inherited() {
    let image = Image::default().with_meta(ImageMeta::ConfigAndDigest);
    let base = State::image_with("alpine", image);
    assert!(base.values().is_none(), "nobody was asked yet");
    let state = base.run(command("a")).root().with_dir("sub").run(command("b")).root();
    let resolver = Counting(AtomicUsize::new(0));
    let definition = state.marshal(&options().with_resolver(Some(&resolver))).unwrap();
    assert_eq!(resolver.0.load(Ordering::Relaxed), 1);
    let json = definition.to_json().unwrap();
    assert!(json.contains("alpine:latest@sha256:"), "{json}");
    assert!(json.contains(r#""env":["PATH=/opt/bin"],"cwd":"/opt/sub""#), "{json}");
    let error = state.marshal(&options()).unwrap_err();
    assert!(error.to_string().starts_with("no resolver to ask"), "{error}");
}

#[test]
fn a_deferred_state_may_turn_out_to_be_scratch() {
    let nothing = State::image("alpine").deferred(|_, _| Ok(State::scratch()));
    assert!(marshal(&nothing).is_empty());
    insta::assert_snapshot!(
        sketch(&marshal(&nothing.file(Action::mkdir("/d", Mkdir::default())))),
        @"
    0: file
    1: result 0.0
    "
    );
}

#[test]
fn a_failing_closure_fails_the_graph_with_its_words() {
    let state = State::scratch().deferred(|_, _| Err("the moon is wrong".into()));
    let error = State::merge(&[State::image("a"), state]).marshal(&options()).unwrap_err();
    assert_eq!(error.to_string(), "the moon is wrong");
    assert!(matches!(error, MarshalError::Deferred(_)));
}

#[test]
fn what_changed_between_a_state_and_itself_is_nothing() {
    let state = State::image("alpine").run(command("x")).root();
    assert!(State::diff(&state, &state.with_env("A", "1")).is_scratch());
}

#[test]
fn a_state_waits_for_what_it_requires() {
    let lint = State::image("alpine").run(command("lint")).root();
    insta::assert_snapshot!(
        sketch(&marshal(
            &State::image("busybox").requires("checks", &[lint.clone(), State::scratch()])
        )),
        @"
    0: source
    1: source
    2: exec 1.0
    3: passthrough 0.0 2.0
    4: result 3.0
    "
    );
    let input = |output| PassthroughInput { state: lint.clone(), output };
    let through = Passthrough::new("p", &[input(false), input(true)], Constraints::default());
    let error = through.state(1).marshal(&options()).unwrap_err();
    assert_eq!(error.to_string(), "invalid passthrough output 1");
}

#[test]
fn equal_source_files_are_sent_once_and_states_of_files_come_along() {
    let file = |text: &str| SourceMap::new("F", "L", text);
    let at = |map: &SourceMap| {
        Constraints::default().with_locations(vec![map.location([SourceRange::lines(1, 2)])])
    };
    let state = State::image_with("alpine", Image::default().with_constraints(at(&file("same"))));
    let run = state.run(command("x").with_constraints(at(&file("same"))));
    let run = run.root().run(command("y").with_constraints(at(&file("other"))));
    let source = marshal(&run.root()).source.unwrap();
    assert_eq!(source.infos.len(), 2);
    let indexes = source.locations.values().flat_map(|l| &l.locations).map(|l| l.source_index);
    let mut indexes: Vec<i32> = indexes.collect();
    indexes.sort_unstable();
    assert_eq!(indexes, [0, 0, 1]);
}

#[test]
fn a_graph_shows_as_json_and_as_a_drawing() {
    let src = State::local("context", Local::default().with_session_id("s1"));
    let run = State::image("alpine").run(
        command("make")
            .with_mounts(vec![Mount::bind("/src", &src).readonly()])
            .with_constraints(Constraints::named("<build>").with_ignore_cache(true)),
    );
    let owner = Some(Owner::parse("root:app"));
    let state = State::scratch().file([
        Action::mkdir("/bin", Mkdir::default()),
        Action::copy(run.root(), "/out", "/bin/out", CopyOptions::default().with_owner(owner)),
        Action::mkfile("/hi", "hi\n", Mkfile::default()),
    ]);
    let definition = marshal(&state);
    let json = definition.to_json().unwrap();
    assert!(json.ends_with('\n'), "{json}");
    insta::assert_snapshot!(json, @r#"
    {"Op":{"Op":{"source":{"identifier":"docker-image://docker.io/library/alpine:latest"}},"platform":{"Architecture":"amd64","OS":"linux"},"constraints":{}},"Digest":"sha256:a7f9733e307dd352c82d43053b783dd17bb2ec2c36214908ce393e41545c8b51","OpMetadata":{"caps":{"source.image":true}}}
    {"Op":{"Op":{"source":{"identifier":"local://context","attrs":{"local.session":"s1"}}},"constraints":{}},"Digest":"sha256:fbe4a890a9f14cd426139404ab1f7902056af26ba467ec9398d37c20459edb79","OpMetadata":{"caps":{"source.local":true,"source.local.sessionid":true}}}
    {"Op":{"inputs":[{"digest":"sha256:a7f9733e307dd352c82d43053b783dd17bb2ec2c36214908ce393e41545c8b51"},{"digest":"sha256:fbe4a890a9f14cd426139404ab1f7902056af26ba467ec9398d37c20459edb79"}],"Op":{"exec":{"meta":{"args":["make"],"cwd":"/","removeMountStubsRecursive":true},"mounts":[{"dest":"/"},{"input":1,"dest":"/src","output":-1,"readonly":true}]}},"platform":{"Architecture":"amd64","OS":"linux"},"constraints":{}},"Digest":"sha256:9ab8f1421a53977d02d67ae5223b5399b91d92847bbf8275fc360b292994c583","OpMetadata":{"ignore_cache":true,"description":{"llb.customname":"\u003cbuild\u003e"},"caps":{"exec.meta.base":true,"exec.mount.bind":true}}}
    {"Op":{"inputs":[{"digest":"sha256:9ab8f1421a53977d02d67ae5223b5399b91d92847bbf8275fc360b292994c583"}],"Op":{"file":{"actions":[{"input":-1,"secondaryInput":-1,"output":-1,"Action":{"mkdir":{"path":"/bin","mode":493,"timestamp":-1}}},{"input":1,"secondaryInput":0,"output":-1,"Action":{"copy":{"src":"/out","dest":"/bin/out","owner":{"user":{"User":{}},"group":{"User":{"byName":{"name":"app","input":-1}}}},"mode":-1,"timestamp":-1}}},{"input":2,"secondaryInput":-1,"output":0,"Action":{"mkfile":{"path":"/hi","mode":420,"data":"aGkK","timestamp":-1}}}]}},"constraints":{}},"Digest":"sha256:cbb201efc7397e18fd0abb4910441913d40f3740652c6de6f4c83920df49ff48","OpMetadata":{"caps":{"file.base":true}}}
    {"Op":{"inputs":[{"digest":"sha256:cbb201efc7397e18fd0abb4910441913d40f3740652c6de6f4c83920df49ff48"}],"Op":{}},"Digest":"sha256:91c19e4373dffaff072e37bac7b437db68922c826ac4383162b12299cd5c210e","OpMetadata":{"caps":{"constraints":true,"meta.description":true,"meta.ignorecache":true,"platform":true}}}
    "#);
    let dot = definition.to_dot().unwrap();
    assert!(dot.ends_with('\n'), "{dot}");
    insta::assert_snapshot!(dot, @r#"
    digraph {
      "sha256:a7f9733e307dd352c82d43053b783dd17bb2ec2c36214908ce393e41545c8b51" [label="docker-image://docker.io/library/alpine:latest" shape="ellipse"];
      "sha256:fbe4a890a9f14cd426139404ab1f7902056af26ba467ec9398d37c20459edb79" [label="local://context" shape="ellipse"];
      "sha256:9ab8f1421a53977d02d67ae5223b5399b91d92847bbf8275fc360b292994c583" [label="make" shape="box"];
      "sha256:cbb201efc7397e18fd0abb4910441913d40f3740652c6de6f4c83920df49ff48" [label="mkdir{path=/bin},copy{src=/out, dest=/bin/out},mkfile{path=/hi}" shape="note"];
      "sha256:91c19e4373dffaff072e37bac7b437db68922c826ac4383162b12299cd5c210e" [label="sha256:91c19e4373dffaff072e37bac7b437db68922c826ac4383162b12299cd5c210e" shape="plaintext"];
      "sha256:a7f9733e307dd352c82d43053b783dd17bb2ec2c36214908ce393e41545c8b51" -> "sha256:9ab8f1421a53977d02d67ae5223b5399b91d92847bbf8275fc360b292994c583" [label=""];
      "sha256:fbe4a890a9f14cd426139404ab1f7902056af26ba467ec9398d37c20459edb79" -> "sha256:9ab8f1421a53977d02d67ae5223b5399b91d92847bbf8275fc360b292994c583" [label="/src"];
      "sha256:9ab8f1421a53977d02d67ae5223b5399b91d92847bbf8275fc360b292994c583" -> "sha256:cbb201efc7397e18fd0abb4910441913d40f3740652c6de6f4c83920df49ff48" [label=""];
      "sha256:cbb201efc7397e18fd0abb4910441913d40f3740652c6de6f4c83920df49ff48" -> "sha256:91c19e4373dffaff072e37bac7b437db68922c826ac4383162b12299cd5c210e" [label=""];
    }
    "#);
}

#[test]
fn links_and_pass_throughs_show_as_the_peers_json_shows_them() {
    let link = Action::symlink("/usr/bin/python3", "/python", Symlink::default());
    let json = marshal(&State::scratch().file(link)).to_json().unwrap();
    let want = r#"{"actions":[{"input":-1,"secondaryInput":-1,"output":0,"Action":{}}]}"#;
    assert!(json.contains(want), "{json}");
    let through = State::image("a").requires("needs", &[State::image("b")]);
    let json = marshal(&through).to_json().unwrap();
    assert!(json.contains(r#""Op":{"passthrough":{"id":"needs","outputs":[0]}}"#), "{json}");
}

/// Options for a daemon that lacks some features.
fn without(lacks: &[&str], fallback: bool) -> Marshal<'static> {
    let caps = lacks.iter().fold(CapSet::all(), |caps, cap| caps.without(cap));
    options().with_caps(Some(caps)).with_fallback(fallback)
}

#[test]
fn a_daemon_without_merges_gets_copies_onto_one_another() {
    let layer = |name: &str| State::image(name).run(command(name)).root();
    let (a, b) = (layer("a"), layer("b"));
    let nothing = State::image("c").deferred(|_, _| Ok(State::scratch()));
    let merged = State::merge(&[a.clone(), nothing.clone(), b, a.clone()]);
    let json = |state: &State, options: &Marshal<'_>| {
        let json = state.marshal(options).unwrap().to_json().unwrap();
        json.lines().rev().nth(1).unwrap().to_owned()
    };
    let copied = json(&merged, &without(&[caps::MERGE_OP], true));
    let copy = r#"{"copy":{"src":"/","dest":"/","mode":-1,"dirCopyContents":true,"timestamp":-1,"alwaysReplaceExistingDestPaths":true}}"#;
    let first = format!(r#"{{"input":0,"secondaryInput":1,"output":-1,"Action":{copy}}}"#);
    let second = format!(r#"{{"input":2,"secondaryInput":0,"output":0,"Action":{copy}}}"#);
    let want = format!(r#""Op":{{"file":{{"actions":[{first},{second}]}}}}"#);
    assert!(copied.contains(&want), "{copied}");
    assert!(copied.contains(r#""caps":{"file.base":true,"file.copy."#), "{copied}");
    // The daemon that has merges, or that nothing is known of, gets one.
    for options in [without(&[], true), without(&[caps::MERGE_OP], false), options()] {
        assert!(json(&merged, &options).contains(r#""Op":{"merge":"#));
    }
    let alone = State::merge(&[a, nothing]);
    let copied = json(&alone, &without(&[caps::MERGE_OP, caps::FILE_COPY_ALWAYS_REPLACE], true));
    let want = r#"[{"input":-1,"secondaryInput":0,"output":0,"Action":{"copy":{"src":"/","dest":"/","mode":-1,"dirCopyContents":true,"timestamp":-1}}}]"#;
    assert!(copied.contains(want), "{copied}");
}

#[test]
fn what_nothing_can_stand_in_for_is_an_error_that_names_it() {
    let base = State::image("a");
    let diff = State::diff(&base, &base.run(command("x")).root());
    let old = without(&[caps::DIFF_OP, caps::PASSTHROUGH_OP], true);
    let error = diff.marshal(&old).unwrap_err().to_string();
    let want = "the daemon lacks diffop, and nothing can stand in for it: use a newer daemon";
    assert_eq!(error, want);
    let through = base.requires("needs", &[State::image("b")]);
    assert!(matches!(through.marshal(&old), Err(MarshalError::Incapable("passthroughop"))));
    // All that changed since scratch is everything, whoever finds out that it is scratch.
    let nothing = State::image("c").deferred(|_, _| Ok(State::scratch()));
    let everything = State::diff(&nothing, &base).marshal(&old).unwrap();
    assert!(everything.to_json().unwrap().contains(r#""input":-1,"secondaryInput":0"#));
}

#[test]
fn states_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>(value: T) -> Arc<T> {
        Arc::new(value)
    }
    let state = shared(State::image("alpine").run(command("x")));
    let other = Arc::clone(&state);
    let thread = std::thread::spawn(move || marshal(&other.root()));
    assert_eq!(thread.join().unwrap(), marshal(&state.root()));
}
