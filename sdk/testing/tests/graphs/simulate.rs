//! Cache simulation.

use kiln_llb::{
    Action, Constraints, CopyOptions, FileActions, Http, Local, Mkdir, Mkfile, Mount, Rm, State,
};
use kiln_testing::{Edit, Simulated, World, simulate, simulate_change};

use super::{marshal, named, sh};

fn world() -> World {
    World::of_context([
        ("Makefile", "all:"),
        ("src/a.c", "a"),
        ("src/b.c", "b"),
        ("docs/a.md", "a"),
        ("docs/b.txt", "b"),
    ])
}

fn context() -> State {
    State::local("context", Local::default())
}

fn copy(from: &State, src: &str, dest: &str) -> Action {
    Action::copy(from, src, dest, CopyOptions::default().with_dir_contents_only(true))
}

/// A program and its manual, in stages as people write them.
fn build() -> State {
    let tools = State::image("gcc:15").run(named("apt-get install make", "RUN apt", 1)).root();
    let made = tools
        .file([copy(&context(), "/Makefile", "/w/"), copy(&context(), "/src", "/w/src/")])
        .run(named("make", "RUN make", 2))
        .root();
    let manual = State::scratch().file(copy(&context(), "/docs", "/docs"));
    let checked = State::image("alpine:3.20")
        .run(
            named("spell /docs", "RUN spell", 3)
                .with_mounts(vec![Mount::bind("/docs", &manual).path("/docs").readonly()]),
        )
        .root();
    State::image("alpine:3.20")
        .file([copy(&made, "/w/app", "/bin/app"), copy(&manual, "/docs/a.md", "/docs/a.md")])
        .file(copy(&checked, "/report", "/report"))
}

fn edited(state: &State, edit: Edit) -> Simulated {
    simulate(&marshal(state), &world(), [edit]).unwrap()
}

#[test]
fn no_edit_runs_nothing() {
    let simulated = simulate(&marshal(&build()), &world(), []).unwrap();
    assert_eq!(simulated.to_string(), "0 of 9 steps run\n");
}

#[test]
fn an_edited_source_runs_what_reads_it_and_what_stands_on_that() {
    insta::assert_snapshot!(edited(&build(), Edit::write("src/a.c", "changed")), @r#"
    4 of 9 steps run
    step 5 "copy /Makefile -> /w/, copy /src -> /w/src/": src/a.c changed
    step 6 "RUN make": step 5 runs
    step 8 "copy /w/app -> /bin/app, copy /docs/a.md -> /docs/a.md": step 6 runs
    step 10 "copy /report -> /report": step 8 runs
    "#);
}

#[test]
fn equal_bytes_are_no_edit() {
    insta::assert_snapshot!(edited(&build(), Edit::write("src/a.c", "a")), @"0 of 9 steps run");
}

#[test]
fn files_that_come_and_go_are_told_by_name() {
    insta::assert_snapshot!(edited(&build(), Edit::write("src/new/c.c", "c")), @r#"
    4 of 9 steps run
    step 5 "copy /Makefile -> /w/, copy /src -> /w/src/": src/new/c.c is new
    step 6 "RUN make": step 5 runs
    step 8 "copy /w/app -> /bin/app, copy /docs/a.md -> /docs/a.md": step 6 runs
    step 10 "copy /report -> /report": step 8 runs
    "#);
    insta::assert_snapshot!(edited(&build(), Edit::remove("src")), @r#"
    4 of 9 steps run
    step 5 "copy /Makefile -> /w/, copy /src -> /w/src/": src/a.c is gone, src/b.c is gone
    step 6 "RUN make": step 5 runs
    step 8 "copy /w/app -> /bin/app, copy /docs/a.md -> /docs/a.md": step 6 runs
    step 10 "copy /report -> /report": step 8 runs
    "#);
}

#[test]
fn a_file_that_nobody_copies_runs_nothing() {
    insta::assert_snapshot!(
        edited(&build(), Edit::write("README.md", "hello")),
        @"0 of 9 steps run"
    );
}

#[test]
fn what_is_equal_further_down_stays_cached() {
    // The manual is copied again, but the page that goes into the image is the same.
    insta::assert_snapshot!(edited(&build(), Edit::write("docs/b.txt", "other")), @r#"
    3 of 9 steps run
    step 7 "copy /docs -> /docs": docs/b.txt changed
    step 9 "RUN spell": docs/b.txt changed
    step 10 "copy /report -> /report": step 9 runs
    "#);
}

#[test]
fn another_image_behind_a_tag_runs_everything_on_it() {
    insta::assert_snapshot!(
        edited(&build(), Edit::remote("docker.io/library/gcc:15", "sha256:2")),
        @r#"
    6 of 9 steps run
    step 2 "image docker.io/library/gcc:15": what it fetches changed
    step 3 "RUN apt": step 2 runs
    step 5 "copy /Makefile -> /w/, copy /src -> /w/src/": step 3 runs
    step 6 "RUN make": step 5 runs
    step 8 "copy /w/app -> /bin/app, copy /docs/a.md -> /docs/a.md": step 6 runs
    step 10 "copy /report -> /report": step 8 runs
    "#
    );
}

#[test]
fn a_download_that_changed_runs_what_reads_its_content() {
    let url = "https://example.com/tool";
    let tool = State::http(url, Http::default());
    let state = State::image("alpine:3.20").file(copy(&tool, "/tool", "/bin/tool"));
    insta::assert_snapshot!(edited(&state, Edit::remote(url, "v2")), @r#"
    2 of 3 steps run
    step 2 "http https://example.com/tool": what it fetches changed
    step 3 "copy /tool -> /bin/tool": step 2 runs
    "#);
}

#[test]
fn patterns_of_copies_and_transfers_decide_what_is_read() {
    let only = |include: &str, exclude: &str| {
        let patterns = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        let options = CopyOptions::default()
            .with_include_patterns(patterns(include))
            .with_exclude_patterns(patterns(exclude))
            .with_dir_contents_only(true);
        State::scratch().file(Action::copy(context(), "/", "/", options))
    };
    let runs = |state: &State, path: &str| {
        !simulate(&marshal(state), &world(), [Edit::write(path, "x")]).unwrap().runs().is_empty()
    };
    assert!(runs(&only("**/*.c", ""), "src/a.c"));
    assert!(!runs(&only("**/*.c", ""), "docs/a.md"));
    assert!(!runs(&only("", "src"), "src/a.c"));
    assert!(runs(&only("", "src !src/a.c"), "src/a.c"));
    let transfer =
        |local: Local| State::scratch().file(copy(&State::local("context", local), "/", "/"));
    let ignoring = Local::default().with_exclude_patterns(vec!["docs".into()]);
    assert!(!runs(&transfer(ignoring.clone()), "docs/a.md"));
    assert!(runs(&transfer(ignoring), "src/a.c"));
    let followed = Local::default().with_follow_paths(vec!["src".into()]);
    assert!(runs(&transfer(followed.clone()), "src/b.c"));
    assert!(!runs(&transfer(followed), "Makefile"));
    let wildcard = CopyOptions::default().with_allow_wildcard(true);
    let globbed = State::scratch().file(Action::copy(context(), "/docs/*.md", "/", wildcard));
    assert!(runs(&globbed, "docs/c.md"));
    assert!(!runs(&globbed, "docs/b.txt"));
}

#[test]
fn mounts_that_cannot_be_written_count_by_content_and_others_do_not() {
    let run = |mount: Mount| State::image("alpine").run(sh("x").with_mounts(vec![mount]));
    let runs = |state: State, path: &str| {
        simulate(&marshal(&state), &world(), [Edit::write(path, "x")]).unwrap().runs().len()
    };
    let readonly = || Mount::bind("/m", &context()).path("/src").readonly();
    assert_eq!(runs(run(readonly()).root(), "src/a.c"), 1);
    assert_eq!(runs(run(readonly()).root(), "Makefile"), 0);
    // A writable mount of a part is keyed by the whole directory, which is new in every build.
    let writable = Mount::bind("/m", &context()).path("/src");
    assert_eq!(runs(run(writable).root(), "src/a.c"), 1);
    insta::assert_snapshot!(
        edited(&run(Mount::bind("/m", &context()).path("/src")).root(), Edit::write("README", "")),
        @r#"
    1 of 2 steps run
    step 3 "/bin/sh -c x": it reads all of local context
    "#
    );
}

#[test]
fn actions_that_take_files_away_hide_what_changed() {
    let stage = State::scratch().file([
        Action::mkdir("/w", Mkdir::default()),
        copy(&context(), "/", "/w"),
        Action::rm("/w/docs", Rm::default()),
        Action::mkfile("/w/version", "1", Mkfile::default()),
    ]);
    let state = State::image("alpine").file(copy(&stage, "/w", "/app"));
    insta::assert_snapshot!(edited(&state, Edit::write("docs/a.md", "x")), @r#"
    1 of 3 steps run
    step 3 "mkdir /w, copy / -> /w, rm /w/docs, mkfile /w/version": docs/a.md changed
    "#);
}

#[test]
fn another_definition_tells_what_changed_in_it() {
    let with = |arg: &str| {
        State::image("alpine")
            .file(copy(&context(), "/Makefile", "/"))
            .with_env("VERSION", arg)
            .run(sh("make"))
            .root()
    };
    let (before, after) = (marshal(&with("1")), marshal(&with("2")));
    let simulated = simulate_change((&before, &world()), (&after, &world())).unwrap();
    insta::assert_snapshot!(simulated, @r#"
    1 of 3 steps run
    step 4 "/bin/sh -c make": environment changed: VERSION=1 -> VERSION=2
    "#);
    let more = marshal(&with("1").run(sh("make install")).root());
    let simulated = simulate_change((&before, &world()), (&more, &world())).unwrap();
    insta::assert_snapshot!(simulated, @r#"
    1 of 4 steps run
    step 5 "/bin/sh -c make install": it is new
    "#);
}

#[test]
fn a_step_may_ignore_the_cache() {
    let constraints = Constraints::default().with_ignore_cache(true);
    let actions = vec![Action::mkfile("/a", "1", Mkfile::default())];
    let state =
        State::image("alpine").file(FileActions::from(actions).with_constraints(constraints));
    // What stands on it runs too, but what stands on that is found: it is what it was.
    let state = state.run(sh("x")).root().run(sh("y")).root();
    let simulated = simulate(&marshal(&state), &world(), []).unwrap();
    insta::assert_snapshot!(simulated, @r#"
    2 of 4 steps run
    step 2 "mkfile /a": it ignores the cache
    step 3 "/bin/sh -c x": step 2 runs
    "#);
}

#[test]
fn steps_that_the_daemon_cannot_tell_apart_are_found() {
    let runs = |before: &State, after: &State, world: &World| {
        simulate_change((&marshal(before), world), (&marshal(after), world)).unwrap().runs()
    };
    // An image counts by what its name stands for.
    let tagged = |tag: &str| State::image(tag).run(sh("make")).root();
    let mut world = world();
    for tag in ["3.20", "latest"] {
        world.remote.insert(format!("docker.io/library/alpine:{tag}"), "sha256:1".into());
    }
    assert_eq!(runs(&tagged("alpine:3.20"), &tagged("alpine:latest"), &world), [0; 0]);
    assert_eq!(runs(&tagged("alpine:3.20"), &tagged("alpine:edge"), &world).len(), 2);
    // A cache mount does not count by an id that someone thought of.
    let cached = |id: &str| {
        let mounts = vec![Mount::cache("/c").id(id)];
        State::image("alpine").run(sh("make").with_mounts(mounts)).root()
    };
    assert_eq!(runs(&cached("mine"), &cached("yours"), &world), [0; 0]);
    assert_eq!(runs(&cached("mine"), &cached("/c"), &world).len(), 1);
    // A download counts by its digest, wherever it is from.
    let download = |url: &str| {
        let checksum = Some(kiln_oci::Digest::sha256("tool"));
        let tool = State::http(url, Http::default().with_checksum(checksum));
        State::scratch().file(copy(&tool, "/tool", "/bin/"))
    };
    let (here, there) = ("https://example.com/tool", "https://example.org/other/tool");
    assert_eq!(runs(&download(here), &download(there), &world), [0; 0]);
}
