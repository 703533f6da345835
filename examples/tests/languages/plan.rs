//! Build plans: what they become, what is wrong with them, and what every language owes.

use kiln_examples::plan::{Plan, Plans};
use kiln_sdk::document::schema;
use kiln_testing::{ConformOptions, Fixture, Samples, block_on, conform, snapshot};

const PLAN: &str = r#"{
  "caches": {"npm": {"directory": "/root/.npm", "type": "locked"}},
  "secrets": ["NPM_TOKEN", "OTHER"],
  "steps": [
    {"name": "build", "inputs": [{"step": "install"}, {"local": true, "exclude": ["node_modules"]}],
     "commands": [{"path": "node_modules/.bin"}, {"file": ".env", "content": "A=b\n"},
                  {"cmd": "vite build", "customName": "bundle"}]},
    {"name": "install",
     "inputs": [{"image": "node:22"}, {"local": true, "include": ["package.json", "package-lock.json"]}],
     "commands": [{"cmd": "npm ci"}], "caches": ["npm"], "secrets": ["NPM_TOKEN"],
     "variables": {"CI": "true"}},
    {"name": "tools", "inputs": [{"image": "node:22"}], "commands": [{"cmd": "make tools"}],
     "secrets": ["*"]}
  ],
  "deploy": {
    "base": {"image": "node:22-slim"},
    "inputs": [{"step": "build", "include": ["dist"], "exclude": ["*.map"]},
               {"step": "tools", "include": ["/usr/local/bin/tool"]}],
    "startCommand": "node dist/server.js",
    "variables": {"NODE_ENV": "production"},
    "paths": ["node_modules/.bin", "/opt/bin"]
  }
}
"#;

fn fixture(plan: &str) -> Fixture {
    Fixture::new().file("dockerfile", "plan.json", plan.to_owned()).any_image()
}

#[test]
fn steps_become_a_graph_and_what_is_deployed_layers() {
    insta::assert_snapshot!(snapshot(&Plans, &fixture(PLAN)));
}

#[test]
fn a_step_is_a_target() {
    let built = fixture(PLAN).option("target", "install").build(&Plans).unwrap();
    insta::assert_snapshot!(kiln_testing::text(built.definition()).unwrap());
}

#[test]
fn a_plan_that_takes_a_few_files_transfers_no_others() {
    let plan = PLAN
        .replace(r#""local": true, "exclude""#, r#""local": true, "include": ["src"], "exclude""#);
    let built = fixture(&plan).build(&Plans).unwrap();
    let text = kiln_testing::text(built.definition()).unwrap();
    let followed =
        ["src", "package.json", "package-lock.json"].map(|path| format!("    follow {path}\n"));
    assert!(text.contains(&followed.concat()), "{text}");
}

#[test]
fn a_key_keeps_the_caches_of_two_users_apart() {
    let built = fixture(PLAN).option("build-arg:cache-key", "alice").build(&Plans).unwrap();
    let text = kiln_testing::text(built.definition()).unwrap();
    assert!(text.contains("alice-npm"), "{text}");
}

#[test]
fn mistakes_are_shown_where_they_are() {
    let mistaken = PLAN
        .replace(r#"{"step": "install"}"#, r#"{"step": "instal"}"#)
        .replace(r#""caches": ["npm"]"#, r#""caches": ["nmp"]"#)
        .replace(r#""secrets": ["NPM_TOKEN"],"#, r#""secrets": ["NPM_TOKE"],"#)
        .replace(r#"{"cmd": "npm ci"}"#, r#"{"cmd": "npm ci", "path": "bin"}"#)
        .replace(r#""base": {"image""#, r#""base": {"local": true, "image""#);
    insta::assert_snapshot!(snapshot(&Plans, &fixture(&mistaken)));
    let circle = PLAN.replace(r#"[{"image": "node:22"}, {"l"#, r#"[{"step": "build"}, {"l"#);
    insta::assert_snapshot!(snapshot(&Plans, &fixture(&circle)));
    let unknown = PLAN.replace("startCommand", "startComand").replace(r#""locked""#, r#""lokced""#);
    insta::assert_snapshot!(snapshot(&Plans, &fixture(&unknown)));
}

#[test]
fn it_conforms() {
    let samples = Samples::text("plan.json", PLAN)
        .with_file("package.json", "{}")
        .with_build_argument("cache-key", "alice")
        .with_broken(PLAN.replace("startCommand", "startComand"));
    let report = block_on(conform(&Plans, &samples, &ConformOptions::default()));
    assert!(report.passed(), "{report}");
}

#[test]
fn the_committed_schema_is_fresh() {
    super::fresh("plan.json", &schema::<Plan>());
}
