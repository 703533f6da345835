//! `kiln why`: of a build whose steps ran again, what has changed is named, and nothing else.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use kiln_tests::archive::{Entry, tar};
use kiln_tests::{Build, Image, ImageConfig, Kiln, Kilnd, Outcome, Project, Registry, WebServer};
use serde_json::Value;

use super::dockerfile::repository;

/// Where images and downloads are.
struct Scene {
    registry: Registry,
    web: WebServer,
    base: String,
}

impl Scene {
    /// Sets it; `None`, and aloud, where it cannot be.
    fn begin() -> Option<Self> {
        let registry = Registry::start()?;
        let base = image().push(&registry, "library/base:1");
        Some(Self { registry, web: WebServer::start(), base })
    }

    fn project(&self, dockerfile: &str) -> Project {
        let dockerfile = dockerfile.replace("BASE", &self.base);
        Project::new(&[("Dockerfile", &dockerfile), ("a", "1\n"), ("dir/b", "1\n")])
    }
}

fn image() -> Image {
    Image::busybox(ImageConfig { env: vec!["PATH=/bin".into()], ..ImageConfig::default() })
}

fn build<'a>(kiln: &'a Kiln, project: &Project) -> Build<'a> {
    kiln.build().frontend("dockerfile.v0").of(project).opt("force-network-mode", "none")
}

/// The explanation of the last build.
#[track_caller]
fn why(kiln: &Kiln) -> Value {
    let said = kiln.run(&["why", "--format=json"]).succeeds();
    serde_json::from_slice(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// All differences, and files that are not reproducible, in a few words.
fn named(explanation: &Value) -> Vec<String> {
    let mut named = Vec::new();
    for step in explanation["steps"].as_array().unwrap() {
        for difference in step["differences"].as_array().into_iter().flatten() {
            let text = |key: &str| difference[key].as_str().unwrap_or_default().to_owned();
            named.push(match difference["kind"].as_str().unwrap() {
                "file" => {
                    let ways = difference["changed"].as_array().unwrap().iter();
                    let ways: Vec<_> = ways.map(|way| way.as_str().unwrap()).collect();
                    format!("file {} {}", text("path"), ways.join(","))
                }
                "fact" => format!("{} {}", text("what"), text("name")).trim().to_owned(),
                other => other.to_owned(),
            });
        }
        for file in step["notReproducible"]["files"].as_array().into_iter().flatten() {
            named.push(format!("not reproducible {}", file["path"].as_str().unwrap()));
        }
    }
    named
}

/// A change that is planted between two builds.
struct Planted<'a> {
    name: &'a str,
    dockerfile: String,
    /// Makes the change.
    change: Box<dyn Fn(&Project) + 'a>,
    /// Flags of both builds, the first and the second.
    flags: [Vec<String>; 2],
    /// What is named.
    cause: Vec<&'a str>,
}

impl<'a> Planted<'a> {
    fn new(name: &'a str, dockerfile: &str, cause: &[&'a str]) -> Self {
        let (dockerfile, change) = (dockerfile.to_owned(), Box::new(|_: &Project| {}));
        Self { name, dockerfile, change, flags: Default::default(), cause: cause.to_vec() }
    }

    fn change(self, change: impl Fn(&Project) + 'a) -> Self {
        Self { change: Box::new(change), ..self }
    }

    /// Another Dockerfile, with this text in place of that.
    fn edit(self, from: &'a str, to: &'a str) -> Self {
        self.change(move |project| {
            let text = std::fs::read_to_string(project.path().join("Dockerfile")).unwrap();
            assert!(text.contains(from), "{text}");
            project.write("Dockerfile", text.replace(from, to));
        })
    }

    fn flags(self, first: &[&str], second: &[&str]) -> Self {
        let owned = |flags: &[&str]| flags.iter().map(|flag| (*flag).to_owned()).collect();
        Self { flags: [owned(first), owned(second)], ..self }
    }
}

/// A platform that this machine runs, and that is another one for the cache.
const OTHER_PLATFORM: &str = match cfg!(target_arch = "aarch64") {
    true => "--opt=platform=linux/arm64/v9",
    false => "--opt=platform=linux/amd64/v2",
};

const COPY: &str = "FROM scratch\nCOPY a /in/a\n";

fn planted(scene: &Scene) -> Vec<Planted<'_>> {
    let download = scene.web.serve("/tool", b"one".as_slice());
    let moved = image().push(&scene.registry, "library/moved:1");
    let mut planted = vec![
        Planted::new("file content", COPY, &["file a content"])
            .change(|project| drop(project.write("a", "2\n"))),
        Planted::new("mode", COPY, &["file a mode"]).change(|project| {
            let file = project.path().join("a");
            std::fs::set_permissions(file, Permissions::from_mode(0o755)).unwrap();
        }),
        Planted::new("owner", "FROM BASE\nCOPY --chown=1:1 a /in/a\n", &["owner"])
            .edit("--chown=1:1", "--chown=2:1"),
        Planted::new(
            "owner of a file",
            "FROM BASE AS made\nRUN touch /f && chown 1:1 /f\nFROM scratch\nCOPY --from=made /f /f\n",
            &["command"],
        )
        .edit("chown 1:1", "chown 2:1"),
        Planted::new("new file", "FROM scratch\nCOPY dir /in\n", &["file dir/new new"])
            .change(|project| drop(project.write("dir/new", ""))),
        Planted::new("ARG", "FROM BASE\nARG WHO\nRUN echo arg $WHO > /who\n", &["build-argument WHO"])
            .flags(&["--opt=build-arg:WHO=you"], &["--opt=build-arg:WHO=me"]),
        Planted::new("ENV", "FROM BASE\nENV WHO=you\nRUN echo env $WHO > /who\n", &["variable WHO"])
            .edit("WHO=you", "WHO=me"),
        Planted::new(
            "base digest",
            &format!("FROM {moved}\nRUN echo base > /made\n"),
            &["image"],
        )
        .change(|_| {
            let more = tar(&[Entry::File("etc/more", 0o644, 0, b"more\n")]);
            image().layer(more).push(&scene.registry, "library/moved:1");
        }),
        Planted::new("RUN text", "FROM BASE\nRUN echo first > /text\n", &["command"])
            .edit("echo first", "echo second"),
        Planted::new(
            "secret id",
            "FROM BASE\nRUN --mount=type=secret,id=one,target=/secret cat /secret | wc -c > /length\n",
            &["secret /secret"],
        )
        .edit("id=one", "id=two")
        .flags(&["--secret=id=one,src=SRC/a"], &["--secret=id=two,src=SRC/a"]),
        Planted::new(
            "mount option",
            "FROM BASE\nRUN --mount=type=tmpfs,target=/t,size=1000000 ls /t > /list\n",
            &["mount /t"],
        )
        .edit("size=1000000", "size=2000000"),
        Planted::new("platform", "FROM BASE\nRUN echo for a platform > /made\n", &["platform"])
            .flags(&[], &[OTHER_PLATFORM]),
        Planted::new(
            "epoch",
            "FROM BASE\nARG SOURCE_DATE_EPOCH\nRUN echo at $SOURCE_DATE_EPOCH > /at\n",
            &["build-argument SOURCE_DATE_EPOCH"],
        )
        .flags(
            &["--opt=build-arg:SOURCE_DATE_EPOCH=1"],
            &["--opt=build-arg:SOURCE_DATE_EPOCH=2"],
        ),
        Planted::new("http etag", &format!("FROM scratch\nADD {download} /tool\n"), &["download"])
            .change(|_| drop(scene.web.serve("/tool", b"two".as_slice()))),
        Planted::new(
            "ignored file",
            "FROM scratch\nCOPY . /in\n",
            &[],
        )
        .change(|project| drop(project.write("notes.md", "nobody reads this\n"))),
        Planted::new(
            "not reproducible",
            "FROM BASE\nRUN head -c 9 /dev/urandom > /drawn && echo same > /same\n",
            &["not reproducible drawn"],
        )
        .flags(&[], &["--no-cache"]),
    ];
    if let Some(git) = repository(&scene.web, "one\n") {
        let git =
            Planted::new("git commit", &format!("FROM scratch\nADD {git} /git\n"), &["commit"]);
        planted.push(git.change(|_| drop(repository(&scene.web, "two\n"))));
    }
    planted
}

#[test]
fn every_planted_change_is_named_and_nothing_else() {
    let Some(scene) = Scene::begin() else { return };
    let kiln = Kiln::new();
    let mut wrong = Vec::new();
    for planted in planted(&scene) {
        let project = scene.project(&planted.dockerfile);
        project.write(".dockerignore", "*.md\n.dockerignore\n");
        project.write("notes.md", "");
        let run = |flags: &[String]| {
            let source = project.path().display().to_string();
            let flags = flags.iter().map(|flag| flag.replace("SRC", &source));
            flags.fold(build(&kiln, &project), Build::flag).run().succeeds()
        };
        run(&planted.flags[0]);
        (planted.change)(&project);
        let outcome = run(&planted.flags[1]);
        let explanation = why(&kiln);
        let mut named = named(&explanation);
        named.dedup();
        if named != planted.cause {
            let text = kiln.run(&["why"]).text();
            wrong.push(format!(
                "{}: {named:?} instead of {:?}\n{text}\n{explanation:#}\n{outcome}",
                planted.name, planted.cause
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// A step that reads a file, one that follows, and one that does not.
const CHAIN: &str = "FROM BASE AS made
COPY a /in/a
RUN cat /in/a > /out
FROM BASE
RUN echo other > /other
COPY --from=made /out /out
";

#[test]
fn what_follows_is_because_of_the_change_and_both_are_compared_with_the_last_build() {
    let Some(scene) = Scene::begin() else { return };
    let (kiln, project) = (Kiln::new(), scene.project(CHAIN));
    build(&kiln, &project).run().succeeds();
    let first = why(&kiln);
    assert!(named(&first).is_empty() && first["steps"][0]["cause"] == "new", "{first:#}");
    // In between, nothing runs; that build says so, and the next one is not compared with it.
    let outcome = build(&kiln, &project).run().succeeds();
    assert_eq!(outcome.worked(), [""; 0], "{outcome}");
    let none = kiln.run(&["why"]).succeeds();
    assert!(none.text().contains("every step that can be cached was"), "{none}");

    project.write("a", "2\n");
    build(&kiln, &project).run().succeeds();
    let explanation = why(&kiln);
    let steps = explanation["steps"].as_array().unwrap();
    let causes: Vec<_> = steps.iter().map(|step| step["cause"].as_str().unwrap()).collect();
    assert_eq!(causes, ["changed", "because", "because"], "{explanation:#}");
    assert_eq!(steps[0]["place"]["line"], 2);
    let difference = &steps[0]["differences"][0];
    assert_ne!(difference["beforeDigest"], difference["afterDigest"]);
    assert!(difference["beforeDigest"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(steps[0]["comparedWith"]["build"], first["build"]);
    assert_eq!(steps[1]["because"][0], steps[0]["name"]);

    // A step by its name, of a build by its id or of the last one; what did not run has no cause.
    let id = explanation["build"].as_str().unwrap();
    for words in [&["why", id, "RUN cat*"][..], &["why", "cat /in/a"]] {
        let text = kiln.run(words).succeeds().text();
        assert!(text.contains("because") && !text.contains("a: content"), "{text}");
    }
    kiln.run(&["why", "RUN echo other*"]).fails().says(&["came from the cache"]);
    kiln.run(&["why", "nonsense"]).fails().says(&["no step that is called"]);
    kiln.run(&["why", "nonsense", "RUN *"]).fails().says(&["no build nonsense"]);
}

#[test]
fn a_build_fails_if_a_step_ran_that_was_expected_in_the_cache() {
    let Some(scene) = Scene::begin() else { return };
    let (kiln, project) = (Kiln::new(), scene.project(CHAIN));
    let expecting =
        |pattern: &str| build(&kiln, &project).flag(format!("--expect-cached={pattern}")).run();
    let code = |outcome: &Outcome| outcome.status.code();
    let outcome = expecting("RUN cat*");
    assert_eq!(code(&outcome), Some(3), "{outcome}");
    let outcome = expecting("*").succeeds();
    assert_eq!(outcome.worked(), [""; 0], "{outcome}");
    project.write("a", "3\n");
    let outcome = expecting("RUN echo*");
    assert_eq!(code(&outcome), Some(0), "what was not named may run: {outcome}");
    project.write("a", "4\n");
    let outcome = expecting("COPY a*").says(&["a: content", "expected in the cache"]);
    assert_eq!(code(&outcome), Some(3), "{outcome}");
    let outcome = expecting("RUN nonsense").says(&["fits none of the steps", "RUN echo other"]);
    assert_eq!(code(&outcome), Some(3), "{outcome}");
}

#[test]
fn a_miss_of_an_imported_cache_says_what_the_cache_does_not_know() {
    let Some(scene) = Scene::begin() else { return };
    let (kiln, project) = (Kiln::new(), scene.project(CHAIN));
    let cache = scene.registry.reference("cache:1");
    let export = format!("--export-cache=type=registry,ref={cache},mode=max");
    build(&kiln, &project).flag(export).run().succeeds();
    // On another machine, which knows nothing but the cache.
    project.write("a", "2\n");
    let other = Kiln::new();
    let import = format!("--import-cache=type=registry,ref={cache}");
    build(&other, &project).flag(&import).run().succeeds();
    let explanation = why(&other);
    let steps = explanation["steps"].as_array().unwrap();
    let copy = steps.iter().find(|step| step["name"].as_str().unwrap().contains("COPY a")).unwrap();
    let known = &copy["caches"][0];
    assert!(known["cache"].as_str().unwrap().starts_with(&cache), "{copy:#}");
    assert_eq!(known["operation"], true, "{copy:#}");
    assert_eq!(known["unknownInputs"][0], "[internal] load build context", "{copy:#}");
    // A command that the cache never had.
    let dockerfile = CHAIN.replace("BASE", &scene.base).replace("echo other", "echo another");
    project.write("Dockerfile", dockerfile);
    build(&other, &project).flag(&import).run().succeeds();
    let text = other.run(&["why"]).succeeds().text();
    assert!(text.contains("has no record of this operation"), "{text}");
    // With the history of who filled it, the nearest step that it has is named.
    build(&kiln, &project).flag(&import).run().succeeds();
    let explanation = why(&kiln);
    let steps = explanation["steps"].as_array().unwrap();
    let run = steps.iter().find(|step| step["name"].as_str().unwrap().contains("another")).unwrap();
    assert_eq!(run["caches"][0]["differences"][0]["what"], "command", "{run:#}");
}

#[test]
fn a_daemon_remembers_why_after_a_restart_and_of_builds_that_failed() {
    let Some(scene) = Scene::begin() else { return };
    let project = scene.project("FROM BASE\nRUN echo one > /one\nRUN exit 7\n");
    let daemon = Kilnd::start();
    let kiln = daemon.client();
    build(&kiln, &project).run().fails();
    build(&kiln, &project).run().fails();
    let explanation = why(&kiln);
    let steps = explanation["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 1, "{explanation:#}");
    assert_eq!((&steps[0]["cause"], &steps[0]["failed"]), (&"failed-before".into(), &true.into()));
    let daemon = daemon.killed_and_restarted();
    assert_eq!(why(&daemon.client()), explanation);
}
