//! Fixtures as authors use them: a small language built against files and images of a test.

use std::collections::BTreeMap;

use async_trait::async_trait;
use kiln_frontend::{
    Bridge, BuildResult, Call, FileMode, FileRange, Frontend, FrontendError, PlatformResults, Ref,
    Solve, Warning, base_image,
};
use kiln_llb::{Action, CopyOptions, Exec, Local, Marshal, Mkfile, Rm, State, Symlink, words};
use kiln_oci::{ImageConfig, Platform};
use kiln_testing::{AskedResolve, Fixture, block_on, insta, snapshot};
use tonic::Code;

/// A language whose file has the base image on its first line and a command on its second.
struct TwoLines;

#[async_trait]
impl Frontend for TwoLines {
    async fn solve(&self, bridge: &dyn Bridge) -> Result<BuildResult<Ref>, FrontendError> {
        let local = Local::default().with_follow_paths(vec!["Two".into()]);
        let definition = State::local("dockerfile", local).marshal(&Marshal::default()).unwrap();
        let solve = Solve::default().with_definition(Some(definition));
        let loaded = bridge.solve(solve).await?.into_single().unwrap().unwrap();
        let file = bridge.read_file(&loaded, "Two", None).await?;
        let text = String::from_utf8(file.to_vec()).unwrap();
        let (base, command) = text.trim_end().split_once('\n').unwrap_or((text.trim_end(), ""));
        let asked = bridge.info().options.platforms()?;
        let platforms = match asked.is_empty() {
            true => vec![bridge.info().default_platform()],
            false => asked,
        };
        if command.is_empty() {
            let warning = Warning::default().with_short("nothing to run");
            bridge.warn(warning).await?;
        }
        let mut results = PlatformResults::new(platforms.len() > 1);
        for platform in platforms {
            let image = base_image(bridge, base, &platform).await?;
            let context = State::local("context", Local::default());
            let mut state = State::image(&image.reference.to_string()).file(Action::copy(
                &context,
                "/",
                "/src",
                CopyOptions::default(),
            ));
            if !command.is_empty() {
                let args = words(command).map_err(|e| FrontendError::invalid(e.to_string()))?;
                state = state.run(Exec::default().with_args(args)).root();
            }
            let definition = state
                .marshal(&Marshal::on(platform.clone()))
                .map_err(|error| FrontendError::internal(error.to_string()))?;
            let solve = Solve::default().with_definition(Some(definition));
            let made = bridge.solve(solve).await?.into_single().map_err(FrontendError::internal)?;
            results.push(platform, made, &image.config);
        }
        Ok(results.finish())
    }
}

fn fixture() -> Fixture {
    Fixture::new()
        .file("dockerfile", "Two", "debian:12\nmake all\n")
        .image("debian:12", ImageConfig::default())
}

#[test]
fn a_snapshot_shows_graph_config_and_warnings() {
    let quiet = fixture().file("dockerfile", "Two", "debian:12\n");
    insta::assert_snapshot!(snapshot(&TwoLines, &quiet), @r#"
    1 image docker.io/library/debian:12@sha256:7a19147749ce linux/amd64
    2 local context
    3 file on 1
        copy 2:/ -> /src
    result 3
    config {
      "architecture": "amd64",
      "config": {},
      "os": "linux",
      "rootfs": {
        "diff_ids": null,
        "type": "layers"
      }
    }
    warning: nothing to run
    "#);
}

#[test]
fn every_platform_gets_its_own_base_config() {
    let built = fixture().platform("linux/amd64,linux/arm64").build(&TwoLines).unwrap();
    assert!(built.is_multi_platform());
    for id in ["linux/amd64", "linux/arm64"] {
        let config = built.platform(id).unwrap().image_config().unwrap();
        assert_eq!(config.platform.format(), id);
    }
    let asked: Vec<String> = built
        .asked
        .resolves
        .iter()
        .map(|resolve| match resolve {
            AskedResolve::Image { reference, platform, .. } => {
                format!("{reference} {}", platform.as_ref().unwrap().format())
            }
            AskedResolve::Source { identifier, .. } => identifier.clone(),
        })
        .collect();
    assert_eq!(
        asked,
        ["docker.io/library/debian:12 linux/amd64", "docker.io/library/debian:12 linux/arm64"]
    );
    assert_eq!(built.asked.solves[0].reads, ["Two"]);
}

#[test]
fn an_image_of_one_platform_is_not_found_for_another() {
    let arm = Platform::new("linux", "arm64");
    let config = serde_json::to_vec(&ImageConfig::new(&arm)).unwrap();
    let fixture =
        Fixture::new().file("dockerfile", "Two", "app:1\nmake\n").image_for("app:1", &arm, config);
    assert!(fixture.clone().platform("linux/arm64").build(&TwoLines).is_ok());
    let error = fixture.build(&TwoLines).unwrap_err();
    assert_eq!(error.status().code, Code::NotFound);
    assert_eq!(
        error.to_string(),
        "docker.io/library/app:1: not found (no image of that name for linux/amd64 is given)"
    );
}

#[test]
fn images_that_are_made_up_are_listed() {
    let built = Fixture::new()
        .file("dockerfile", "Two", "nowhere:1\nmake\n")
        .any_image()
        .build(&TwoLines)
        .unwrap();
    assert_eq!(built.asked.made_up_images, ["docker.io/library/nowhere:1"]);
    assert_eq!(built.config().unwrap().platform, Platform::new("linux", "amd64"));
}

#[test]
fn a_panic_of_a_frontend_is_an_error_of_it() {
    struct Panics;
    #[async_trait]
    impl Frontend for Panics {
        async fn solve(&self, _: &dyn Bridge) -> Result<BuildResult<Ref>, FrontendError> {
            panic!("I am lost")
        }
    }
    let shown = snapshot(&Panics, &Fixture::new());
    assert_eq!(shown, "error: frontend panicked: I am lost\n");
}

/// A language that builds its context with another one and runs a command on top of it.
struct OnTop;

#[async_trait]
impl Frontend for OnTop {
    async fn solve(&self, bridge: &dyn Bridge) -> Result<BuildResult<Ref>, FrontendError> {
        let called = Call::named("two-lines").option("platform", "linux/arm64");
        let below = called.states(bridge).await?.remove(0);
        let exec = Exec::default().with_args(vec!["strip".into()]);
        let definition = below.state.run(exec).root().marshal(&Marshal::default()).unwrap();
        let solve = Solve::default().with_definition(Some(definition));
        Ok(bridge.solve(solve).await?)
    }
}

#[test]
fn a_frontend_builds_on_another_one() {
    let built = fixture().frontend("two-lines", TwoLines).build(&OnTop).unwrap();
    let graph = kiln_testing::text(built.definition()).unwrap();
    assert!(graph.contains("run make all\n") && graph.contains("run strip\n"), "{graph}");
    assert!(graph.contains(" linux/arm64\n"), "{graph}");
    assert!(built.asked.forwards[0].answered);
}

#[test]
fn frontends_that_call_each_other_forever_are_stopped() {
    struct Again;
    #[async_trait]
    impl Frontend for Again {
        async fn solve(&self, bridge: &dyn Bridge) -> Result<BuildResult<Ref>, FrontendError> {
            Call::image("example.com/again:1").result(bridge).await
        }
    }
    let error =
        Fixture::new().frontend_image("example.com/again:1", Again).build(&Again).unwrap_err();
    assert_eq!(error.to_string(), "frontends call each other more than 16 deep");
}

/// Solves a graph at the bridge of a fixture and reads files of its result.
fn read(fixture: &Fixture, state: &State, paths: &[&str]) -> BTreeMap<String, String> {
    let bridge = fixture.bridge();
    let definition = state.marshal(&Marshal::default()).unwrap();
    let solve = Solve::default().with_definition(Some(definition));
    let solved = block_on(bridge.solve(solve)).unwrap().into_single().unwrap().unwrap();
    let read = |path: &str| match block_on(bridge.read_file(&solved, path, None)) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => error.message().to_owned(),
    };
    paths.iter().map(|path| ((*path).to_owned(), read(path))).collect()
}

#[test]
fn only_what_a_local_source_asks_for_is_there() {
    let on_disk = std::env::temp_dir().join(format!("kiln-fixture-{}", std::process::id()));
    std::fs::create_dir_all(on_disk.join("sub")).unwrap();
    for path in ["sub/a.txt", "sub/b.txt", "c.txt"] {
        std::fs::write(on_disk.join(path), path).unwrap();
    }
    let in_memory = ["sub/a.txt", "sub/b.txt", "c.txt"]
        .into_iter()
        .fold(Fixture::new(), |fixture, path| fixture.file("context", path, path));
    let local = Local::default().with_follow_paths(vec!["sub/a.txt".into()]);
    for fixture in [in_memory, Fixture::new().directory("context", &on_disk)] {
        let state = State::local("context", local.clone());
        let read = read(&fixture, &state, &["sub/a.txt", "/sub/b.txt", "c.txt"]);
        assert_eq!(read["sub/a.txt"], "sub/a.txt");
        assert_eq!(read["/sub/b.txt"], "open /sub/b.txt: no such file or directory");
        assert_eq!(read["c.txt"], "open c.txt: no such file or directory");
    }
    std::fs::remove_dir_all(on_disk).unwrap();
}

#[test]
fn file_operations_are_carried_out_before_a_file_is_read() {
    let fixture = Fixture::new()
        .file("context", "sub/a.txt", "a")
        .file("context", "sub/deep/b.txt", "b")
        .file("context", "c.txt", "c");
    let context = State::local("context", Local::default());
    let contents = CopyOptions::default().with_dir_contents_only(true);
    let state = State::scratch()
        .file(Action::copy(&context, "/sub", "/", contents))
        .file(Action::mkfile("/made", "made", Mkfile::default()))
        .file(Action::symlink("deep/b.txt", "/link", Symlink::default()))
        .file(Action::rm("/a.txt", Rm::default()));
    let read = read(&fixture, &state, &["deep/b.txt", "made", "link", "a.txt", "c.txt"]);
    assert_eq!((&*read["deep/b.txt"], &*read["made"], &*read["link"]), ("b", "made", "b"));
    assert_eq!(read["a.txt"], "open a.txt: no such file or directory");
    assert_eq!(read["c.txt"], "open c.txt: no such file or directory");
}

#[test]
fn the_result_of_a_command_cannot_be_read() {
    let state = State::scratch().run(Exec::default().with_args(vec!["true".into()])).root();
    let read = read(&Fixture::new(), &state, &["out"]);
    let want = "cannot read out: the files of a command are not known without a daemon";
    assert!(read["out"].starts_with(want), "{read:?}");
}

#[test]
fn a_directory_that_no_client_offers_is_an_error_where_it_must_run() {
    let bridge = Fixture::new().bridge();
    let definition = State::local("data", Local::default()).marshal(&Marshal::default()).unwrap();
    let solve = Solve::default().with_definition(Some(definition)).with_evaluate(true);
    let error = block_on(bridge.solve(solve)).unwrap_err();
    let want = "no local directory `data` is given (there are: context, dockerfile)";
    assert_eq!(error.message(), want);
}

#[test]
fn parts_lists_and_stats_are_those_of_the_tree() {
    let fixture = Fixture::new().file("context", "d/a.txt", "12345").file("context", "d/b.c", "");
    let bridge = fixture.bridge();
    let definition =
        State::local("context", Local::default()).marshal(&Marshal::default()).unwrap();
    let solve = Solve::default().with_definition(Some(definition));
    let solved = block_on(bridge.solve(solve)).unwrap().into_single().unwrap().unwrap();
    let part = |offset, length| {
        let range = Some(FileRange { offset, length });
        block_on(bridge.read_file(&solved, "d/a.txt", range)).unwrap()
    };
    assert_eq!(
        (&part(1, 2)[..], &part(4, 99)[..], &part(9, 9)[..]),
        (&b"23"[..], &b"5"[..], &b""[..])
    );
    let list = |pattern: &str| -> Vec<String> {
        let entries = block_on(bridge.read_dir(&solved, "d", pattern)).unwrap();
        entries.into_iter().map(|entry| entry.path).collect()
    };
    assert_eq!((list(""), list("*.c")), (vec!["a.txt".into(), "b.c".into()], vec!["b.c".into()]));
    let stat = block_on(bridge.stat_file(&solved, "/d/a.txt")).unwrap();
    assert_eq!((stat.path.as_str(), stat.size, stat.mode), ("a.txt", 5, FileMode::file(0o644)));
    assert_eq!(bridge.asked().solves[0].reads.len(), 6);
}
