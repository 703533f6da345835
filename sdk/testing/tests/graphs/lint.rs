//! Lint of graphs.

use kiln_llb::{Action, CopyOptions, Definition, Git, Http, Image, Local, Mkfile, Mount, State};
use kiln_testing::{LintOptions, Rule, Severity};

use super::{marshal, named, sh};

/// What is found apart from missing names and places.
fn found(state: &State) -> String {
    let options = LintOptions::without([Rule::NoName, Rule::NoLocation]);
    let findings = kiln_testing::lint(&marshal(state), &options).unwrap();
    findings.iter().map(|finding| format!("{finding}\n")).collect()
}

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn pinned() -> State {
    State::image(&format!("alpine:3.20@{DIGEST}"))
}

#[test]
fn what_is_pinned_and_named_is_not_blamed() {
    let checksum = Some(DIGEST.parse().unwrap());
    let all = [
        pinned(),
        State::image_with("busybox", Image::default().with_checksum(checksum.clone())),
        State::http("https://example.com/a", Http::default().with_checksum(checksum)),
        State::git("https://example.com/a.git", &"0a".repeat(20), Git::default()),
        State::local("context", Local::default()),
    ];
    insta::assert_snapshot!(
        found(&State::merge(&all).run(named("make", "RUN make", 2)).root()),
        @""
    );
}

#[test]
fn sources_that_may_be_others_tomorrow_are_found() {
    let all = [
        State::image("alpine"),
        State::image("localhost:5000/a:latest"),
        State::image("alpine:3.20"),
        State::http("https://example.com/a", Http::default()),
        State::git("https://example.com/a.git", "", Git::default()),
        State::git("https://example.com/b.git", "v1.0", Git::default()),
        State::git("https://bot:hunter2@example.com/c.git", &"0a".repeat(20), Git::default()),
    ];
    insta::assert_snapshot!(found(&State::merge(&all)), @r#"
    warning[image-latest]: step 1 "image docker.io/library/alpine:latest": docker.io/library/alpine:latest is another image after every release
      help: name a version, better its digest
    warning[image-latest]: step 2 "image localhost:5000/a:latest": localhost:5000/a:latest is another image after every release
      help: name a version, better its digest
    note[image-without-digest]: step 3 "image docker.io/library/alpine:3.20": docker.io/library/alpine:3.20 may be another image tomorrow
      help: pin it: `name:tag@sha256:…`
    warning[http-without-checksum]: step 4 "http https://example.com/a": nothing says which bytes are meant
      help: give the download the sha256 of its bytes
    warning[git-without-commit]: step 5 "git example.com/a.git": whatever the default branch holds that day is taken
      help: name the commit, or give its checksum
    warning[git-without-commit]: step 6 "git example.com/b.git#v1.0": v1.0 may be another commit tomorrow
      help: name the commit, or give its checksum
    error[secret-in-graph]: step 7 "git example.com/c.git#0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a": the address holds a password, which everybody can read
      help: hand it over as a secret of the session, such as GIT_AUTH_TOKEN
    "#);
}

#[test]
fn secrets_are_found_and_not_repeated() {
    let token = format!("ghp_{}", "Zz9".repeat(12));
    let run = pinned().with_env("NPM_TOKEN", "abcd-efgh").with_env("TOKEN_FILE", "/t").run(
        named("", "RUN curl", 4).with_args(vec![
            "curl".into(),
            format!("-HAuthorization: {token}"),
            "https://x".into(),
        ]),
    );
    let key = Action::mkfile("/root/key", "-----BEGIN PRIVATE KEY-----\nx\n", Mkfile::default());
    let state = run.root().file(key);
    insta::assert_snapshot!(found(&state), @r#"
    mockerfile.yaml:4: error[secret-in-graph]: step 2 "RUN curl": variable NPM_TOKEN holds what its name calls a secret
      help: hand it over as a secret of the session: `Secret::env`
    mockerfile.yaml:4: error[secret-in-graph]: step 2 "RUN curl": the command holds a GitHub token
      help: hand it over as a secret of the session: `Secret::file` or `Secret::env`
    error[secret-in-graph]: step 3 "mkfile /root/key": /root/key holds a private key
      help: mount it as a secret of the session where it is needed
    "#);
    let unnamed = State::merge(&[state, pinned().run(sh(&format!("echo {token}"))).root()]);
    let findings = kiln_testing::lint(&marshal(&unnamed), &LintOptions::default()).unwrap();
    assert!(findings.iter().any(|finding| finding.name == "(with a secret)"));
    assert!(findings.iter().all(|finding| !finding.to_string().contains("Zz9")));
}

#[test]
fn relative_paths_and_missing_directories_are_found() {
    let mut definition = marshal(
        &pinned()
            .run(named("x", "RUN x", 5).with_mounts(vec![Mount::cache("cache")]))
            .root()
            .file(Action::copy(pinned(), "a/b", "c", CopyOptions::default())),
    );
    let options = LintOptions::at_least(Severity::Warning);
    let lines = |definition: &Definition| {
        let findings = kiln_testing::lint(definition, &options).unwrap();
        findings.iter().map(|finding| format!("{finding}\n")).collect::<String>()
    };
    insta::assert_snapshot!(lines(&definition), @r#"
    mockerfile.yaml:5: warning[relative-path]: step 2 "RUN x": the target of a mount is relative: cache
      help: write it from /, so that it means the same everywhere
    "#);
    let other = marshal(&State::image("busybox:1").run(sh("unused")).root());
    definition.def.splice(0..0, other.def[..2].to_vec());
    insta::assert_snapshot!(lines(&definition), @r#"
    mockerfile.yaml:5: warning[relative-path]: step 2 "RUN x": the target of a mount is relative: cache
      help: write it from /, so that it means the same everywhere
    warning[unused-step]: step 4 "image docker.io/library/busybox:1": the result does not need it
      help: leave it out, or make the result depend on it
    warning[unused-step]: step 5 "/bin/sh -c unused": the result does not need it
      help: leave it out, or make the result depend on it
    "#);
}

#[test]
fn names_and_places_are_missed_where_people_look_for_them() {
    let definition = marshal(&pinned().run(sh("make")).root());
    let findings = kiln_testing::lint(&definition, &LintOptions::default()).unwrap();
    let rules: Vec<(usize, Rule)> = findings.iter().map(|f| (f.step, f.rule)).collect();
    let want = [(1, Rule::NoLocation), (1, Rule::NoName), (2, Rule::NoLocation), (2, Rule::NoName)];
    assert_eq!(rules, want);
}

#[test]
fn rules_are_known_by_their_ids() {
    for rule in Rule::ALL {
        assert_eq!(rule.id().parse::<Rule>().unwrap(), *rule);
        assert!(!rule.summary().is_empty());
    }
    let error = "no-such-rule".parse::<Rule>().unwrap_err();
    assert_eq!(error.to_string(), "there is no rule `no-such-rule`");
}
