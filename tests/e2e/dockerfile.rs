//! Dockerfiles, built for real: every kind of step, by Kiln alone and beside Docker's BuildKit.

use std::process::Command;
use std::time::Duration;

use kiln_tests::archive::{self, Entry, tar, tar_gz};
use kiln_tests::{
    Dockerd, Image, ImageConfig, Kiln, Project, Registry, WebServer, has_program, run, sha256, skip,
};
use serde_json::Value;

use super::frontends::{pack, pack_program};
use super::peer::run_config;

/// Steps that every BuildKit of the last years has.
const COMMON: &str = r#"
FROM BASE AS base
ONBUILD RUN echo inherited > /onbuild

FROM base AS work
ARG NAME=world
ENV GREETING="hello $NAME" EMPTY=
# A directory that COPY makes gets the permissions of --chmod from newer ones only.
WORKDIR /work/src
WORKDIR /work
COPY --chmod=0750 src/ ./src/
COPY src/*.txt src/deep /globbed/
ADD pack.tar.gz /unpacked/
RUN --mount=type=cache,target=/cache,uid=7,gid=8 stat -c '%u:%g' /cache > cache
RUN --mount=type=tmpfs,target=/scratch echo gone > /scratch/file && ls /scratch > tmpfs
RUN --mount=type=bind,source=src,target=/bound,rw cat /bound/one.txt > bound && echo x > /bound/new
RUN --mount=type=bind,from=base,target=/other ls /other/onbuild 2>/dev/null | wc -l > from
RUN --mount=type=secret,id=token,mode=0440,uid=7 stat -c '%u %a' /run/secrets/token > secret
RUN ["/bin/sh", "-c", "echo $0 exec form > exec"]
RUN echo "$GREETING" \
    # a comment between
    && echo "$GREETING" > greeting

FROM BASE
COPY --from=work --chown=builder:builder /work /work
COPY --from=work /onbuild /unpacked /globbed /taken/
COPY --from=1 /work/greeting /by-index
LABEL one=1 two="2 words"
USER 1000
EXPOSE 80 53/udp
VOLUME /data
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s --retries=2 CMD ["true"]
SHELL ["/bin/sh", "-ec"]
RUN id -u > /tmp/id || true
ENTRYPOINT ["/bin/sh"]
CMD ["-c", "exit"]
"#;

/// Where Dockerfiles are built.
struct Scene {
    registry: Registry,
    project: Project,
    base: String,
}

impl Scene {
    /// Sets it; `None`, and aloud, where it cannot be.
    fn begin() -> Option<Self> {
        let registry = Registry::start()?;
        let config = ImageConfig {
            env: vec!["PATH=/bin".into(), "BASE=yes".into()],
            labels: [("vendor".into(), "tests".into())].into(),
            ..ImageConfig::default()
        };
        let base = Image::busybox(config).push(&registry, "library/base:1");
        let project = Project::new(&[
            ("src/one.txt", "one\n"),
            ("src/two.txt", "two\n"),
            ("src/deep/three.go", "three\n"),
            ("src/deep/notes.md", "ignored\n"),
            (".dockerignore", "**/*.md\n!docs/*.md\n"),
            ("docs/guide.md", "guide\n"),
            ("token", "secret"),
        ]);
        let entries = [Entry::Directory("a/"), Entry::File("a/b", 0o640, 1000, b"b\n")];
        project.write("pack.tar.gz", tar_gz(&entries));
        project.write("pack.tar", tar(&entries));
        Some(Self { registry, project, base })
    }

    fn dockerfile(&self, text: &str) {
        self.project.write("Dockerfile", text.replace("BASE", &self.base).trim_start());
    }
}

/// Builds with both and holds the results against each other.
fn same_on_both(kiln: &Kiln, docker: &Dockerd, project: &Project) {
    let theirs = kiln.path("theirs.tar");
    let output = format!("type=tar,dest={}", theirs.display());
    let token = project.path().join("token").display().to_string();
    let secret = format!("id=token,src={token}");
    let told = ["--secret", &secret, "--build-arg", "NAME=you"];
    docker.build(&[&told[..], &["--output", &output]].concat(), project.path()).succeeds();
    docker.build(&[&told[..], &["--tag", "both:1"]].concat(), project.path()).succeeds();
    let inspected = docker.docker(&["image", "inspect", "both:1"], b"").succeeds();
    let inspected: Value = serde_json::from_slice(&inspected.stdout).unwrap();

    let build = || {
        let build =
            kiln.build().of(project).frontend("dockerfile.v0").flag(format!("--secret={secret}"));
        build.opt("build-arg:NAME", "you").opt("force-network-mode", "none")
    };
    let ours = kiln.path("ours.tar");
    build().output("type=tar", &ours).run().succeeds();
    assert_eq!(archive::differences(&ours, &theirs), [""; 0]);
    let (built, outcome) = build().image();
    assert_eq!(outcome.worked(), [""; 0], "{outcome}");
    assert_eq!(run_config(built.run_config()), run_config(&inspected[0]["Config"]));
    assert_eq!(built.run_config()["Healthcheck"], inspected[0]["Config"]["Healthcheck"]);
}

#[test]
fn a_dockerfile_becomes_the_same_on_dockers_buildkit() {
    let Some(scene) = Scene::begin() else { return };
    let Some(docker) = Dockerd::start() else { return };
    scene.dockerfile(COMMON);
    same_on_both(&Kiln::new(), &docker, &scene.project);
}

#[test]
fn the_frontends_image_builds_new_syntax_on_an_old_buildkit() {
    let Some(scene) = Scene::begin() else { return };
    let Some(docker) = Dockerd::start() else { return };
    let kiln = Kiln::new();
    let image = pack_program(&kiln, &scene.registry, "kiln-frontend-dockerfile");
    let modern = "
COPY --link src/one.txt /linked/
COPY <<one <<'two' /inline/
hello $PATH
one
hello $PATH
two
RUN <<EOF
echo first > /tmp/script || true
echo second
EOF
";
    let text = COMMON.replace("SHELL [", &format!("USER root{modern}SHELL ["));
    scene.dockerfile(&format!("# syntax={image}\n{text}"));
    same_on_both(&kiln, &docker, &scene.project);
}

#[test]
fn every_kind_of_source_and_copy_ends_where_it_should() {
    let Some(scene) = Scene::begin() else { return };
    let web = WebServer::start();
    let file = web.serve("/tool", b"tool\n".as_slice());
    let pack = web.serve("/pack.tar", tar(&[Entry::File("inside", 0o600, 0, b"in\n")]));
    let repository = repository(&web, "from git\n");
    let checksum = sha256(b"tool\n");
    let git = match &repository {
        Some(address) => {
            format!("ADD {address}#main:sub /git/\nADD --keep-git-dir=true {address} /kept/\n")
        }
        None => String::new(),
    };
    scene.dockerfile(&format!(
        "FROM scratch
ADD --checksum=sha256:{checksum} --chmod=0755 {file} /bin/
ADD --unpack=true {pack} /unpacked/
ADD --unpack=false pack.tar /packed/
COPY --link --chown=7:8 src/one.txt /linked/
COPY --parents src/deep/./three.go src/one.txt /parents/
COPY --exclude=*.txt src/ /excluded/
COPY --chmod=u=rwX,go= src/deep /modes/
COPY docs /docs/
{git}"
    ));
    let kiln = Kiln::new();
    let out = kiln.path("out.tar");
    kiln.build()
        .of(&scene.project)
        .frontend("dockerfile.v0")
        .output("type=tar", &out)
        .run()
        .succeeds();
    let files = archive::files(&out);
    let file =
        |path: &str| String::from_utf8(files.get(path).cloned().unwrap_or_default()).unwrap();
    assert_eq!(file("bin/tool"), "tool\n");
    assert_eq!(archive::owner_and_mode(&out, "bin/tool").unwrap().1 & 0o7777, 0o755);
    assert_eq!(file("unpacked/inside"), "in\n");
    assert!(files.contains_key("packed/pack.tar"));
    assert_eq!(archive::owner_and_mode(&out, "linked/one.txt").unwrap().0, 7);
    assert_eq!(file("parents/three.go"), "three\n");
    assert_eq!(file("parents/src/one.txt"), "one\n");
    assert!(
        files.contains_key("excluded/deep/three.go") && !files.contains_key("excluded/one.txt")
    );
    assert_eq!(archive::owner_and_mode(&out, "modes/three.go").unwrap().1 & 0o7777, 0o600);
    assert_eq!(file("docs/guide.md"), "guide\n");
    if repository.is_some() {
        assert_eq!(file("git/file"), "from git\n");
        assert!(files.contains_key("kept/.git/HEAD"));
    }
}

/// A repository behind HTTP with one commit of one file; `None`, and aloud, where there is no git.
pub(super) fn repository(web: &WebServer, text: &str) -> Option<String> {
    if !has_program("git") {
        skip("git");
        return None;
    }
    let work = Project::new(&[("sub/file", text)]);
    let git = |words: &[&str]| {
        let mut command = Command::new("git");
        command
            .current_dir(work.path())
            .args(["-c", "user.name=t", "-c", "user.email=t@t"])
            .args(words);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null");
        run(command, b"", Duration::from_secs(30)).succeeds();
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message=one"]);
    git(&["clone", "--quiet", "--bare", ".", "bare.git"]);
    git(&["-C", "bare.git", "update-server-info"]);
    let bare = work.path().join("bare.git");
    let mut pending = vec![bare.clone()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else {
                let name = path.strip_prefix(&bare).unwrap().display().to_string();
                web.serve(&format!("/repository.git/{name}"), std::fs::read(&path).unwrap());
            }
        }
    }
    Some(web.url("/repository.git"))
}

#[test]
fn two_platforms_become_one_index() {
    let Some(scene) = Scene::begin() else { return };
    scene.dockerfile(
        "FROM --platform=$BUILDPLATFORM BASE AS build
ARG TARGETPLATFORM
RUN echo $TARGETPLATFORM > /platform
FROM scratch
ARG TARGETARCH
COPY --from=build /platform /$TARGETARCH
",
    );
    let kiln = Kiln::new();
    let out = kiln.path("out.tar");
    let build = kiln.build().of(&scene.project).frontend("dockerfile.v0");
    build.opt("platform", "linux/amd64,linux/arm64").output("type=oci", &out).run().succeeds();
    let files = archive::files(&out);
    let blob = |digest: &Value| -> Value {
        let name = digest.as_str().unwrap().replace(':', "/");
        serde_json::from_slice(&files[&format!("blobs/{name}")]).unwrap()
    };
    let outer: Value = serde_json::from_slice(&files["index.json"]).unwrap();
    let index = blob(&outer["manifests"][0]["digest"]);
    let platforms: Vec<&str> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|manifest| manifest["platform"]["architecture"].as_str().unwrap())
        .collect();
    assert_eq!(platforms, ["amd64", "arm64"]);
}

#[test]
fn a_syntax_directive_leads_to_another_language() {
    let Some(scene) = Scene::begin() else { return };
    let kiln = Kiln::new();
    let image = pack(&kiln, &scene.registry);
    scene.dockerfile(&format!(
        "# syntax={image}
apiVersion: v1alpha1
images:
- name: other
  from: BASE
  external: [{{src: src/one.txt, dst: /here}}]
"
    ));
    let out = kiln.path("out.tar");
    kiln.build()
        .of(&scene.project)
        .frontend("dockerfile.v0")
        .output("type=tar", &out)
        .run()
        .succeeds();
    assert_eq!(archive::files(&out)["here"], b"one\n");
}

#[test]
fn dockers_own_syntax_image_needs_no_pull_and_may_be_pulled() {
    let Some(scene) = Scene::begin() else { return };
    scene.dockerfile("# syntax=docker/dockerfile:1.7\nFROM BASE\n");
    let kiln = Kiln::new();
    let out = kiln.path("out.tar");
    let build =
        || kiln.build().of(&scene.project).frontend("dockerfile.v0").output("type=tar", &out);
    build().run().succeeds().says(&["docker/dockerfile:1.7 is linked in"]);
    let failed = build().flag("--pull-frontends").run().fails();
    assert!(!failed.stderr.contains("is linked in"), "{failed}");
}

#[test]
fn a_failing_step_is_shown_in_the_users_file() {
    let Some(scene) = Scene::begin() else { return };
    scene.dockerfile("FROM BASE\n\nRUN true && \\\n    exit 7\n");
    let kiln = Kiln::new();
    let failed = kiln.build().of(&scene.project).frontend("dockerfile.v0").run().fails();
    failed.says(&["Dockerfile:3", ">>> RUN true", ">>>     exit 7", "exit code: 7"]);
}
