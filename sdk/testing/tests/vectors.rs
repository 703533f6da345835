//! The recorded cases of the Dockerfile vectors, read and rendered again without a frontend.
//!
//! What the writer makes of recorded definitions must be what was recorded, and the stubs must give
//! every recorded build the files it read. The vectors are never edited.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_frontend::{
    Bridge as _, ImageConfigRequest, LayoutStore, Solve, SourceIdentifier, SourceRequest,
};
use kiln_llb::Definition;
use kiln_testing::{Case, Fixture, block_on, render};
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
                check(&path.to_string_lossy(), recorded);
            });
        }
    }
    assert!(rendered > 4600, "{rendered} ops");
}

#[test]
fn whole_definitions_are_rendered_as_they_were_recorded() {
    let mut rendered = 0;
    for entry in std::fs::read_dir(folder("llb")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let recorded: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let Some(bytes) = recorded.get("definition_base64") else { continue };
        let bytes = STANDARD.decode(bytes.as_str().unwrap()).unwrap();
        let definition = Definition::from_bytes(&bytes).unwrap();
        let got = render::definition(&definition).unwrap();
        for (key, value) in got {
            // The LLB vectors keep the ids of progress groups that their graphs give.
            let named = definition.metadata.values().any(|m| m.progress_group.is_some());
            if named && (key == "definition_sha256" || key == "ops") {
                continue;
            }
            assert_eq!(value, recorded[&key], "{}: {key}", path.display());
        }
        rendered += 1;
    }
    assert!(rendered >= 150, "{rendered} definitions");
}

/// The bytes of the whole load again, as far as they follow from what was recorded.
fn definition_of(load: &Value) -> pb::Definition {
    let ops = load["ops"].as_array().unwrap();
    pb::Definition { def: ops.iter().map(|op| bytes_of(op).into()).collect(), ..Default::default() }
}

#[test]
fn the_stubs_give_every_recorded_build_the_files_it_read() {
    let (mut read, mut missing) = (0, 0);
    for case in cases() {
        let expected = case.expected().unwrap().unwrap();
        let bridge = Fixture::from_case(&case).unwrap().bridge();
        for load in expected["build"]["loads"].as_array().unwrap_or(&Vec::new()) {
            let request = Solve::default()
                .with_definition(Definition::from(definition_of(load)))
                .with_evaluate(true);
            let solved = block_on(bridge.solve(request)).unwrap().into_single().unwrap().unwrap();
            for path in load["reads"].as_array().unwrap_or(&Vec::new()) {
                let path = path.as_str().unwrap();
                match block_on(bridge.read_file(&solved, path, None)) {
                    Ok(_) => read += 1,
                    Err(error) => {
                        let want = format!("open {path}: no such file or directory");
                        assert_eq!(error.message(), want, "{}", case.name);
                        missing += 1;
                    }
                }
            }
        }
    }
    assert!(read > 600 && missing > 1000, "{read} read, {missing} missing");
}

#[test]
fn the_stubs_answer_every_recorded_question_about_images_and_sources() {
    let (mut found, mut refused) = (0, 0);
    for case in cases() {
        let expected = case.expected().unwrap().unwrap();
        let bridge = Fixture::from_case(&case).unwrap().bridge();
        for asked in expected["build"]["resolves"].as_array().unwrap_or(&Vec::new()) {
            let text = |key: &str| asked[key].as_str().unwrap_or_default().to_owned();
            let answer = if asked["kind"] == "source" {
                let source = SourceIdentifier::new(text("identifier"));
                block_on(bridge.resolve_source(source, SourceRequest::default())).map(|meta| {
                    let known = meta.git.is_some() || meta.http.is_some();
                    assert_eq!(known, !text("identifier").starts_with("local:"), "{}", case.name);
                })
            } else {
                let store_id = asked["store"]["store_id"].as_str().map(str::to_owned);
                let request = ImageConfigRequest::default()
                    .with_platform(
                        Some(text("platform"))
                            .filter(|platform| !platform.is_empty())
                            .map(|platform| platform.parse().unwrap()),
                    )
                    .with_layout(store_id.map(|store_id| {
                        LayoutStore::default()
                            .with_store_id(store_id)
                            .with_session_id(text("store"))
                    }));
                block_on(bridge.resolve_image(&text("ref"), request)).map(|image| {
                    assert_ne!(image.non_image.is_some(), !image.config.is_empty());
                })
            };
            match answer {
                Ok(()) => found += 1,
                Err(error) => {
                    let image = case.images.iter().find(|image| image.error.is_some());
                    assert_eq!(
                        Some(&error.to_string()),
                        image.unwrap().error.as_ref(),
                        "{}",
                        case.name
                    );
                    refused += 1;
                }
            }
        }
    }
    assert_eq!((found + refused, refused), (539, 7));
}

#[test]
fn every_recorded_definition_is_rendered_whole() {
    let mut rendered = 0;
    for case in cases() {
        let expected = case.expected().unwrap().unwrap();
        for_each_definition(&expected, &mut |recorded| {
            let definition = Definition::from(definition_of(recorded));
            let got = render::definition(&definition).unwrap();
            assert_eq!(got["terminal"], recorded["terminal"], "{}", case.name);
            let ops = got["ops"].as_array().unwrap().iter().map(|op| &op["digest"]);
            let want = recorded["ops"].as_array().unwrap().iter().map(|op| &op["digest"]);
            assert!(ops.eq(want), "{}", case.name);
            rendered += 1;
        });
    }
    assert!(rendered > 1400, "{rendered}");
}
