//! The recorded cases of the Dockerfile vectors, read and rendered again without a frontend.
//!
//! What the writer makes of recorded definitions must be what was recorded, and the stubs must give
//! every recorded build the files it read. The vectors are never edited.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_llb::Definition;
use kiln_testing::{Case, render};
use kiln_wire::pb;
use prost::Message as _;
use serde_json::Value;

fn folder(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(kind)
}

fn cases() -> Vec<Case> {
    let mut dirs: Vec<PathBuf> = std::fs::read_dir(folder("dockerfile"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    dirs.sort();
    dirs.iter().map(|dir| Case::load(dir).unwrap()).collect()
}

/// Every `ops` of a recorded answer, with the object it is in.
fn for_each_definition(value: &Value, visit: &mut impl FnMut(&Value)) {
    match value {
        Value::Object(object) => {
            if object.contains_key("ops") && object.contains_key("definition_sha256") {
                visit(value);
            }
            object.values().for_each(|value| for_each_definition(value, visit));
        }
        Value::Array(values) => values.iter().for_each(|value| for_each_definition(value, visit)),
        _ => {}
    }
}

fn bytes_of(op: &Value) -> Vec<u8> {
    STANDARD.decode(op["op_base64"].as_str().unwrap()).unwrap()
}

#[test]
fn every_recorded_op_is_rendered_as_it_was_recorded() {
    let mut rendered = 0;
    let mut check = |name: &str, recorded: &Value| {
        for recorded in recorded["ops"].as_array().unwrap() {
            let decoded = pb::Op::decode(bytes_of(recorded).as_slice()).unwrap();
            assert_eq!(render::op(&decoded), recorded["op_json"], "{name}");
            rendered += 1;
        }
    };
    for case in cases() {
        let expected = case.expected().unwrap().unwrap();
        for_each_definition(&expected, &mut |recorded| check(&case.name, recorded));
    }
    for entry in std::fs::read_dir(folder("llb")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "json") {
            let recorded: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            for_each_definition(&recorded, &mut |recorded| {
                check(&path.to_string_lossy(), recorded)
            });
        }
    }
    assert!(rendered > 5000, "{rendered} ops");
}

#[test]
fn whole_definitions_are_rendered_as_they_were_recorded() {
    let mut rendered = 0;
    for entry in std::fs::read_dir(folder("llb")).unwrap() {
        let path = entry.unwrap().path();
        let recorded: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let Some(bytes) = recorded.get("definition_base64") else { continue };
        let bytes = STANDARD.decode(bytes.as_str().unwrap()).unwrap();
        let definition = Definition::from_bytes(&bytes).unwrap();
        let got = render::definition(&definition).unwrap();
        for (key, value) in got {
            // The LLB vectors keep the ids of progress groups that their graphs give.
            if key == "definition_sha256" || key == "ops" {
                if definition.metadata.values().any(|m| m.progress_group.is_some()) {
                    continue;
                }
            }
            assert_eq!(value, recorded[&key], "{}: {key}", path.display());
        }
        rendered += 1;
    }
    assert!(rendered >= 150, "{rendered} definitions");
}
