//! Contexts that come to the daemon in other ways than as a directory of their own.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use kiln_tests::archive::{self, Entry, tar, tar_gz};
use kiln_tests::{Kiln, Kilnd, Project};

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
