//! What the example frontends make of small files. No daemon, root or network is needed.

mod hardened;
mod plan;

use kiln_examples::compose::Compose;
use kiln_examples::dialect::Dialect;
use kiln_examples::tiny::Tiny;
use kiln_sdk::oci::{ImageConfig, Platform};
use kiln_testing::{Fixture, text};

const RECIPE: &str = "\
from: debian:12
copy:
  /srv/site: site
run:
- chmod -R a+rX /srv/site
entrypoint: [httpd, -f]
";

fn debian() -> ImageConfig {
    let mut config = ImageConfig::new(&Platform::new("linux", "amd64"));
    config.config.set_env("LANG", "C.UTF-8");
    config
}

fn tiny(file: &str) -> Fixture {
    let fixture = Fixture::new().file("dockerfile", "tiny.yaml", file.to_owned());
    fixture.image("docker.io/library/debian:12", debian())
}

#[test]
fn a_recipe_becomes_steps_with_places() {
    let built = tiny(RECIPE).build(&Tiny).unwrap();
    insta::assert_snapshot!(text(built.definition()).unwrap());
    assert_eq!(built.config().unwrap().config.env_value("LANG"), Some("C.UTF-8"));
}

#[test]
fn every_platform_has_its_own_graph() {
    let built = tiny(RECIPE).any_image().platform("linux/amd64,linux/arm64").build(&Tiny).unwrap();
    let ids: Vec<&str> = built.platforms.iter().map(|made| made.id.as_str()).collect();
    assert_eq!(ids, ["linux/amd64", "linux/arm64"]);
}

#[test]
fn all_mistakes_are_shown_where_they_are() {
    let error = tiny("from: debian:12\ncopy:\n  srv: site\n").build(&Tiny).unwrap_err();
    insta::assert_snapshot!(error);
    let error = tiny("form: debian:12\nrun: make\n").build(&Tiny).unwrap_err();
    insta::assert_snapshot!(error);
}

#[test]
fn the_dialect_says_where_nothing_is_installed() {
    let file = "FROM debian:12\nINSTALL\n";
    let error = Fixture::new().file("dockerfile", "Dockerfile", file).build(&Dialect).unwrap_err();
    insta::assert_snapshot!(error);
}

#[test]
fn the_dialect_hands_lines_on_as_they_were() {
    let file = "FROM debian:12\nINSTALL curl\nRUN curl --version\n";
    let fixture = Fixture::new().file("dockerfile", "Dockerfile", file).option("target", "x");
    let built = fixture.build(&Dialect).unwrap();
    let [forward] = built.asked.forwards.as_slice() else { panic!("one call of a frontend") };
    assert_eq!(forward.frontend, "dockerfile.v0");
    assert_eq!(forward.options["target"], "x");
    insta::assert_snapshot!(text(&forward.inputs["dockerfile"]).unwrap());
}

#[test]
fn a_part_without_a_frontend_is_a_mistake() {
    let file = "parts:\n- file: Dockerfile\n";
    let error = Fixture::new().file("dockerfile", "parts.yaml", file).build(&Compose).unwrap_err();
    insta::assert_snapshot!(error);
}

/// A schema that is committed for editors is that of the types the file is read into.
fn fresh(path: &str, schema: &str) {
    let path = format!("{}/schemas/{path}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, schema).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert_eq!(committed, schema, "run with UPDATE_SCHEMA=1 and commit {path}");
}
