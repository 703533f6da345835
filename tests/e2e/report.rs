//! A build as a page of HTML: what `history open` and `build --report` write.

use kiln_tests::{Build, Image, ImageConfig, Kiln, Kilnd, Project, Registry};

fn dockerfile<'a>(kiln: &'a Kiln, project: &Project) -> Build<'a> {
    kiln.build().frontend("dockerfile.v0").of(project)
}

fn project(registry: &Registry, last: &str) -> Project {
    let base = Image::busybox(ImageConfig::default()).push(registry, "base:1");
    let project = Project::new(&[("greeting", "hello\n")]);
    project.write(
        "Dockerfile",
        format!(
            "FROM {base}\nMAINTAINER somebody\nCOPY greeting /\nRUN printf '\\033[31mred <b>\\033[0m\\n'\n{last}\n"
        ),
    );
    project
}

#[track_caller]
fn has(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(page.contains(text), "nothing says {text:?}:\n{page}");
    }
}

#[test]
fn a_build_that_went_well_is_a_page_with_all_there_is_to_see() {
    let Some(registry) = Registry::start() else { return };
    let daemon = Kilnd::start();
    let client = daemon.client();
    let project = project(&registry, "RUN cat greeting");
    let archive = client.path("image.tar");
    dockerfile(&client, &project).output("type=oci,name=a.test/b:1", &archive).run().succeeds();
    // Nobody sits at a terminal: where it is, is printed.
    let path = client.run(&["history", "open"]).succeeds().text();
    let page = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    has(
        &page,
        &[
            "✓ completed",
            "Critical path",
            "<svg ",
            "class=\"row ran",
            "<span class=\"c1\">red &lt;b&gt;</span>",
            // Where a step comes from is in the provenance of the build.
            "<figcaption>Dockerfile:4</figcaption>",
            "pkg:docker/",
            "application/vnd.oci.image.manifest.v1+json",
            "MaintainerDeprecated",
            "https://slsa.dev/provenance",
        ],
    );
    assert!(!page.contains("could not be read"), "{page}");
    let again = client.run(&["history", "open", "-o", "-"]).succeeds().text();
    assert_eq!(
        again.matches("<details class=\"step ").count(),
        page.matches("<details class=\"step ").count()
    );
}

#[test]
fn a_build_that_fails_reports_where_and_why() {
    let Some(registry) = Registry::start() else { return };
    let kiln = Kiln::new();
    let project = project(&registry, "RUN echo reason; exit 3");
    let path = kiln.path("report.html");
    let report = format!("--report={}", path.display());
    dockerfile(&kiln, &project).flag(report).run().fails().says(&["exit code: 3"]);
    let page = std::fs::read_to_string(&path).unwrap();
    has(
        &page,
        &[
            "✗ failed",
            "<figcaption>Dockerfile:5</figcaption>",
            "class=\"step failed hot\"",
            "reason\n",
            "did not complete successfully: exit code: 3",
        ],
    );
    let shown = kiln.run(&["history", "open", "--print", "-o", "other.html"]).succeeds().text();
    assert_eq!(shown, "other.html");
    let none = kiln.run(&["history", "open", "no-such-build"]).fails();
    none.says(&["the daemon knows no build no-such-build"]);
}
