//! A small language through the whole of the SDK: what its author did not write is there.

use async_trait::async_trait;
use kiln_document::{Diagnostic, Source, Span};
use kiln_frontend::requests::{self, Target};
use kiln_frontend::{
    BuildLanguage, Call, Frontend, FrontendError, Parsed, PlatformResult, Project, TargetPlatform,
};
use kiln_llb::{Action, CopyOptions, Exec, State};
use kiln_oci::{ImageConfig, Platform};
use kiln_testing::{Fixture, block_on};
use kiln_wire::pb;
use kiln_wire::pb::op::Op;
use serde_json::Value;

/// `from NAME`, then `run COMMAND`, `copy PATH` and `use FRONTEND`, one a line.
struct Lines;

struct Line {
    word: String,
    rest: String,
    span: Span,
}

#[async_trait]
impl BuildLanguage for Lines {
    type Plan = Vec<Line>;
    const NAME: &'static str = "lines";
    const FILES: &'static [&'static str] = &["build.lines", "lines"];

    fn read(&self, source: &Source) -> Result<Parsed<Self::Plan>, Vec<Diagnostic>> {
        let (mut plan, mut mistakes, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
        let mut start = 0;
        for text in source.text().lines() {
            let span = Span { start, end: start + text.len() };
            start = span.end + 1;
            let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
            if !["from", "run", "copy", "use"].contains(&word) {
                mistakes.push(Diagnostic::error(format!("unknown word `{word}`")).at(span));
            } else if rest.contains("sudo") {
                warnings.push(Diagnostic::warning("commands run as root anyway").at(span));
            }
            plan.push(Line { word: word.to_owned(), rest: rest.to_owned(), span });
        }
        if mistakes.is_empty() {
            Ok(Parsed::new(plan).with_warnings(warnings))
        } else {
            Err(mistakes)
        }
    }

    fn targets(&self, project: &Project<'_, Self::Plan>) -> Result<Vec<Target>, FrontendError> {
        let base = &project.plan[0];
        let location = Some(project.place(base.span));
        Ok(vec![
            Target::default()
                .with_default(true)
                .with_base(base.rest.clone())
                .with_location(location),
        ])
    }

    async fn build(
        &self,
        project: &Project<'_, Self::Plan>,
        target: &TargetPlatform,
    ) -> Result<PlatformResult, FrontendError> {
        let (mut state, mut config) = (State::scratch(), ImageConfig::new(&target.platform));
        let mut base_config = None;
        for line in project.plan {
            let step = project.step(target, &format!("{} {}", line.word, line.rest), line.span);
            match line.word.as_str() {
                "from" => {
                    let base = project.base(&line.rest, Some(line.span), &target.platform).await?;
                    state = base.state(step);
                    config = base.config(&target.platform);
                    base_config = base.image_config().cloned();
                }
                "run" => {
                    let exec = Exec::sh(&*line.rest).with_constraints(step);
                    state = state.run(project.exec(exec)).root();
                }
                "use" => {
                    let call =
                        Call::named(&*line.rest).with_options_of(&project.bridge.info().options);
                    let other = call.states(project.bridge).await?.remove(0).state;
                    state =
                        state.file(Action::copy(&other, "/", "/other/", CopyOptions::default()));
                }
                _ => {
                    let from = project.context(vec![line.rest.clone()]).await?;
                    let path = format!("/{}", line.rest);
                    state =
                        state.file(Action::copy(&from, path.clone(), path, CopyOptions::default()));
                }
            }
        }
        Ok(PlatformResult::new(state, &config).based_on(base_config.as_ref()))
    }
}

const FILE: &str = "from alpine:3.20\nrun make\ncopy src\n";

fn fixture(text: &str) -> Fixture {
    Fixture::new().file("dockerfile", "build.lines", text.to_owned()).any_image()
}

/// The commands of a graph.
fn execs(definition: &kiln_llb::Definition) -> Vec<pb::ExecOp> {
    let ops = definition.ops().map(|op| op.unwrap().1.op);
    ops.filter_map(|op| if let Some(Op::Exec(exec)) = op { Some(exec) } else { None }).collect()
}

fn identifiers(definition: &kiln_llb::Definition) -> Vec<String> {
    let ops = definition.ops().map(|op| op.unwrap().1.op);
    ops.filter_map(|op| match op {
        Some(Op::Source(source)) => Some(source.identifier),
        _ => None,
    })
    .collect()
}

#[test]
fn what_the_user_sets_for_all_commands_reaches_them() {
    let built = fixture(FILE)
        .option("add-hosts", "db=10.0.0.7")
        .option("force-network-mode", "none")
        .option("ulimit", "nofile=10:20")
        .option("shm-size", "65536")
        .option("hostname", "builder")
        .option("cgroup-parent", "/grp")
        .option("memory", "1000000")
        .build(&Lines)
        .unwrap();
    let exec = &execs(built.definition())[0];
    let meta = exec.meta.as_ref().unwrap();
    assert_eq!(
        (meta.extra_hosts[0].host.as_str(), meta.extra_hosts[0].ip.as_str()),
        ("db", "10.0.0.7")
    );
    assert_eq!(exec.network, i32::from(pb::NetMode::None));
    assert_eq!((meta.ulimit[0].soft, meta.ulimit[0].hard), (10, 20));
    assert_eq!((meta.hostname.as_str(), meta.cgroup_parent.as_str()), ("builder", "/grp"));
    let shm = exec.mounts.iter().find(|mount| mount.dest == "/dev/shm").unwrap();
    assert_eq!(shm.tmpfs_opt.as_ref().unwrap().size, 65536);
    let mut limits =
        built.definition().metadata.values().filter_map(|m| m.linux_resources.as_ref());
    assert_eq!(limits.next().unwrap().memory, 1_000_000);
}

#[test]
fn labels_of_the_user_are_in_the_image_although_the_language_does_not_put_them_there() {
    let labels = |fixture: Fixture| {
        let built = fixture.build(&Lines).unwrap();
        built.config().unwrap().config.labels.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(labels(fixture(FILE)), []);
    let labelled = fixture(FILE).option("label:who", "me");
    assert_eq!(labels(labelled), [("who".to_owned(), "me".to_owned())]);
}

#[test]
fn a_target_of_a_language_without_targets_does_not_exist() {
    let error = fixture(FILE).option("target", "nope").build(&Lines).unwrap_err().to_string();
    assert!(error.contains("target \"nope\" does not exist: the file has no targets"), "{error}");
}

#[test]
fn an_older_daemon_is_not_asked_for_what_it_cannot_do() {
    let built = fixture(FILE)
        .option("ulimit", "nofile=10")
        .option("shm-size", "65536")
        .without_llb_cap("exec.meta.ulimit")
        .without_llb_cap("exec.mount.tmpfs.size")
        .build(&Lines)
        .unwrap();
    let exec = &execs(built.definition())[0];
    assert_eq!(exec.meta.as_ref().unwrap().ulimit, []);
    assert_eq!(exec.mounts.len(), 1);
}

#[test]
fn each_platform_is_built_from_its_own_base() {
    let arm = Platform::new("linux", "arm64");
    let mut config = ImageConfig::new(&arm);
    config.config.env.push("ARM=1".into());
    let built = fixture(FILE)
        .image_for("docker.io/library/alpine:3.20", &arm, config.to_json())
        .platform("linux/amd64,linux/arm64")
        .build(&Lines)
        .unwrap();
    assert!(built.is_multi_platform());
    let env = |id: &str| built.platform(id).unwrap().image_config().unwrap().config.env;
    assert_eq!(env("linux/arm64").last().unwrap(), "ARM=1");
    assert_eq!(env("linux/amd64").len(), 1);
    let names: Vec<String> = built.result.platforms().into_iter().map(|entry| entry.id).collect();
    assert_eq!(names, ["linux/amd64", "linux/arm64"]);
    assert!(built.result.metadata.contains_key("containerimage.base.config/linux/arm64"));
}

#[test]
fn only_what_is_copied_is_transferred_and_what_is_ignored_is_not() {
    let built = fixture(FILE).file("context", ".dockerignore", "*.log\n").build(&Lines).unwrap();
    let sources = built.definition().ops().filter_map(|op| match op.unwrap().1.op {
        Some(Op::Source(source)) if source.identifier == "local://context" => Some(source.attrs),
        _ => None,
    });
    let attrs: Vec<_> = sources.collect();
    assert_eq!(attrs[0]["local.followpaths"], r#"["src"]"#);
    assert_eq!(attrs[0]["local.excludepatterns"], r#"["*.log"]"#);
}

#[test]
fn a_named_context_takes_the_place_of_the_base() {
    let built = fixture(FILE)
        .option("context:alpine:3.20", "docker-image://busybox")
        .build(&Lines)
        .unwrap();
    let found = identifiers(built.definition());
    assert!(found.contains(&"docker-image://docker.io/library/busybox:latest".into()), "{found:?}");
}

#[test]
fn a_repository_is_a_context_with_the_file_in_it() {
    let git = "git://example.com/acme/app.git#main";
    let built = Fixture::new()
        .remote_file(git, "build.lines", FILE)
        .any_image()
        .option("context", "https://example.com/acme/app.git#main")
        .build(&Lines)
        .unwrap();
    assert!(identifiers(built.definition()).contains(&git.into()));
}

#[test]
fn a_step_that_is_not_cached_says_so() {
    let built = fixture(FILE).option("no-cache", "").build(&Lines).unwrap();
    let ignored = built.definition().metadata.values().filter(|metadata| metadata.ignore_cache);
    assert_eq!(ignored.count(), 1);
}

#[test]
fn a_warning_belongs_to_the_vertex_that_loads_the_file() {
    let built = fixture("from scratch\nrun sudo make\n").build(&Lines).unwrap();
    let warning = &built.asked.warnings[0];
    assert_eq!(warning.ranges[0].start.line, 2);
    assert_eq!(warning.info.as_ref().unwrap().filename(), "build.lines");
    let load = built.asked.solves[0].definition.head().unwrap().unwrap().0;
    assert_eq!(warning.vertex, load);
}

#[test]
fn a_failing_step_points_into_the_file() {
    let built = fixture(FILE).build(&Lines).unwrap();
    let source = built.definition().source.as_ref().unwrap();
    assert_eq!(
        (source.infos[0].filename.as_str(), source.infos[0].language.as_str()),
        ("build.lines", "lines")
    );
    let lines = source.locations.values().flat_map(|l| &l.locations).flat_map(|l| &l.ranges);
    let mut lines: Vec<i32> = lines.map(|range| range.start.unwrap().line).collect();
    lines.sort_unstable();
    assert_eq!(lines, [1, 2]);
}

fn answer(fixture: &Fixture, request: &str) -> Result<Value, FrontendError> {
    let bridge = fixture.clone().option("requestid", request).bridge();
    let result = block_on(Lines.solve(&bridge))?;
    Ok(serde_json::from_slice(&result.metadata["result.json"]).unwrap())
}

#[test]
fn requests_are_answered_for_free() {
    let fixture = fixture(FILE);
    let names = answer(&fixture, requests::DESCRIBE).unwrap();
    assert_eq!(names[1]["name"], requests::TARGETS);
    let targets = answer(&fixture, requests::TARGETS).unwrap();
    assert_eq!(targets["targets"][0]["base"], "alpine:3.20");
    let converted = answer(&fixture, requests::CONVERT_LLB).unwrap();
    assert_eq!(converted["def"].as_object().unwrap().len(), 5);
    assert_eq!(converted["source"]["infos"][0]["filename"], "build.lines");
    let lint = answer(&fixture, requests::LINT).unwrap();
    assert_eq!(lint["warnings"], Value::Null);
    let error = answer(&fixture, "frontend.nosuch").unwrap_err();
    assert_eq!(error.to_string(), "unsupported request frontend.nosuch");
}

#[test]
fn a_check_of_a_wrong_file_is_an_answer_and_a_build_of_it_an_error() {
    let wrong = fixture("form alpine\n");
    let lint = answer(&wrong, requests::LINT).unwrap();
    assert_eq!(lint["buildError"]["location"]["ranges"][0]["start"]["line"], 1);
    // Whoever asks shows the line, and has all to show it well.
    let message = lint["buildError"]["message"].as_str().unwrap();
    assert!(message.starts_with("unknown word `form`") && !message.contains('\n'), "{message}");
    assert_eq!(lint["diagnostics"][0]["span"], serde_json::json!({"start": 0, "end": 11}));
    let error = wrong.build(&Lines).unwrap_err();
    assert!(error.to_string().contains("unknown word `form`"), "{error}");
    assert!(error.has_source());
}

#[test]
fn a_base_that_is_not_there_is_said_with_its_line() {
    let error = Fixture::new().file("dockerfile", "lines", FILE).build(&Lines).unwrap_err();
    assert!(
        error.to_string().starts_with("error: base image alpine:3.20 cannot be used"),
        "{error}"
    );
    let place = error.status().sources().next().unwrap();
    assert_eq!((place.info.filename.as_str(), place.ranges[0].start.unwrap().line), ("lines", 1));
}

#[test]
fn a_file_that_is_not_there_is_said_with_what_to_do() {
    let error = Fixture::new().build(&Lines).unwrap_err().to_string();
    assert_eq!(
        error,
        "failed to read lines: open build.lines: no such file or directory (pass its directory with --local \
         dockerfile=DIR, and another name with --opt filename=NAME)"
    );
}

#[test]
fn a_frontend_is_a_function_of_another() {
    let inner = fixture("from busybox\nrun inner\n");
    let built =
        fixture("from scratch\nuse inner\n").frontend("inner", Inner(inner)).build(&Lines).unwrap();
    let found = identifiers(built.definition());
    assert!(found.iter().any(|name| name.contains("busybox")), "{found:?}");
    assert_eq!(execs(built.definition())[0].meta.as_ref().unwrap().args[2], "inner");
}

/// The language with a file of its own.
struct Inner(Fixture);

#[async_trait]
impl Frontend for Inner {
    async fn solve(
        &self,
        bridge: &dyn kiln_frontend::Bridge,
    ) -> Result<kiln_frontend::BuildResult<kiln_frontend::Ref>, FrontendError> {
        let made = self.0.build_async(&Lines).await?;
        let definition = made.definition().clone();
        let request = kiln_frontend::Solve::default().with_definition(definition);
        bridge.solve(request).await
    }
}

#[test]
fn another_frontend_is_called_for_the_file_if_the_user_says_so() {
    let bridge =
        fixture(FILE).option("build-arg:BUILDKIT_SYNTAX", "example.com/other:1 x").bridge();
    block_on(Lines.solve(&bridge)).unwrap();
    let forward = &bridge.asked().forwards[0];
    assert_eq!(forward.frontend, "gateway.v0");
    assert_eq!(forward.options["source"], "example.com/other:1");
    assert_eq!(forward.options["cmdline"], "example.com/other:1 x");
}

#[test]
fn a_requirement_nobody_meets_is_a_typed_error() {
    let error = fixture(FILE).option("frontend.caps", "x.y").build(&Lines).unwrap_err();
    assert_eq!(error.to_string(), "unsupported frontend capability x.y");
    fixture(FILE)
        .option(
            "frontend.caps",
            "moby.buildkit.frontend.inputs,moby.buildkit.frontend.subrequests+forward",
        )
        .build(&Lines)
        .unwrap();
}
