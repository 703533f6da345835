//! Copies of what is not there: errors in BuildKit's words, and nothing that stands for nothing but a
//! wildcard.
//!
//! The words were said by a real buildkitd for the same Dockerfiles; where there is one, the BuildKit
//! inside Docker's daemon is asked once more. An old one has other words.

use std::os::unix::fs::symlink;

use kiln_tests::{Dockerd, Kiln, Project, archive};

/// A Dockerfile that fails, and what is not found.
const FAILING: &[(&str, &str)] = &[
    ("COPY nosuchfile /", "\"/nosuchfile\": not found"),
    ("COPY good nosuchfile /d/", "\"/nosuchfile\": not found"),
    ("COPY good none* nosuchfile /d/", "\"/nosuchfile\": not found"),
    ("COPY a/b/c /", "\"/a/b/c\": not found"),
    ("COPY good/x /", "\"/good/x\": not found"),
    ("COPY no\\\\*file /", "\"/no\\\\*file\": not found"),
    ("COPY broken /", "\"/broken\": not found"),
    ("COPY loop /", "too many links"),
    ("COPY --link nosuchfile /", "\"/nosuchfile\": not found"),
    ("COPY --from=a /missing /", "\"/missing\": not found"),
    ("ADD nosuch.tar /", "\"/nosuch.tar\": not found"),
];

/// The same with the newest syntax.
const FAILING_LABS: &[(&str, &str)] = &[
    ("COPY --parents dir/none /", "\"/dir/none\": not found"),
    ("COPY --parents dir/./none /", "\"/dir/none\": not found"),
    ("COPY --parents link/file /", "\"/link/file\": not found"),
    ("COPY --parents link/./file /", "\"/link/file\": not found"),
];

/// A Dockerfile that builds, and the files of the result.
const BUILDING: &[(&str, &[&str])] = &[
    ("COPY none* /d/", &[]),
    ("COPY good none* /d/", &["d/", "d/good"]),
    ("COPY link/file /", &["file"]),
    ("COPY --from=a none* /d/", &[]),
];

/// The same with the newest syntax.
const BUILDING_LABS: &[(&str, &[&str])] = &[
    ("COPY --parents dir/none* /", &[]),
    ("COPY --parents dir/file none* /", &["dir/", "dir/file"]),
    ("COPY --from=empty / /d/", &["d/"]),
];

const WORDS: &str = "failed to compute cache key: failed to calculate checksum of ref ";

fn project() -> Project {
    let project = Project::new(&[("good", "good"), ("dir/file", "file")]);
    for (link, target) in [("link", "dir"), ("broken", "nowhere"), ("loop", "loop")] {
        symlink(target, project.path().join(link)).unwrap();
    }
    project
}

fn write(project: &Project, instruction: &str) {
    let stages = "FROM scratch AS empty\nFROM scratch AS a\nCOPY good /\nFROM scratch\n";
    project.write("Dockerfile", format!("{stages}{instruction}\n"));
}

#[test]
fn what_is_not_there_fails_the_build_in_buildkits_words() {
    let (project, kiln) = (project(), Kiln::new());
    for (instruction, missing) in FAILING.iter().chain(FAILING_LABS) {
        write(&project, instruction);
        for flag in ["--progress=plain", "--no-cache"] {
            let build = kiln.build().of(&project).frontend("dockerfile.v0").flag(flag);
            let failed = build.run().fails();
            let said = failed.says(&[WORDS, &format!(": {missing}")]);
            assert!(!said.stderr.contains("NotFound"), "{instruction}: {said}");
        }
    }
}

#[test]
fn only_a_wildcard_stands_for_nothing() {
    let (project, kiln) = (project(), Kiln::new());
    let out = kiln.path("out.tar");
    for (instruction, expected) in BUILDING.iter().chain(BUILDING_LABS) {
        write(&project, instruction);
        let build = kiln.build().of(&project).frontend("dockerfile.v0");
        build.output("type=tar", &out).run().succeeds();
        let files: Vec<String> = archive::files(&out).into_keys().collect();
        assert_eq!(files, *expected, "{instruction}");
    }
}

#[test]
fn dockers_buildkit_fails_and_makes_the_same() {
    let Some(docker) = Dockerd::start() else { return };
    let (project, kiln) = (project(), Kiln::new());
    let out = kiln.path("out.tar");
    let output = format!("type=tar,dest={}", out.display());
    for (instruction, missing) in FAILING {
        write(&project, instruction);
        let failed = docker.build(&["--output", &output], project.path()).fails();
        if failed.stderr.contains(WORDS) {
            failed.says(&[&format!(": {missing}")]);
        }
    }
    for (instruction, expected) in BUILDING {
        write(&project, instruction);
        docker.build(&["--output", &output], project.path()).succeeds();
        let files: Vec<String> = archive::files(&out).into_keys().collect();
        assert_eq!(files, *expected, "{instruction}");
    }
}
