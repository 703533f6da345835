//! Contexts that come to the daemon in other ways than as a directory of their own.

use std::fs::{self, File};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use kiln_client::{Client, Session, SolveOptions};
use kiln_frontend::{Bridge, BuildResult, Frontend, FrontendError, Ref, Solve};
use kiln_llb::{Constraints, Local, Marshal, State};
use kiln_tests::archive::{self, Entry, tar, tar_gz};
use kiln_tests::{Kiln, Kilnd, Project};
use kiln_wire::pb;
use tokio::sync::Notify;

const COPY: &str = "FROM scratch\nCOPY words /words\n";

#[test]
fn an_archive_on_standard_input_is_a_context() {
    let kiln = Kiln::new();
    let entries = |file: &'static str| {
        [
            Entry::File(file, 0o644, 0, COPY.as_bytes()),
            Entry::File("words", 0o644, 0, b"from the archive\n"),
        ]
    };
    for (name, context, flags) in [
        ("plain.tar", tar(&entries("Dockerfile")), &[][..]),
        ("packed.tar", tar_gz(&entries("Dockerfile")), &[]),
        ("named.tar", tar(&entries("ci/Dockerfile.dev")), &["--file=ci/Dockerfile.dev"]),
    ] {
        let dest = kiln.path(name);
        let build = kiln.build().flag("-").output("type=tar", &dest).definition(context);
        flags.iter().fold(build, |build, flag| build.flag(*flag)).run().succeeds();
        assert_eq!(archive::files(&dest)["words"], b"from the archive\n", "{name}");
    }
}

#[test]
fn a_build_file_alone_on_standard_input_is_built_without_a_context() {
    let kiln = Kiln::new();
    let dest = kiln.path("alone.tar");
    let text = "FROM scratch\nCOPY <<words /words\nfrom the file\nwords\n";
    let build = kiln.build().flag("-").output("type=tar", &dest).definition(text.into());
    build.run().succeeds();
    assert_eq!(archive::files(&dest)["words"], b"from the file\n");
}

#[test]
fn an_upload_that_is_not_there_is_named() {
    let kiln = Kiln::new();
    let build = kiln.build().frontend("dockerfile.v0");
    let build = build.opt("context", "http://buildkit-session/nothing");
    build.run().fails().says(&["http://buildkit-session/nothing from the client"]);
}

#[test]
fn directories_that_look_alike_are_not_taken_for_each_other() {
    let daemon = Kilnd::start();
    let now = SystemTime::now();
    for (round, time) in [SystemTime::UNIX_EPOCH + Duration::from_secs(1), now].iter().enumerate() {
        let client = daemon.client();
        let projects = ["one", "two"].map(|words| {
            let project = Project::new(&[("Dockerfile", COPY), ("words", words)]);
            let file = File::options().write(true).open(project.path().join("words")).unwrap();
            file.set_modified(*time).unwrap();
            (project, words)
        });
        for (number, (project, words)) in projects.iter().chain(&projects).enumerate() {
            let dest = client.path(&format!("{round}-{number}"));
            // The same place for both, so that their shared keys are the same, too.
            let place = client.path(&format!("place-{round}"));
            fs::remove_file(&place).ok();
            std::os::unix::fs::symlink(project.path(), &place).unwrap();
            let build = client.build().frontend("dockerfile.v0");
            let build = build.local("context", &place).local("dockerfile", &place);
            build.output("type=local", &dest).run().succeeds();
            assert_eq!(fs::read_to_string(dest.join("words")).unwrap(), *words, "round {round}");
        }
    }
}

/// A frontend that looks into what comes of a definition, and stays until it is let go.
struct Looking {
    definition: pb::Definition,
    found: OnceLock<Bytes>,
    looked: Notify,
    let_go: Notify,
}

#[async_trait]
impl Frontend for Looking {
    async fn solve(&self, bridge: &dyn Bridge) -> Result<BuildResult<Ref>, FrontendError> {
        let definition = Some(self.definition.clone().into());
        let solve = Solve::default().with_definition(definition).with_evaluate(true);
        let solved = bridge.solve(solve).await?;
        let words = bridge.read_file(solved.held().next().unwrap(), "words", None).await?;
        self.found.set(words).unwrap();
        self.looked.notify_one();
        self.let_go.notified().await;
        Ok(BuildResult::single(None))
    }
}

#[test]
fn a_build_without_directories_uses_those_of_the_build_that_its_definition_is_from() {
    let daemon = Kilnd::start();
    daemon.client().run(&["debug", "workers"]).succeeds();
    let unique = Constraints::default().with_local_unique_id(Some("one".to_owned()));
    let marshal = Marshal::default().with_defaults(unique);
    let definition = State::local("context", Local::default()).marshal(&marshal).unwrap();
    let looking = || Looking {
        definition: definition.clone().into(),
        found: OnceLock::new(),
        looked: Notify::new(),
        let_go: Notify::new(),
    };
    let projects = ["lent", "own"].map(|words| Project::new(&[("words", words)]));
    let [lending, having] = projects.each_ref().map(|project| Session {
        local_dirs: [("context".into(), project.path().into())].into(),
        ..Session::default()
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let address = format!("unix://{}", daemon.socket().display());
        let client = Client::connect(&address).await.unwrap();
        let build = async |session, frontend: &Looking| {
            let progress = kiln_progress::Sender::default();
            client.build(SolveOptions::default(), session, frontend, progress).await
        };
        let (lender, borrower, owner, late) = (looking(), looking(), looking(), looking());
        let meanwhile = async {
            lender.looked.notified().await;
            for (session, frontend) in [(Session::default(), &borrower), (having, &owner)] {
                frontend.let_go.notify_one();
                build(session, frontend).await.unwrap();
            }
            lender.let_go.notify_one();
        };
        tokio::join!(async { build(lending, &lender).await.unwrap() }, meanwhile);
        assert_eq!(borrower.found.get().unwrap(), "lent");
        assert_eq!(owner.found.get().unwrap(), "own", "who has directories is asked for them");
        let error = build(Session::default(), &late).await.unwrap_err().to_string();
        assert!(error.contains("does not offer local directories"), "{error}");
    });
}
