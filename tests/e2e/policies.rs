//! Source policies: what they deny is not used, what they convert is something else.

use kiln_tests::{Kiln, Outcome, Project, archive};
use serde_json::{Value, json};

use super::story::Story;

struct Policed {
    kiln: Kiln,
    project: Project,
}

impl Policed {
    fn of(dockerfile: &str) -> Self {
        Self { kiln: Kiln::new(), project: Project::new(&[("Dockerfile", dockerfile)]) }
    }

    fn build(&self, rules: Value) -> Outcome {
        let policy = self.kiln.path("policy.json");
        std::fs::write(&policy, json!({"version": 1, "rules": rules}).to_string()).unwrap();
        let build = self.kiln.build().of(&self.project).frontend("dockerfile.v0");
        let build = build.flag(format!("--source-policy-file={}", policy.display()));
        build.output("type=tar", &self.kiln.path("out.tar")).run()
    }

    fn file(&self, path: &str) -> String {
        let files = archive::files(&self.kiln.path("out.tar"));
        String::from_utf8_lossy(&files[path]).into_owned()
    }
}

fn rule(action: &str, selector: Value) -> Value {
    json!({"action": action, "selector": selector})
}

#[test]
fn a_denied_image_is_neither_resolved_nor_built_on() {
    let Some(story) = Story::begin() else { return };
    let build = Policed::of(&format!("FROM {}\nUSER root\nRUN echo ran > /ran\n", story.base));
    let image = format!("docker-image://{}", story.base);
    let denied = [
        rule("DENY", json!({"identifier": image, "matchType": "EXACT"})),
        rule("DENY", json!({"identifier": "docker-image://*/library/*"})),
        rule("DENY", json!({"identifier": "^docker-image://.*ubuntu", "matchType": "REGEX"})),
    ];
    for rule in denied {
        build.build(json!([rule])).fails().says(&["denied by policy", &story.base]);
    }
    let allowed =
        [rule("DENY", json!({"identifier": "*"})), rule("ALLOW", json!({"identifier": "*"}))];
    build.build(json!(allowed)).succeeds();
    assert_eq!(build.file("ran"), "ran\n");
}

#[test]
fn a_converted_source_takes_the_place_of_the_one_that_was_asked_for() {
    let Some(story) = Story::begin() else { return };
    let asked = story.web.serve("/asked", b"asked\n".as_slice());
    let other = story.web.serve("/other", b"other\n".as_slice());
    let build = Policed::of(&format!(
        "FROM example.invalid/none:1\nUSER root\nADD {asked} /file\nRUN cp /file /copy\n"
    ));
    let converted = |from: &str, to: &str| {
        json!({
            "action": "CONVERT",
            "selector": {"identifier": from, "matchType": "EXACT"},
            "updates": {"identifier": to},
        })
    };
    let rules = json!([
        converted(
            "docker-image://example.invalid/none:1",
            &format!("docker-image://{}", story.base)
        ),
        converted(&asked, &other),
    ]);
    build.build(rules).succeeds();
    assert_eq!(build.file("copy"), "other\n");
}

#[test]
fn a_rule_can_ask_for_a_checksum_of_what_is_downloaded() {
    let Some(story) = Story::begin() else { return };
    let asked = story.web.serve("/asked", b"asked\n".as_slice());
    let build = Policed::of(&format!("FROM scratch\nADD {asked} /file\n"));
    let checksum = format!("sha256:{}", "1".repeat(64));
    let rules = json!([{
        "action": "CONVERT",
        "selector": {"identifier": asked, "matchType": "EXACT"},
        "updates": {"attrs": {"http.checksum": checksum}},
    }]);
    build.build(rules).fails().says(&[&checksum]);
}

#[test]
fn a_rule_that_cannot_be_understood_is_refused() {
    let build = Policed::of("FROM scratch\nCOPY Dockerfile /\n");
    let rules = json!([rule("DENY", json!({"identifier": "(", "matchType": "REGEX"}))]);
    build.build(rules).fails().says(&["source policy rule 0", "("]);
}
