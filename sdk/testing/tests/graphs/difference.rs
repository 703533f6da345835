//! Differences of graphs.

use kiln_llb::{Action, CopyOptions, Local, Mkfile, Mount, State};
use kiln_testing::Difference;

use super::{marshal, named, sh};

fn difference(before: &State, after: &State) -> Difference {
    kiln_testing::difference(&marshal(before), &marshal(after)).unwrap()
}

/// A small build with holes to fill in.
struct Build {
    image: &'static str,
    env: &'static str,
    lint: bool,
    make: &'static str,
    mount: &'static str,
    motd: &'static str,
}

const BUILD: Build = Build {
    image: "debian:12",
    env: "0",
    lint: true,
    make: "make",
    mount: "/var/cache/apt",
    motd: "hi\n",
};

fn build(build: &Build) -> State {
    let steps = if build.lint { 3 } else { 2 };
    let source = State::local("context", Local::default());
    let base = State::image(build.image).with_env("DEBUG", build.env).run(
        named("apt-get install make", &format!("[1/{steps}] RUN apt-get install make"), 1)
            .with_mounts(vec![Mount::cache(build.mount)]),
    );
    let copied = base.root().file(Action::copy(&source, "/", "/src", CopyOptions::default()));
    let linted = match build.lint {
        true => copied.run(named("make lint", "[2/3] RUN make lint", 2)).root(),
        false => copied,
    };
    let name = format!("[{steps}/{steps}] RUN {}", build.make.lines().next().unwrap());
    let made = linted.run(named(build.make, &name, 3)).root();
    made.file(Action::mkfile("/etc/motd", build.motd, Mkfile::default()))
}

#[test]
fn nothing_changed_is_nothing_said() {
    insta::assert_snapshot!(difference(&build(&BUILD), &build(&BUILD)), @"");
    insta::assert_snapshot!(difference(&State::scratch(), &State::scratch()), @"");
}

#[test]
fn a_command_that_changed_is_one_sentence_and_what_follows_runs_again() {
    insta::assert_snapshot!(
        difference(&build(&BUILD), &build(&Build { make: "make -j4", ..BUILD })),
        @r#"
    step 6 "[3/3] RUN make -j4": command changed: /bin/sh -c make -> /bin/sh -c 'make -j4'
    step 7 "mkfile /etc/motd" runs again, because step 6 changed
    "#
    );
}

#[test]
fn a_script_shows_the_lines_that_changed() {
    let (a, b) = (sh("set -e\nmake\nmake install\n"), sh("set -e\nmake -j4\nmake install\n"));
    let on = State::image("alpine");
    insta::assert_snapshot!(difference(&on.run(a).root(), &on.run(b).root()), @r#"
    step 2 "/bin/sh -c set -e…": command changed:
        - make
        + make -j4
    "#);
}

#[test]
fn a_step_that_is_gone_is_told_where_it_was() {
    insta::assert_snapshot!(
        difference(&build(&BUILD), &build(&Build { lint: false, ..BUILD })),
        @r#"
    step 5 "[2/3] RUN make lint" removed
    step 5 "[2/2] RUN make" runs again, because "[2/3] RUN make lint" is gone
    step 6 "mkfile /etc/motd" runs again, because step 5 changed
    "#
    );
}

#[test]
fn a_new_step_is_told_with_all_it_does() {
    insta::assert_snapshot!(
        difference(&build(&Build { lint: false, ..BUILD }), &build(&BUILD)),
        @r#"
    step 5 "[2/3] RUN make lint" added
        exec on 4
        name [2/3] RUN make lint
        run /bin/sh -c 'make lint'
        cwd /
        env as in 2
    step 6 "[3/3] RUN make" runs again, because step 5 changed
    step 7 "mkfile /etc/motd" runs again, because step 6 changed
    "#
    );
}

#[test]
fn another_image_runs_everything_on_it_again() {
    insta::assert_snapshot!(
        difference(&build(&BUILD), &build(&Build { image: "debian:13", ..BUILD })),
        @r#"
    step 1 "image docker.io/library/debian:13": source changed: docker.io/library/debian:12 -> docker.io/library/debian:13
    step 2 "[1/3] RUN apt-get install make" runs again, because step 1 changed
    step 4 "copy / -> /src" runs again, because step 2 changed
    step 5 "[2/3] RUN make lint" runs again, because step 4 changed
    step 6 "[3/3] RUN make" runs again, because step 5 changed
    step 7 "mkfile /etc/motd" runs again, because step 6 changed
    "#
    );
}

#[test]
fn environment_mounts_and_files_are_told_by_what_they_are_about() {
    let changed = Build { env: "1", mount: "/var/lib/apt", motd: "ho\n", ..BUILD };
    insta::assert_snapshot!(difference(&build(&BUILD), &build(&changed)), @r#"
    step 2 "[1/3] RUN apt-get install make": environment changed: DEBUG=0 -> DEBUG=1
    step 2 "[1/3] RUN apt-get install make": mount changed: /var/cache/apt cache -> /var/lib/apt cache
    step 4 "copy / -> /src" runs again, because step 2 changed
    step 5 "[2/3] RUN make lint": environment changed: DEBUG=0 -> DEBUG=1
    step 6 "[3/3] RUN make": environment changed: DEBUG=0 -> DEBUG=1
    step 7 "mkfile /etc/motd": mkfile changed: /etc/motd mode=0644 "hi\n" -> /etc/motd mode=0644 "ho\n"
    "#);
}

#[test]
fn another_result_of_the_same_graph_is_told() {
    let run = State::image("alpine")
        .run(sh("make").with_mounts(vec![Mount::bind("/out", &State::scratch())]));
    insta::assert_snapshot!(
        difference(&run.root(), &run.mount("/out").unwrap()),
        @r#"result changed: 2 "/bin/sh -c make" -> 2.1 "/bin/sh -c make""#
    );
    insta::assert_snapshot!(difference(&run.root(), &State::scratch()), @r#"
    step 1 "image docker.io/library/alpine:latest" removed
    step 2 "/bin/sh -c make" removed
    result changed: 2 "/bin/sh -c make" -> scratch
    "#);
}

#[test]
fn names_and_places_alone_make_nothing_run_again() {
    let on = State::image("alpine");
    let (a, b) = (on.run(named("x", "one", 1)), on.run(named("x", "two", 2)));
    let (a, b) = (marshal(&a.root()), marshal(&b.root()));
    let difference = kiln_testing::difference(&a, &b).unwrap();
    assert_eq!(difference.to_string(), "step 2 \"two\": name changed: one -> two\n");
    assert!(!difference.reruns());
}

#[test]
fn thousands_of_steps_that_are_all_different_are_compared_in_order() {
    let chain = |word: &str| {
        let steps = 0..3000;
        let base = State::image("alpine");
        marshal(&steps.fold(base, |state, n| state.run(sh(&format!("{word} {n}"))).root()))
    };
    let difference = kiln_testing::difference(&chain("a"), &chain("b")).unwrap();
    assert_eq!(difference.changes.len(), 3000);
}
