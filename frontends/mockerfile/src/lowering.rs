//! What files become: LLB and image configs as text, made without a daemon.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kiln_sdk::document::Source;
use kiln_sdk::frontend::{Base, BaseImage, BuildInfo, Options, Settings};
use kiln_sdk::llb::{Constraints, Definition, Local, Marshal, SourceMap, State};
use kiln_sdk::oci::{ImageConfig, Platform};
use kiln_wire::pb;

use crate::choices::Choices;
use crate::lower::{PlatformResult, Request, context_paths, lower, question};
use crate::plan::Plan;

/// The file of the article that made this language known, shortened.
const DEMO: &str = "apiVersion: v1alpha1
images:
- name: demo
  from: ubuntu:22.04
  package:
    install:
    - ca-certificates
    - curl
  external:
  - src: https://example.com/v1.10.0/bin/linux/amd64/kubectl
    dst: /usr/local/bin/kubectl
  - src: https://example.com/kustomize_v4.5.5_linux_amd64.tar.gz
    dst: /usr/local/bin/kustomize
    sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
  - src: https://example.com/helm-v3.9.1-linux-amd64.tar.gz
    dst: /tmp/helm
    install:
    - install /tmp/helm/linux-amd64/helm /usr/local/bin/helm
";

fn options(pairs: &[(&str, &str)]) -> Options {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A base image that says something about everything.
fn base() -> ImageConfig {
    let text = r#"{"architecture":"amd64","os":"linux","created":"2020-01-01T00:00:00Z",
        "config":{"Env":["PATH=/bin","LANG=C"],"Cmd":["bash"],"WorkingDir":"/srv","User":"app","Labels":{"base":"yes"}},
        "rootfs":{"type":"layers","diff_ids":[]},"history":[{"created_by":"base layer"}]}"#;
    serde_json::from_str(text).unwrap()
}

fn made(text: &str, pairs: &[(&str, &str)]) -> PlatformResult {
    let source = Source::new("Mockerfile.yaml", text);
    let kiln_sdk::frontend::Parsed { plan, warnings, .. } = Plan::read(&source).unwrap();
    assert_eq!(warnings, []);
    let info = BuildInfo::default().with_options(options(pairs));
    let options = &info.options;
    let settings = Settings::read(&info).unwrap();
    let target = plan.target(options.target()).unwrap();
    let base = question(&plan, target).map(|reference| Base::Image {
        image: Box::new(BaseImage { reference: (*reference).clone(), config: base() }),
        resolve_mode: settings.resolve_mode,
    });
    let platforms = &settings.target_platforms;
    let platform = platforms.first().cloned().unwrap_or_else(|| Platform::new("linux", "amd64"));
    let paths = context_paths(&plan, target).unwrap_or_default();
    let context = Local::default()
        .with_follow_paths(paths)
        .with_constraints(Constraints::named("[internal] load build context"));
    lower(&Request {
        source: &source,
        map: &SourceMap::new("Mockerfile.yaml", "mockerfile", text),
        plan: &plan,
        target,
        platform: &platform,
        many_platforms: platforms.len() > 1,
        choices: &Choices::read(options).unwrap(),
        settings: &settings,
        info: &info,
        base: base.as_ref(),
        context: &State::local("context", context),
    })
}

fn definition(made: &PlatformResult) -> Definition {
    made.state.marshal(&Marshal::default()).unwrap()
}

fn lowered(text: &str, pairs: &[(&str, &str)]) -> String {
    dump(&definition(&made(text, pairs)))
}

/// The ops of a graph: name, lines of the file, inputs, and what is done.
fn dump(definition: &Definition) -> String {
    let ops: Vec<_> = definition.ops().map(Result::unwrap).collect();
    let number =
        |digest: &str| ops.iter().position(|(other, _)| other.to_string() == digest).unwrap() + 1;
    let mut text = String::new();
    for (index, (digest, op)) in ops[..ops.len() - 1].iter().enumerate() {
        let digest = digest.to_string();
        let metadata = &definition.metadata[&digest];
        let name = metadata.description.get("llb.customname").map_or("", String::as_str);
        let inputs: Vec<String> =
            op.inputs.iter().map(|input| format!("#{}", number(&input.digest))).collect();
        let no_cache = if metadata.ignore_cache { " no-cache" } else { "" };
        let _ = writeln!(
            text,
            "#{} {name}{}{no_cache} <- {}",
            index + 1,
            lines(definition, &digest),
            inputs.join(" ")
        );
        match op.op.as_ref().unwrap() {
            pb::op::Op::Source(source) => {
                let attrs: Vec<String> =
                    source.attrs.iter().map(|(k, v)| format!(" {k}={v}")).collect();
                let _ = writeln!(text, "   {}{}", source.identifier, attrs.join(""));
            }
            pb::op::Op::Exec(exec) => dump_exec(&mut text, exec),
            pb::op::Op::File(file) => {
                file.actions.iter().for_each(|action| dump_action(&mut text, action));
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    text
}

fn lines(definition: &Definition, digest: &str) -> String {
    let locations = definition.source.as_ref().and_then(|source| source.locations.get(digest));
    let ranges = locations
        .iter()
        .flat_map(|locations| &locations.locations)
        .flat_map(|location| &location.ranges);
    let line = |position: &Option<pb::Position>| position.as_ref().unwrap().line;
    ranges.map(|range| format!(" ({}-{})", line(&range.start), line(&range.end))).collect()
}

fn dump_exec(text: &mut String, exec: &pb::ExecOp) {
    let meta = exec.meta.as_ref().unwrap();
    let _ = writeln!(text, "   in {} as {:?}: {}", meta.cwd, meta.user, meta.args.join(" "));
    let _ = writeln!(text, "   env {}", meta.env.join(" "));
    if let Some(proxy) = &meta.proxy_env {
        let _ = writeln!(text, "   proxy {proxy:?}");
    }
    for mount in exec.mounts.iter().filter(|mount| mount.dest != "/") {
        let cache = mount
            .cache_opt
            .as_ref()
            .map(|cache| format!(" cache {} {:?}", cache.id, cache.sharing()));
        let readonly = if mount.readonly { " readonly" } else { "" };
        let _ = writeln!(
            text,
            "   mount {}{} {}{readonly}",
            mount.dest,
            cache.unwrap_or_default(),
            mount.selector
        );
    }
}

fn dump_action(text: &mut String, action: &pb::FileAction) {
    use pb::file_action::Action;
    let _ = match action.action.as_ref().unwrap() {
        Action::Copy(copy) => {
            let unpack = if copy.attempt_unpack_docker_compatibility { " unpack" } else { "" };
            let contents = if copy.dir_copy_contents { " contents" } else { "" };
            let wildcard = if copy.allow_wildcard { " wildcard" } else { "" };
            writeln!(
                text,
                "   copy {} -> {}{unpack}{contents}{wildcard} time {}",
                copy.src, copy.dest, copy.timestamp
            )
        }
        Action::Mkdir(mkdir) => {
            writeln!(text, "   mkdir {} {:o} time {}", mkdir.path, mkdir.mode, mkdir.timestamp)
        }
        Action::Mkfile(mkfile) => {
            let data = String::from_utf8_lossy(&mkfile.data).into_owned();
            writeln!(
                text,
                "   mkfile {} {:o} {data:?} time {}",
                mkfile.path, mkfile.mode, mkfile.timestamp
            )
        }
        other => panic!("unexpected {other:?}"),
    };
}

#[test]
fn the_article_lowers_to_one_exec_for_packages_and_downloads_that_are_checked() {
    insta::assert_snapshot!(lowered(DEMO, &[]), @r#"
    #1 [demo 1/6] FROM docker.io/library/ubuntu:22.04 (4-4) <- 
       docker-image://docker.io/library/ubuntu:22.04
    #2 [internal] keep downloaded packages <- 
       mkfile /keep 644 "// Packages stay in the cache mount.\n" time 0
    #3 [demo 2/6] apt-get install ca-certificates curl (7-8) <- #1 #2
       in / as "": /bin/sh -c set -e; apt-get update; apt-get install -y --no-install-recommends ca-certificates curl; rm -f /var/log/apt/*.log /var/log/dpkg.log /var/log/alternatives.log /var/cache/ldconfig/aux-cache
       env PATH=/bin LANG=C DEBIAN_FRONTEND=noninteractive
       mount /etc/apt/apt.conf.d/docker-clean /keep readonly
       mount /var/cache/apt cache mockerfile/var/cache/apt/linux/amd64 Locked 
       mount /var/lib/apt cache mockerfile/var/lib/apt/linux/amd64 Locked 
    #4 [demo] download https://example.com/v1.10.0/bin/linux/amd64/kubectl (10-11) <- 
       https://example.com/v1.10.0/bin/linux/amd64/kubectl http.filename=kubectl http.perm=0755
    #5 [demo 3/6] add https://example.com/v1.10.0/bin/linux/amd64/kubectl as /usr/local/bin/kubectl (10-11) <- #3 #4
       copy /kubectl -> /usr/local/bin/kubectl time -1
    #6 [demo] download https://example.com/kustomize_v4.5.5_linux_amd64.tar.gz (12-14) <- 
       https://example.com/kustomize_v4.5.5_linux_amd64.tar.gz http.checksum=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 http.filename=kustomize_v4.5.5_linux_amd64.tar.gz http.perm=0644
    #7 [demo 4/6] unpack https://example.com/kustomize_v4.5.5_linux_amd64.tar.gz to /usr/local/bin/kustomize (12-14) <- #5 #6
       copy /kustomize_v4.5.5_linux_amd64.tar.gz -> /usr/local/bin/kustomize unpack time -1
    #8 [demo] download https://example.com/helm-v3.9.1-linux-amd64.tar.gz (15-18) <- 
       https://example.com/helm-v3.9.1-linux-amd64.tar.gz http.filename=helm-v3.9.1-linux-amd64.tar.gz http.perm=0644
    #9 [demo 5/6] unpack https://example.com/helm-v3.9.1-linux-amd64.tar.gz to /tmp/helm (15-18) <- #7 #8
       copy /helm-v3.9.1-linux-amd64.tar.gz -> /tmp/helm unpack time -1
    #10 [demo 6/6] install /tmp/helm/linux-amd64/helm /usr/local/bin/helm (18-18) <- #9
       in /srv as "": /bin/sh -c install /tmp/helm/linux-amd64/helm /usr/local/bin/helm
       env PATH=/bin LANG=C
    "#);
}

#[test]
fn lowering_twice_gives_equal_bytes() {
    let bytes = |pairs: &[(&str, &str)]| definition(&made(DEMO, pairs)).to_bytes();
    assert_eq!(bytes(&[]), bytes(&[]));
    assert_ne!(bytes(&[]), bytes(&[("platform", "linux/arm64")]));
    assert_ne!(bytes(&[]), bytes(&[("no-cache", "")]));
    assert_ne!(bytes(&[]), bytes(&[("build-arg:A", "1")]));
    assert_ne!(bytes(&[]), bytes(&[("build-arg:SOURCE_DATE_EPOCH", "1")]));
}

#[test]
fn only_zip_files_ask_for_a_daemon_that_unpacks_them() {
    for (src, expected) in [
        ("vendor.zip", &["kiln.unpack==zip"][..]),
        ("https://example.com/a/VENDOR.ZIP?x=1", &["kiln.unpack==zip"]),
        ("vendor.tar.gz", &[]),
        ("vendor.jar", &[]),
    ] {
        let text = format!(
            "apiVersion: v1alpha1\nimages:\n- name: a\n  from: b\n  external:\n  - {{src: '{src}', dst: /d}}\n"
        );
        let definition = definition(&made(&text, &[]));
        let filters: Vec<String> = definition
            .ops()
            .flat_map(|op| op.unwrap().1.constraints.unwrap_or_default().filter)
            .collect();
        assert_eq!(filters, expected, "{src}");
    }
}

#[test]
fn a_shell_block_and_local_files_run_in_the_working_directory() {
    let text = "apiVersion: v1alpha1
images:
- name: app
  from: debian:13
  workdir: app
  env: {MODE: fast}
  external:
  - {src: ./src/, dst: /srv/app/src}
  - {src: vendor.tar.gz, dst: /opt/vendor}
  - {src: 'conf/*.toml', dst: /etc/app/}
  steps:
  - make
  - |
    make check
    make install
  user: nobody
";
    let pairs = [
        ("build-arg:VERSION", "3"),
        ("build-arg:MODE", "slow"),
        ("build-arg:https_proxy", "http://proxy:1"),
    ];
    insta::assert_snapshot!(lowered(text, &pairs), @r#"
    #1 [app 1/7] FROM docker.io/library/debian:13 (4-4) <- 
       docker-image://docker.io/library/debian:13
    #2 [app 2/7] make directory /srv/app (5-5) <- #1
       mkdir /srv/app 755 time -1
    #3 [internal] load build context <- 
       local://context local.followpaths=["conf/*.toml","src","vendor.tar.gz"]
    #4 [app 3/7] copy src to /srv/app/src (8-8) <- #2 #3
       copy /src -> /srv/app/src contents time -1
    #5 [app 4/7] unpack vendor.tar.gz to /opt/vendor (9-9) <- #4 #3
       copy /vendor.tar.gz -> /opt/vendor unpack contents time -1
    #6 [app 5/7] copy conf/*.toml to /etc/app/ (10-10) <- #5 #3
       copy /conf/*.toml -> /etc/app/ contents wildcard time -1
    #7 [app 6/7] make (12-12) <- #6
       in /srv/app as "": /bin/sh -c make
       env PATH=/bin LANG=C MODE=fast VERSION=3
       proxy ProxyEnv { http_proxy: "", https_proxy: "http://proxy:1", ftp_proxy: "", no_proxy: "", all_proxy: "" }
    #8 [app 7/7] make check… (14-15) <- #7
       in /srv/app as "": /bin/sh -c make check
    make install

       env PATH=/bin LANG=C MODE=fast VERSION=3
       proxy ProxyEnv { http_proxy: "", https_proxy: "http://proxy:1", ftp_proxy: "", no_proxy: "", all_proxy: "" }
    "#);
}

#[test]
fn package_sources_and_keys_are_there_before_apt_runs() {
    let text = "apiVersion: v1alpha1
images:
- name: base
  from: debian:13
  package:
    repo: ['deb https://a.example stable main']
    gpg: ['https://a.example/key.gpg']
- name: tool
  parent: base
  package:
    repo: ['deb https://b.example stable main']
    install: [tool]
";
    insta::assert_snapshot!(lowered(text, &[]), @r#"
    #1 [base 1/3] FROM docker.io/library/debian:13 (4-4) <- 
       docker-image://docker.io/library/debian:13
    #2 [base] download https://a.example/key.gpg (7-7) <- 
       https://a.example/key.gpg http.filename=key http.perm=0644
    #3 [base 2/3] add package key https://a.example/key.gpg (7-7) <- #1 #2
       copy /key -> /etc/apt/trusted.gpg.d/mockerfile-base-0.asc time -1
    #4 [base 3/3] add package sources deb https://a.example stable main (6-6) <- #3
       mkdir /etc/apt/sources.list.d 755 time -1
       mkfile /etc/apt/sources.list.d/mockerfile.list 644 "deb https://a.example stable main\n" time -1
    #5 [tool 2/3] add package sources deb https://b.example stable main (11-11) <- #4
       mkdir /etc/apt/sources.list.d 755 time -1
       mkfile /etc/apt/sources.list.d/mockerfile.list 644 "deb https://a.example stable main\ndeb https://b.example stable main\n" time -1
    #6 [internal] keep downloaded packages <- 
       mkfile /keep 644 "// Packages stay in the cache mount.\n" time 0
    #7 [tool 3/3] apt-get install tool (12-12) <- #5 #6
       in / as "": /bin/sh -c set -e; apt-get update; apt-get install -y --no-install-recommends tool; rm -f /var/log/apt/*.log /var/log/dpkg.log /var/log/alternatives.log /var/cache/ldconfig/aux-cache
       env PATH=/bin LANG=C DEBIAN_FRONTEND=noninteractive
       mount /etc/apt/apt.conf.d/docker-clean /keep readonly
       mount /var/cache/apt cache mockerfile/var/cache/apt/linux/amd64 Locked 
       mount /var/lib/apt cache mockerfile/var/lib/apt/linux/amd64 Locked
    "#);
}

#[test]
fn output_keeps_its_paths_and_a_parent_keeps_everything() {
    let text = "apiVersion: v1alpha1
images:
- name: build
  from: debian:13
  workdir: /src
  steps: [make]
  output: [bin/tool, /etc/tool.d, '/usr/lib/*.so']
- name: slim
  from: build
  cmd: [/src/bin/tool]
- name: debug
  parent: build
  steps: [make debug]
";
    insta::assert_snapshot!(lowered(text, &[("target", "slim")]), @r#"
    #1 [build 1/4] FROM docker.io/library/debian:13 (4-4) <- 
       docker-image://docker.io/library/debian:13
    #2 [build 2/4] make directory /src (5-5) <- #1
       mkdir /src 755 time -1
    #3 [build 3/4] make (6-6) <- #2
       in /src as "": /bin/sh -c make
       env PATH=/bin LANG=C
    #4 [build 4/4] keep /src/bin/tool /etc/tool.d /usr/lib/*.so (7-7) <- #3
       copy /src/bin/tool -> /src/bin/tool contents time -1
       copy /etc/tool.d -> /etc/tool.d contents time -1
       copy /usr/lib/*.so -> /usr/lib/ wildcard time -1
    "#);
    insta::assert_snapshot!(lowered(text, &[("target", "debug")]), @r#"
    #1 [build 1/4] FROM docker.io/library/debian:13 (4-4) <- 
       docker-image://docker.io/library/debian:13
    #2 [build 2/4] make directory /src (5-5) <- #1
       mkdir /src 755 time -1
    #3 [build 3/4] make (6-6) <- #2
       in /src as "": /bin/sh -c make
       env PATH=/bin LANG=C
    #4 [debug 2/2] make debug (13-13) <- #3
       in /src as "": /bin/sh -c make debug
       env PATH=/bin LANG=C
    "#);
    let slim = made(text, &[("target", "slim")]).config;
    assert_eq!(
        slim.history.iter().map(|step| step.created_by.as_str()).collect::<Vec<_>>(),
        ["keep /src/bin/tool /etc/tool.d /usr/lib/*.so"]
    );
    let debug = made(text, &[("target", "debug")]).config;
    assert_eq!(debug.history.len(), 4, "{:?}", debug.history);
}

#[test]
fn the_file_and_the_caller_lie_on_top_of_the_base_config() {
    let text = "apiVersion: v1alpha1
images:
- name: app
  from: debian:13
  workdir: app
  env: {LANG: de, EXTRA: '1'}
  labels: {a: '1', b: '2'}
  entrypoint: [/app]
  user: '1000'
  steps: ['true']
";
    let pairs =
        [("label:b", "3"), ("build-arg:SOURCE_DATE_EPOCH", "86400"), ("build-arg:HIDDEN", "x")];
    let config = made(text, &pairs).config;
    insta::assert_snapshot!(serde_json::to_string_pretty(&config).unwrap(), @r#"
    {
      "created": "1970-01-02T00:00:00Z",
      "architecture": "amd64",
      "os": "linux",
      "rootfs": {
        "type": "layers",
        "diff_ids": []
      },
      "history": [
        {
          "created_by": "base layer"
        },
        {
          "created": "1970-01-02T00:00:00Z",
          "created_by": "make directory /srv/app",
          "comment": "mockerfile.v0"
        },
        {
          "created": "1970-01-02T00:00:00Z",
          "created_by": "RUN /bin/sh -c true",
          "comment": "mockerfile.v0"
        }
      ],
      "config": {
        "User": "1000",
        "Env": [
          "PATH=/bin",
          "LANG=de",
          "EXTRA=1"
        ],
        "Entrypoint": [
          "/app"
        ],
        "WorkingDir": "/srv/app",
        "Labels": {
          "a": "1",
          "b": "3",
          "base": "yes"
        }
      }
    }
    "#);
}

#[test]
fn an_entrypoint_drops_the_arguments_meant_for_the_old_one() {
    let image = |lines: &str| {
        format!("apiVersion: v1alpha1\nimages:\n- {{name: a, from: debian:13, {lines}}}\n")
    };
    let cmd = |lines: &str| made(&image(lines), &[]).config.config.cmd;
    assert_eq!(cmd("labels: {}"), Some(vec!["bash".to_owned()]));
    assert_eq!(cmd("entrypoint: [/app]"), None);
    assert_eq!(cmd("entrypoint: [/app], cmd: [-v]"), Some(vec!["-v".to_owned()]));
    assert_eq!(
        cmd("cmd: run me"),
        Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), "run me".to_owned()])
    );
}

#[test]
fn scratch_starts_from_nothing_and_may_stay_so() {
    let nothing =
        made("apiVersion: v1alpha1\nimages:\n- {name: a, from: scratch, cmd: [/x]}\n", &[]);
    assert!(nothing.state.is_scratch());
    assert_eq!(nothing.config.config.cmd, Some(vec!["/x".to_owned()]));
    let text = "apiVersion: v1alpha1\nimages:\n- name: a\n  from: scratch\n  external: [{src: 'https://example.com/x', dst: /x}]\n";
    insta::assert_snapshot!(
        lowered(
            text,
            &[
                ("platform", "linux/arm64,linux/amd64"),
                ("no-cache", "a"),
                ("build-arg:SOURCE_DATE_EPOCH", "2"),
            ]
        ),
        @"
    #1 [linux/arm64 a] download https://example.com/x (5-5) no-cache <- 
       https://example.com/x http.filename=x http.perm=0755
    #2 [linux/arm64 a 2/2] add https://example.com/x as /x (5-5) no-cache <- #1
       copy /x -> /x time 2000000000
    "
    );
}

#[test]
fn a_target_is_an_image_of_the_file() {
    let text = "apiVersion: v1alpha1\nimages:\n- {name: build, from: scratch}\n- {name: app, from: scratch}\n";
    let plan = Plan::read(&Source::new("f", text)).unwrap().plan;
    assert_eq!(plan.target(None), Ok(1));
    assert_eq!(plan.target(Some("build")), Ok(0));
    insta::assert_snapshot!(
        plan.target(Some("biuld")).unwrap_err(),
        @"target `biuld` does not exist; did you mean `build`? images of this file are `build`, `app`"
    );
}

#[test]
fn long_files_are_lowered_too() {
    let steps: String = (0..20_000).map(|n| format!("  - echo {n}\n")).collect();
    let text =
        format!("apiVersion: v1alpha1\nimages:\n- name: a\n  from: debian:13\n  steps:\n{steps}");
    assert_eq!(definition(&made(&text, &[])).def.len(), 20_002);
}

#[test]
fn every_vertex_has_a_name_and_every_step_a_place_in_the_file() {
    let definition = definition(&made(DEMO, &[]));
    let locations: BTreeMap<_, _> =
        definition.source.clone().unwrap().locations.into_iter().collect();
    for (digest, op) in definition.ops().map(Result::unwrap) {
        let name = definition.metadata[&digest.to_string()].description.get("llb.customname");
        let terminal = op.op.is_none();
        assert!(terminal || name.is_some(), "{op:?}");
        let numbered = name.is_some_and(|name| name.starts_with("[demo "));
        assert!(!numbered || locations.contains_key(&digest.to_string()), "{name:?}");
    }
}
