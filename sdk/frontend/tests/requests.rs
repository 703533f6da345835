//! Answers to sub-requests against the recorded ones: the values are taken from the recorded JSON,
//! and written again they are the same JSON and the same text.

use std::path::PathBuf;

use bytes::Bytes;
use kiln_frontend::requests::{
    self, Answers, Arg, BuildError, LintResults, LintWarning, Needed, Outline, Target, TargetList,
};
use kiln_frontend::{BuildResult, Ref};
use kiln_frontend::{Location, pb};
use kiln_llb::{SourcePosition, SourceRange};
use kiln_testing::{Case, block_on};
use serde_json::Value;

/// Every recorded answer to a request, with the case it belongs to.
fn recorded(request: &str) -> Vec<(Case, Value)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/dockerfile");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.join("case.json").is_file() {
            let case = Case::load(&path).unwrap();
            let answer = case.expected().unwrap().unwrap()["subrequests"][request].clone();
            if answer["status"] == "ok" {
                found.push((case, answer));
            }
        }
    }
    found
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn location(value: &Value) -> Option<Location> {
    let place = &value["location"];
    let number = |value: &Value| i32::try_from(value.as_i64().unwrap_or(0)).unwrap();
    let position = |value: &Value| SourcePosition {
        line: number(&value["line"]),
        character: number(&value["character"]),
    };
    let range = |range: &Value| SourceRange {
        start: position(&range["start"]),
        end: position(&range["end"]),
    };
    let source = usize::try_from(place["sourceIndex"].as_u64().unwrap_or(0)).unwrap();
    let ranges = || place["ranges"].as_array().into_iter().flatten().map(range);
    place.is_object().then(|| Location::new(ranges()).of_source(source))
}

/// What BuildKit leaves out of the recording.
fn without_sources(json: &Value) -> Value {
    let mut json = json.clone();
    json.as_object_mut().unwrap().remove("sources");
    json
}

#[track_caller]
fn same(result: &BuildResult<Ref>, answer: &Value, name: &str) {
    let json: Value = serde_json::from_slice(&result.metadata["result.json"]).unwrap();
    assert_eq!(without_sources(&json), without_sources(&answer["result_json"]), "{name}");
    if let Some(want) = answer["result_txt"].as_str() {
        assert_eq!(String::from_utf8_lossy(&result.metadata["result.txt"]), want, "{name}");
    }
    if let Some(want) = answer["result_statuscode"].as_str() {
        assert_eq!(result.metadata["result.statuscode"], want, "{name}");
    }
    assert_eq!(result.metadata["version"], answer["version"].as_str().unwrap(), "{name}");
}

#[test]
fn outlines_are_written_as_recorded() {
    let answers = recorded(requests::OUTLINE);
    for (case, answer) in &answers {
        let json = &answer["result_json"];
        let needed = |value: &Value| {
            Needed::default()
                .with_name(text(&value["name"]))
                .with_required(value["required"] == true)
                .with_location(location(value))
        };
        let outline = Outline::default()
            .with_name(text(&json["name"]))
            .with_description(text(&json["description"]))
            .with_args(
                list(json, "args")
                    .map(|arg| {
                        Arg::default()
                            .with_name(text(&arg["name"]))
                            .with_description(text(&arg["description"]))
                            .with_value(text(&arg["value"]))
                            .with_location(location(arg))
                    })
                    .collect(),
            )
            .with_secrets(list(json, "secrets").map(needed).collect())
            .with_ssh(list(json, "ssh").map(needed).collect())
            .with_cache(Vec::new())
            .with_sources(vec![Bytes::from("FROM scratch\n")]);
        same(&outline.to_result(), answer, &case.name);
    }
    assert!(answers.len() > 300, "{}", answers.len());
}

#[test]
fn lists_of_targets_are_written_as_recorded() {
    let answers = recorded(requests::TARGETS);
    for (case, answer) in &answers {
        let targets = list(&answer["result_json"], "targets").map(|target| {
            Target::default()
                .with_name(text(&target["name"]))
                .with_default(target["default"] == true)
                .with_description(text(&target["description"]))
                .with_base(text(&target["base"]))
                .with_platform(text(&target["platform"]))
                .with_location(location(target))
        });
        let list = TargetList::default()
            .with_targets(targets.collect())
            .with_sources(vec![Bytes::from("x")]);
        same(&list.to_result(), answer, &case.name);
    }
    assert!(answers.len() > 300, "{}", answers.len());
}

#[test]
fn checks_are_written_as_recorded() {
    let answers = recorded(requests::LINT);
    let mut shown = 0;
    for (case, answer) in &answers {
        let json = &answer["result_json"];
        let warnings: Vec<LintWarning> = list(json, "warnings")
            .map(|warning| {
                LintWarning::default()
                    .with_rule(text(&warning["ruleName"]))
                    .with_description(text(&warning["description"]))
                    .with_url(text(&warning["url"]))
                    .with_detail(text(&warning["detail"]))
                    .with_location(location(warning))
            })
            .collect();
        let error = &json["buildError"];
        let build_error = error.is_object().then(|| {
            BuildError::default()
                .with_message(text(&error["message"]))
                .with_location(location(error))
        });
        let file = case.dir.join("Dockerfile");
        let Ok(data) = std::fs::read(file) else { continue };
        let info = pb::SourceInfo {
            filename: case.opts.get("filename").map_or("Dockerfile", String::as_str).to_owned(),
            data: data.into(),
            ..pb::SourceInfo::default()
        };
        shown += warnings.len();
        let results = LintResults::default()
            .with_warnings(warnings)
            .with_sources(vec![info.into()])
            .with_build_error(build_error);
        same(&results.to_result(), answer, &case.name);
    }
    assert!(answers.len() > 400 && shown > 60, "{} {shown}", answers.len());
}

struct Nothing;

impl Answers for Nothing {}

#[test]
fn the_list_of_requests_is_the_recorded_one() {
    let answers = recorded(requests::DESCRIBE);
    let [(_, answer)] = &answers[..] else { panic!("{}", answers.len()) };
    let mut answer = answer.clone();
    answer["result_json"] = serde_json::json!({"all": answer["result_json"]});
    let mut result = block_on(requests::answer(requests::DESCRIBE, &Nothing)).unwrap();
    let json: Value = serde_json::from_slice(&result.metadata["result.json"]).unwrap();
    let wrapped = serde_json::json!({"all": json}).to_string();
    result.metadata.insert("result.json".into(), wrapped.into());
    same(&result, &answer, "describe");
}

#[test]
fn a_request_nobody_answers_is_a_typed_error() {
    for request in ["frontend.nosuch", requests::OUTLINE] {
        let error = block_on(requests::answer(request, &Nothing)).unwrap_err();
        assert_eq!(error.to_string(), format!("unsupported request {request}"));
        let named = kiln_wire::status::Detail::Subrequest(request.to_owned());
        assert_eq!(error.status().details, [named]);
    }
}
