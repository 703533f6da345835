//! The example languages in their three forms: as a plugin, as an image, and linked into a client.

use std::collections::BTreeMap;
use std::path::Path;

use kiln_client::{Client, Export, ExportTarget, SecretSource, Session, SolveOptions};
use kiln_examples::{hardened::Hardened, plan::Plans};
use kiln_frontend::Frontend;
use kiln_tests::archive::{Entry, tar};
use kiln_tests::{Image, ImageConfig, Kiln, Kilnd, OciImage, Project, Registry, binaries};

use super::frontends::pack_program;
use super::story::{base_config, owner};

/// A package manager as far as a test goes: it makes a file for each package, and brings the shell.
const APK: &str = "#!/bin/sh
while [ \"$1\" != --cache-dir ]; do shift; done
shift 2
mkdir -p /rootfs/bin
cp /bin/busybox /rootfs/bin/sh
for package in \"$@\"; do echo \"$package\" > \"/rootfs/$package\"; done
";

/// A language with a project in it.
pub(super) struct Example {
    pub(super) program: &'static str,
    pub(super) file: &'static str,
    linked: &'static (dyn Frontend + 'static),
}

/// The example languages that describe whole images.
pub(super) static EXAMPLES: [Example; 2] = [
    Example { program: "kiln-frontend-hardened", file: "image.yaml", linked: &Hardened },
    Example { program: "kiln-frontend-plan", file: "plan.json", linked: &Plans },
];

/// A project with a file of each language.
pub(super) fn project(registry: &Registry) -> Project {
    let config = ImageConfig { user: String::new(), ..base_config() };
    let tools = [Entry::File("bin/apk", 0o755, 0, APK.as_bytes())];
    let base = Image::busybox(config).layer(tar(&tools)).push(registry, "builder:1");
    let project =
        Project::new(&[("site/index", "hello\n"), ("site/notes", "no\n"), ("Makefile", "\n")]);
    let user = owner();
    project.write(
        "accounts.yaml",
        format!("accounts:\n  run-as: web\n  users: [{{name: web, uid: {user}, gid: {user}}}]\n"),
    );
    project.write(
        "image.yaml",
        format!(
            "name: web
builder: {base}
include: [accounts.yaml]
contents: {{packages: [nginx, \"!perl\"]}}
environment: {{GREETING: hello}}
paths:
- {{type: directory, path: /var/cache/web, mode: \"0750\"}}
- {{type: context, path: /srv/site, content: site}}
- {{type: symlink, path: /site, content: srv/site}}
entrypoint: [/bin/sh]
tests:
- {{name: it greets, run: [/bin/sh, -c, 'test \"$GREETING\" = hello']}}
"
        ),
    );
    project.write(
        "plan.json",
        format!(
            r#"{{"caches": {{"work": {{"directory": "/work", "type": "locked"}}}},
 "steps": [
  {{"name": "build", "inputs": [{{"step": "prepare"}}, {{"local": true, "include": ["site"], "exclude": ["**/notes"]}}],
   "commands": [{{"cmd": "cat /app/site/index > /app/out/page; cat /app/site/* > /app/out/all"}}]}},
  {{"name": "prepare", "inputs": [{{"image": "{base}"}}], "variables": {{"WHO": "me"}}, "caches": ["work"],
   "commands": [{{"file": "out/made", "content": "by hand\n"}}, {{"cmd": "echo $WHO > /work/who; cat /work/who > /app/out/who"}}]}}
 ],
 "deploy": {{"base": {{"image": "{base}"}}, "inputs": [{{"step": "build", "include": ["out"]}}],
  "startCommand": "cat out/page", "variables": {{"A": "b"}}, "paths": ["out"]}}}}
"#
        ),
    );
    project
}

/// Builds with a frontend of this process, at a daemon.
fn linked(daemon: &Kilnd, project: &Project, example: &Example, archive: &Path) {
    daemon.client().run(&["debug", "workers"]).succeeds();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client =
            Client::connect(&format!("unix://{}", daemon.socket().display())).await.unwrap();
        let directories = ["context", "dockerfile"];
        let session = Session {
            local_dirs: directories.map(|name| (name.to_owned(), project.path().into())).into(),
            secrets: [("token".to_owned(), SecretSource::Value(b"hush".to_vec()))].into(),
            ..Session::default()
        };
        let attrs = BTreeMap::from([("rewrite-timestamp".to_owned(), "true".to_owned())]);
        let target = Some(ExportTarget::file(archive));
        let options = SolveOptions::default()
            .with_frontend_attrs(
                [("build-arg:SOURCE_DATE_EPOCH".to_owned(), "1700000000".to_owned())].into(),
            )
            .with_exports(vec![
                Export::default().with_kind("oci").with_attrs(attrs).with_target(target),
            ]);
        client.build(options, session, example.linked, Default::default()).await.unwrap();
    });
}

#[test]
fn every_seat_of_an_example_language_makes_the_same_image() {
    let Some(registry) = Registry::start() else { return };
    let project = project(&registry);
    let (kiln, daemon) = (Kiln::new(), Kilnd::start());
    for example in &EXAMPLES {
        let image = pack_program(&kiln, &registry, example.program);
        let build = |frontend: &Path| {
            let archive = kiln.path("out.tar");
            let build = kiln.build().of(&project).frontend(frontend).opt("source", &image);
            let build = build.opt("build-arg:SOURCE_DATE_EPOCH", "1700000000");
            build.output("type=oci,rewrite-timestamp=true", &archive).run().succeeds();
            OciImage::open(&archive)
        };
        let plugin = build(&binaries().path(example.program));
        let packed = build(Path::new("gateway.v0"));
        let archive = kiln.path("linked.tar");
        linked(&daemon, &project, example, &archive);
        let linked = OciImage::open(&archive);
        assert_eq!(plugin.digest, packed.digest, "{}", example.program);
        assert_eq!(plugin.digest, linked.digest, "{}", example.program);
    }
}

#[test]
fn a_test_that_fails_is_an_image_that_is_not_made() {
    let Some(registry) = Registry::start() else { return };
    let project = project(&registry);
    let path = project.path().join("image.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    project.write("image.yaml", text.replace("= hello", "= goodbye"));
    let kiln = Kiln::new();
    let build = kiln.build().of(&project).frontend(binaries().path("kiln-frontend-hardened"));
    let outcome = build.output("type=tar", &kiln.path("out.tar")).run().fails();
    outcome.says(&["test it greets", "image.yaml:"]);
}
