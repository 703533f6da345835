//! Answers that differ in one thing, and what is said about it.

use std::path::Path;

use kiln_testing::{Case, compare};
use serde_json::{Value, json};

fn recorded(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/dockerfile");
    Case::load(folder.join(name)).unwrap().expected().unwrap().unwrap()
}

/// What is said about a recorded answer that was changed.
fn said(name: &str, change: impl FnOnce(&mut Value)) -> Vec<String> {
    let expected = recorded(name);
    let mut actual = expected.clone();
    change(&mut actual);
    compare(&expected, &actual).iter().map(ToString::to_string).collect()
}

#[test]
fn an_answer_equals_itself() {
    for name in
        ["001-scratch-empty", "273-multi-platform", "347-opt-attest-sbom", "587-err-multi-platform"]
    {
        assert_eq!(said(name, |_| {}), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn one_changed_command_is_one_mismatch_although_every_digest_behind_it_changes() {
    let said = said("008-continuation", |actual| {
        let result = &mut actual["build"]["results"][0];
        let mut text = result.to_string();
        // Every step and the whole get other digests, as they would.
        let digests: Vec<String> = result["ops"]
            .as_array()
            .unwrap()
            .iter()
            .map(|op| op["digest"].as_str().unwrap().to_owned())
            .collect();
        for digest in &digests {
            text = text.replace(digest, &format!("sha256:other{}", &digest[7..20]));
        }
        *result = serde_json::from_str(&text).unwrap();
        result["definition_sha256"] = "sha256:another".into();
        let ops = result["ops"].as_array_mut().unwrap();
        for op in ops.iter_mut() {
            op["op_base64"] = "AAAA".into();
        }
        let exec = ops.iter_mut().find(|op| op["op_json"].get("exec").is_some()).unwrap();
        exec["op_json"]["exec"]["meta"]["args"][2] = "make install".into();
    });
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(said[0].starts_with("build.results.ops[[2/"), "{said:?}");
    assert!(said[0].contains("].exec.meta.args[2]: "), "{said:?}");
    assert!(said[0].ends_with(r#"!= "make install""#), "{said:?}");
}

#[test]
fn missing_and_additional_steps_are_named() {
    let gone = said("273-multi-platform", |actual| {
        let ops = actual["build"]["results"][0]["ops"].as_array_mut().unwrap();
        ops.retain(|op| op["op_json"].get("exec").is_none() || !op.to_string().contains("apk add"));
    });
    assert!(gone[0].contains("ops: missing: ") && gone[0].contains("apk add"), "{gone:#?}");
    let added = said("273-multi-platform", |actual| {
        let ops = actual["build"]["results"][0]["ops"].as_array_mut().unwrap();
        let mut op = ops[0].clone();
        op["metadata_json"]["description"]["llb.customname"] = "one more".into();
        ops.insert(1, op);
    });
    assert_eq!(added[0], "build.results[linux/amd64].ops: not expected: one more");
}

#[test]
fn another_status_is_all_that_is_said() {
    let said = said("030-syntax-directive", |actual| {
        actual["build"] = json!({"status": "error", "error": {"message": "no"}});
    });
    assert_eq!(said, ["build: expected forward to \"docker/dockerfile:1\", got error \"no\""]);
}

#[test]
fn equal_fields_in_other_bytes_are_found() {
    let said = said("002-image-only", |actual| {
        actual["build"]["results"][0]["ops"][0]["op_base64"] = "AAAA".into();
    });
    assert_eq!(said.len(), 1);
    assert!(said[0].ends_with("]: equal fields, but other bytes"), "{said:?}");
}

#[test]
fn raw_texts_are_compared_byte_for_byte_and_values_as_values() {
    let said = said("002-image-only", |actual| {
        let raw = &mut actual["build"]["results"][0]["image_config_raw"];
        *raw = format!("{} ", raw.as_str().unwrap()).into();
    });
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("build.results.image_config_raw: …"), "{said:?}");
}

#[test]
fn what_is_unspecified_or_left_out_equals_anything() {
    let unspecified = said("406-lint-comment-skip", |actual| {
        actual["subrequests"]["frontend.targets"] = json!({"status": "error", "error": {}});
    });
    assert_eq!(unspecified, Vec::<String>::new());
    let left_out = said("382-lint-undefined-var-two", |actual| {
        actual["subrequests"]["frontend.lint"]["result_txt"] = "in any order".into();
    });
    assert_eq!(left_out, Vec::<String>::new());
    let not_left_out = said("365-lint-stage-name-casing", |actual| {
        actual["subrequests"]["frontend.lint"]["result_txt"] = "wrong".into();
    });
    assert_eq!(not_left_out.len(), 1);
}

#[test]
fn the_most_telling_mismatch_is_first() {
    let said = said("365-lint-stage-name-casing", |actual| {
        actual["subrequests"]["frontend.targets"]["version"] = "9".into();
        actual["build"]["loads"][0]["reads"] = json!(["x"]);
        actual["build"]["resolves"][0]["log_name"] = "asked".into();
        actual["build"]["warnings"].as_array_mut().unwrap().clear();
        actual["build"]["results"][0]["image_config"]["os"] = "plan9".into();
    });
    let starts: Vec<&str> =
        said.iter().map(|line| line.split(['[', ':']).next().unwrap()).collect();
    let mut once = starts.clone();
    once.dedup();
    assert_eq!(
        once,
        [
            "build.results.image_config.os",
            "build.warnings",
            "build.resolves",
            "build.loads",
            "subrequests.frontend.targets.version"
        ],
        "{said:#?}"
    );
}

#[test]
fn a_changed_step_has_its_name_in_source_maps() {
    let expected = recorded("002-image-only");
    let digest = expected["build"]["results"][0]["ops"][0]["digest"].as_str().unwrap().to_owned();
    let said = said("002-image-only", |actual| {
        let places = &mut actual["build"]["results"][0]["source"]["locations"][&digest];
        places[0]["ranges"][0]["start"]["line"] = 7.into();
    });
    let want = format!(
        "build.results.source.locations[{}][0].ranges[0].start.line: 1 != 7",
        step_name(&expected)
    );
    assert_eq!(said, [want]);
}

fn step_name(answer: &Value) -> String {
    let op = &answer["build"]["results"][0]["ops"][0];
    op["metadata_json"]["description"]["llb.customname"].as_str().unwrap().to_owned()
}

/// Calls `visit` with a pointer to every value that holds no other.
fn for_each_leaf(value: &Value, pointer: &str, visit: &mut dyn FnMut(&str)) {
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(object) if !object.is_empty() => object.iter().for_each(|(key, value)| {
            for_each_leaf(value, &format!("{pointer}/{}", escaped(key)), visit);
        }),
        Value::Array(items) if !items.is_empty() => items
            .iter()
            .enumerate()
            .for_each(|(n, value)| for_each_leaf(value, &format!("{pointer}/{n}"), visit)),
        _ => visit(pointer),
    }
}

#[test]
fn no_change_of_any_part_goes_unnoticed() {
    let mut changed = 0;
    for name in [
        "030-syntax-directive",
        "040-syntax-inputs",
        "132-copy-link",
        "329-ctx-cache-imports",
        "349-opt-attest-sbom-multi",
        "356-epoch-multi",
        "362-epoch-named-context",
        "409-lint-full-sources",
        "587-err-multi-platform",
    ] {
        let expected = recorded(name);
        for_each_leaf(&expected, "", &mut |pointer| {
            let mut actual = expected.clone();
            *actual.pointer_mut(pointer).unwrap() = "something else".into();
            assert!(!compare(&expected, &actual).is_empty(), "{name}: {pointer}");
            changed += 1;
        });
    }
    assert!(changed > 1500, "{changed}");
}
