//! Hardened images: what files become, what is wrong with them, and what every language owes.

use kiln_examples::hardened::{Hardened, file::Definition};
use kiln_sdk::document::schema;
use kiln_sdk::oci::{ImageConfig, Platform};
use kiln_testing::{ConformOptions, Fixture, Samples, block_on, conform, snapshot};

const IMAGE: &str = "\
name: web
builder: alpine:3.22
platforms: [linux/amd64, linux/arm64]
include: [accounts.yaml]
contents:
  packages: [nginx, ca-certificates, \"!ssl_client\"]
environment: {LANG: C.UTF-8}
paths:
- {type: directory, path: /var/cache/nginx, uid: 101, gid: 101, mode: \"0750\"}
- {type: context, path: /srv/site, content: site}
- {type: symlink, path: /site, content: srv/site}
entrypoint: [nginx]
cmd: [-g, daemon off;]
ports: [8080/tcp]
stop-signal: SIGQUIT
annotations: {org.opencontainers.image.title: web}
tests:
- {name: it starts, run: [nginx, -t]}
variants:
  dev:
    contents: {packages: [apk-tools, ssl_client, \"!ca-certificates\"]}
    accounts: {run-as: root}
    cmd: []
";

const ACCOUNTS: &str = "\
accounts:
  run-as: web
  users: [{name: web, uid: 101, gid: 101}]
  groups: [{name: web, gid: 101, members: [web]}]
";

fn fixture(image: &str) -> Fixture {
    let mut alpine = ImageConfig::new(&Platform::new("linux", "amd64"));
    alpine.config.cmd = Some(vec!["/bin/sh".into()]);
    let fixture = Fixture::new().file("dockerfile", "image.yaml", image.to_owned());
    let fixture = fixture.file("dockerfile", "accounts.yaml", ACCOUNTS);
    fixture.image("docker.io/library/alpine:3.22", alpine)
}

#[test]
fn packages_accounts_paths_and_tests_become_a_graph() {
    insta::assert_snapshot!(snapshot(&Hardened, &fixture(IMAGE)));
}

#[test]
fn a_variant_is_laid_over_the_file() {
    let built = fixture(IMAGE).option("target", "dev").build(&Hardened).unwrap();
    insta::assert_snapshot!(kiln_testing::text(built.definition()).unwrap());
    assert_eq!(built.config().unwrap().config.user, "0:0");
}

#[test]
fn debian_packages_are_taken_apart_rather_than_installed() {
    let image = "name: web\nbuilder: debian:13\ncontents: {manager: apt, packages: [nginx, \"!perl-base\"]}\n";
    let built = fixture(image).any_image().build(&Hardened).unwrap();
    let text = kiln_testing::text(built.definition()).unwrap();
    assert!(text.contains("sh nginx perl-base-"), "{text}");
}

/// Not every BuildKit has an op that waits; then the tests are run while the frontend does.
#[test]
fn without_an_op_that_waits_tests_are_run_at_once() {
    let built = fixture(IMAGE).without_llb_cap("passthroughop").build(&Hardened).unwrap();
    let text = kiln_testing::text(built.definition()).unwrap();
    assert!(!text.contains("nginx -t"), "{text}");
    assert!(built.asked.solves.iter().any(|solve| solve.evaluate), "{:?}", built.asked.solves);
}

#[test]
fn every_platform_that_is_listed_can_be_built_and_no_other() {
    let fixture = fixture(IMAGE).any_image();
    let built = fixture.platform("linux/amd64,linux/arm64").build(&Hardened).unwrap();
    assert_eq!(built.platforms.len(), 2);
    let fixture = self::fixture(IMAGE).any_image();
    insta::assert_snapshot!(snapshot(&Hardened, &fixture.platform("linux/s390x")));
}

#[test]
fn mistakes_are_shown_where_they_are() {
    let mistaken = "\
name: web
platforms: [linux/amd46/x/y]
contents: {packages: [nginx, \"!nginx\", \"a b\"]}
paths:
- {type: directory, path: srv, mode: \"0999\"}
variants:
  dev: {include: [more.yaml]}
";
    insta::assert_snapshot!(snapshot(&Hardened, &fixture(mistaken)));
    let unknown =
        "name: web\nbuilder: alpine:3.22\nacounts: {run-as: web}\npaths: [{type: dir, path: /a}]\n";
    insta::assert_snapshot!(snapshot(&Hardened, &fixture(unknown)));
    let nobody =
        "name: web\nbuilder: alpine:3.22\ninclude: [accounts.yaml]\naccounts: {run-as: wbe}\n";
    insta::assert_snapshot!(snapshot(&Hardened, &fixture(nobody)));
    let nothing = "name: web\nbuilder: alpine:3.22\ninclude: [acounts.yaml]\n";
    insta::assert_snapshot!(snapshot(&Hardened, &fixture(nothing)));
    let outside = "name: web\nbuilder: alpine:3.22\ninclude: [../accounts.yaml]\n";
    insta::assert_snapshot!(snapshot(&Hardened, &fixture(outside)));
    insta::assert_snapshot!(snapshot(&Hardened, &fixture(IMAGE).option("target", "dve")));
}

#[test]
fn it_conforms() {
    let image = IMAGE.replace("include: [accounts.yaml]\n", ACCOUNTS);
    let image = image.replace("platforms: [linux/amd64, linux/arm64]\n", "");
    let samples = Samples::text("image.yaml", image)
        .with_file("site", "hello")
        .with_broken("name: web\nbulder: alpine:3.22\n");
    let report = block_on(conform(&Hardened, &samples, &ConformOptions::default()));
    assert!(report.passed(), "{report}");
}

#[test]
fn the_committed_schema_is_fresh() {
    super::fresh("hardened.json", &schema::<Definition>());
}
