//! Graphs as text.

use kiln_llb::{
    Action, CopyOptions, Definition, Git, Http, Local, Mkdir, Mkfile, Mount, Owner, Secret,
    Sharing, Ssh, State,
};
use kiln_testing::Text;
use kiln_wire::pb;
use proptest::prelude::*;
use prost::Message as _;

use super::{marshal, named, sh};

fn text(state: &State) -> String {
    let text = kiln_testing::text(&marshal(state)).unwrap();
    assert!(text.ends_with('\n'), "{text}");
    text
}

fn local() -> State {
    State::local("context", Local::default().with_session_id("s1"))
}

#[test]
fn a_build_reads_from_top_to_bottom() {
    let source = State::local(
        "context",
        Local::default()
            .with_include_patterns(vec!["*.go".into(), "go mod".into()])
            .with_follow_paths(vec!["main.go".into()])
            .with_shared_key_hint("src"),
    );
    let tools = State::image("golang:1.25").with_env("PATH", "/go/bin:/bin").with_env("CGO", "0");
    let built = tools.with_dir("/src").run(
        named("go build -o /out/app .", "[build] go build", 3)
            .with_mounts(vec![
                Mount::bind("/src", &source).readonly(),
                Mount::cache("/root/.cache").id("go build").shared(Sharing::Locked),
                Mount::bind("/out", &State::scratch()),
            ])
            .with_secrets(vec![
                Secret::file("netrc", "/root/.netrc"),
                Secret::env("token", "TOKEN"),
            ])
            .with_ssh(vec![Ssh::default()]),
    );
    let checked = built.root().with_env("CI", "1").run(sh("set -e\ngo vet ./...\n"));
    let owner = Some(Owner::parse("1000:app"));
    let image = State::image("alpine:3.20").requires("checks", &[checked.root()]).file([
        Action::mkdir("/app", Mkdir::default().with_owner(owner).with_parents(true)),
        Action::copy(built.mount("/out").unwrap(), "/app", "/app/app", CopyOptions::default()),
        Action::mkfile("/etc/motd", "hello\nworld\n", Mkfile::default().with_mode(0o600)),
        Action::mkfile("/etc/one", "one line\n", Mkfile::default()),
    ]);
    insta::assert_snapshot!(text(&image), @r#"
    1 image docker.io/library/alpine:3.20 linux/amd64
    2 image docker.io/library/golang:1.25 linux/amd64
    3 local context
        follow main.go
        include *.go
        include 'go mod'
        shared key src
    4 exec on 2
        name [build] go build
        at mockerfile.yaml:3
        run /bin/sh -c 'go build -o /out/app .'
        cwd /src
        env PATH=/go/bin:/bin
        env CGO=0
        env SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0
        mount /out from scratch output 1
        mount /root/.cache cache 'go build' locked
        mount /src from 3 readonly
        mount /root/.netrc secret netrc mode=0400
        mount /run/buildkit/ssh_agent.0 ssh default mode=0600
        secret token as $TOKEN
    5 exec on 4
        run /bin/sh -c
          | set -e
          | go vet ./...
          |
        cwd /src
        env as in 4
        env without SSH_AUTH_SOCK
        env CI=1
    6 passthrough checks of 1, 5
        hands on 1
    7 file on 6
        mkdir /app mode=0755 parents owner=1000:app
        copy 4.1:/app -> /app/app
        mkfile /etc/motd mode=0600
          | hello
          | world
          |
        mkfile /etc/one mode=0644 "one line\n"
    result 7
    "#);
}

#[test]
fn sources_say_what_pins_them() {
    let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let http = Http::default().with_checksum(Some(digest.parse().unwrap()));
    let state = State::merge(&[
        State::image(&format!("alpine:3.20@{digest}")),
        State::http("https://example.com/a b.tgz", http),
        State::git("https://example.com/a.git", "v1", Git::default()),
    ]);
    insta::assert_snapshot!(text(&state), @"
    1 image docker.io/library/alpine:3.20@sha256:0123456789ab linux/amd64
    2 http 'https://example.com/a b.tgz'
        checksum sha256:0123456789ab
    3 git example.com/a.git#v1
        header secret GIT_AUTH_HEADER
        token secret GIT_AUTH_TOKEN
        url https://example.com/a.git
    4 merge 1, 2, 3
    result 4
    ");
    let full = Text { full_digests: true, caps: true, ..Text::default() };
    let full = full.render(&marshal(&state)).unwrap();
    assert!(full.contains(&format!("alpine:3.20@{digest} linux/amd64")), "{full}");
    assert!(full.contains("    needs source.http.checksum\n"), "{full}");
}

#[test]
fn scratch_is_said() {
    insta::assert_snapshot!(text(&State::scratch()), @"result scratch");
}

#[test]
fn what_a_stranger_wrote_stays_on_its_line() {
    let state = State::image("alpine").run(
        named("x", "name\nresult 9", 1).with_env(vec![("A".into(), "1\nresult 7\u{1b}[2J".into())]),
    );
    let text = kiln_testing::text(&marshal(&state.root())).unwrap();
    assert!(text.contains(r#"env A="1\nresult 7\u{1b}[2J""#), "{text}");
    assert!(text.contains(r"name name\nresult 9"), "{text}");
}

#[test]
fn sessions_do_not_show() {
    let with = |session: &str| {
        let local = Local::default().with_session_id(session);
        State::scratch().file(Action::copy(
            State::local("c", local),
            "/",
            "/",
            CopyOptions::default(),
        ))
    };
    let (a, b) = (marshal(&with("one")), marshal(&with("two")));
    assert_ne!(a, b);
    assert_eq!(kiln_testing::text(&a).unwrap(), kiln_testing::text(&b).unwrap());
    assert!(kiln_testing::difference(&a, &b).unwrap().is_empty());
}

#[test]
fn steps_the_result_does_not_need_come_last() {
    let mut definition = marshal(&State::image("alpine"));
    let extra = marshal(&State::image("busybox").run(sh("echo")).root());
    let ops = extra.def[..extra.def.len() - 1].to_vec();
    definition.def.splice(0..0, ops);
    insta::assert_snapshot!(kiln_testing::text(&definition).unwrap(), @"
    1 image docker.io/library/alpine:latest linux/amd64
    result 1

    not needed for the result:
    2 image docker.io/library/busybox:latest linux/amd64
    3 exec on 2
        run /bin/sh -c echo
        cwd /
    ");
}

#[test]
fn a_definition_with_a_hole_is_refused() {
    let mut definition = marshal(&State::image("alpine").run(sh("x")).root());
    definition.def.remove(0);
    let error = kiln_testing::text(&definition).unwrap_err();
    assert!(error.to_string().ends_with("which the definition does not contain"), "{error}");
    definition.def = vec![b"\xff".to_vec().into()];
    kiln_testing::text(&definition).unwrap_err();
}

#[test]
fn numbers_that_point_nowhere_do_no_harm() {
    let mount = |input| pb::Mount { input, dest: "/".into(), output: 9, ..pb::Mount::default() };
    let exec = pb::ExecOp { mounts: vec![mount(7), mount(-3)], ..pb::ExecOp::default() };
    let action = pb::FileAction { input: 5, secondary_input: 99, ..pb::FileAction::default() };
    let file = pb::FileOp { actions: vec![action.clone(), action] };
    let mut def: Vec<bytes::Bytes> = Vec::new();
    let mut inputs = Vec::new();
    for op in [pb::op::Op::Exec(exec), pb::op::Op::File(file)] {
        let bytes = pb::Op { op: Some(op), ..pb::Op::default() }.encode_to_vec();
        inputs.push(pb::Input { digest: kiln_oci::Digest::sha256(&bytes).to_string(), index: 0 });
        def.push(bytes.into());
    }
    let through = pb::PassthroughOp { id: String::new(), outputs: vec![0, 44] };
    let through =
        pb::Op { op: Some(pb::op::Op::Passthrough(through)), inputs, ..pb::Op::default() };
    let bytes = through.encode_to_vec();
    let digest = kiln_oci::Digest::sha256(&bytes).to_string();
    def.push(bytes.into());
    let inputs = vec![pb::Input { digest, index: -4 }];
    def.push(pb::Op { inputs, ..pb::Op::default() }.encode_to_vec().into());
    let definition = Definition { def, ..Definition::default() };
    let text = kiln_testing::text(&definition).unwrap();
    assert!(text.contains("exec on input 7, which is not there"), "{text}");
    assert!(kiln_testing::difference(&definition, &definition).unwrap().is_empty());
}

/// A graph that grows with the numbers: each one adds a step on one of the steps before.
fn grown(numbers: &[(u8, u8)]) -> State {
    let mut states = vec![State::image("alpine:3.20"), local()];
    for (n, (kind, on)) in numbers.iter().enumerate() {
        let base = &states[usize::from(*on) % states.len()];
        let other = &states[usize::from(*kind) % states.len()];
        let next = match kind % 4 {
            0 => base.with_env("N", n.to_string()).run(sh(&format!("step {n}"))).root(),
            1 => base.file(Action::copy(other, "/a", format!("/{n}"), CopyOptions::default())),
            2 => State::merge(&[base.clone(), other.clone()]),
            _ => base
                .run(sh("mounted").with_mounts(vec![Mount::bind("/m", other).readonly()]))
                .root(),
        };
        states.push(next);
    }
    State::merge(&states[1..])
}

/// The same graph with its ops in another order, each still after its inputs or not at all.
fn shuffled(definition: &Definition, seed: u64) -> Definition {
    let mut out = definition.clone();
    let last = out.def.pop().unwrap();
    let mut seed = seed | 1;
    for n in (1..out.def.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        out.def.swap(n, usize::try_from(seed >> 33).unwrap() % (n + 1));
    }
    out.def.push(last);
    out
}

proptest! {
    #[test]
    fn the_order_of_the_bytes_does_not_show(numbers in prop::collection::vec(any::<(u8, u8)>(), 0..24), seed: u64) {
        let definition = marshal(&grown(&numbers));
        let other = shuffled(&definition, seed);
        prop_assert_eq!(kiln_testing::text(&definition).unwrap(), kiln_testing::text(&other).unwrap());
        prop_assert!(kiln_testing::difference(&definition, &other).unwrap().is_empty());
    }

    #[test]
    fn any_change_of_a_graph_shows_in_text_and_difference(
        numbers in prop::collection::vec(any::<(u8, u8)>(), 1..16),
        at: prop::sample::Index,
        by in 1_u8..4,
    ) {
        let mut changed = numbers.clone();
        let at = at.index(changed.len());
        changed[at].0 = changed[at].0.wrapping_add(by);
        let (a, b) = (marshal(&grown(&numbers)), marshal(&grown(&changed)));
        let same = kiln_testing::text(&a).unwrap() == kiln_testing::text(&b).unwrap();
        prop_assert_eq!(same, a.head().unwrap() == b.head().unwrap());
        prop_assert_eq!(same, kiln_testing::difference(&a, &b).unwrap().is_empty());
    }
}
