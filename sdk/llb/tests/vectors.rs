//! Replays the LLB vectors: every graph is built with the public API and must give the very bytes.
//!
//! The cases are `tests/vectors/llb/*.json`; their README describes the format. They were recorded
//! from BuildKit's own client and are never edited.

mod replay;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use kiln_llb::Definition;
use kiln_llb::encode::Canonical as _;
use kiln_oci::Digest;
use prost::Message as _;
use serde_json::Value;

fn cases() -> BTreeMap<String, Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/llb");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| {
        path.extension().is_some_and(|e| e == "json") && !path.ends_with("index.json")
    });
    let read = |path: &Path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    files.map(|path| (path.file_stem().unwrap().to_str().unwrap().into(), read(&path))).collect()
}

fn decode(text: &Value) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(text.as_str().unwrap()).unwrap()
}

/// What differs between a case and what we make of it.
fn differences(case: &Value) -> Vec<String> {
    let got = replay::marshal(&case["graph"]);
    let definition = match (got, case.get("error").and_then(Value::as_str)) {
        (Err(error), Some(want)) if error.to_string() == want => return Vec::new(),
        (Err(error), want) => return vec![format!("error `{error}`, want {want:?}")],
        (Ok(_), Some(want)) => return vec![format!("no error, want `{want}`")],
        (Ok(definition), None) => definition,
    };
    let mut found = compare_ops(case, &definition);
    let bytes = definition.to_bytes();
    if let Some(want) = case.get("definition_base64") {
        if bytes != decode(want) {
            found.push("definition bytes differ".into());
        }
    } else if !bytes.is_empty() {
        found.push("definition is not empty".into());
    }
    if Digest::sha256(&bytes).to_string() != case["definition_sha256"] {
        found.push("definition digest differs".into());
    }
    let head = definition.head().unwrap();
    let terminal = &case["terminal"];
    let want = terminal.is_object().then(|| {
        (terminal["digest"].as_str().unwrap().to_owned(), terminal["index"].as_i64().unwrap_or(0))
    });
    if head != want {
        found.push(format!("terminal {head:?}, want {want:?}"));
    }
    if Definition::from_bytes(&bytes).unwrap() != definition {
        found.push("definition does not survive its bytes".into());
    }
    found
}

fn compare_ops(case: &Value, definition: &Definition) -> Vec<String> {
    let none = Vec::new();
    let want = case["ops"].as_array().unwrap_or(&none);
    let mut found = Vec::new();
    if want.len() != definition.def.len() {
        found.push(format!("{} ops, want {}", definition.def.len(), want.len()));
    }
    for (n, (op, got)) in want.iter().zip(&definition.def).enumerate() {
        if Digest::sha256(got).to_string() != op["digest"] || *got != decode(&op["op_base64"]) {
            let shown = kiln_pb::pb::Op::decode(got.clone()).unwrap();
            found.push(format!("op {n}: {shown:?}, want {}", op["op_json"]));
        }
    }
    found
}

#[expect(clippy::print_stderr, reason = "the count is what people ask for")]
#[test]
fn every_graph_gives_the_very_bytes() {
    let cases = cases();
    let mut passed = 0;
    let mut failures = Vec::new();
    for (name, case) in &cases {
        match differences(case) {
            found if found.is_empty() => passed += 1,
            found => failures.push(format!("{name}: {}", found.join("; "))),
        }
    }
    eprintln!("{passed} of {} cases identical", cases.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(cases.len() >= 197, "vectors are missing");
}

#[test]
fn every_recorded_op_is_encoded_as_it_was_decoded() {
    for (name, case) in cases() {
        for op in case["ops"].as_array().unwrap_or(&Vec::new()) {
            let bytes = decode(&op["op_base64"]);
            let decoded = kiln_pb::pb::Op::decode(&*bytes).unwrap();
            assert_eq!(decoded.to_canonical(), bytes, "{name}");
        }
    }
}
