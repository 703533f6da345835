//! The recorded tables of platforms and references, line by line.

use kiln_oci::{Platform, Reference};
use serde_json::Value;

fn table(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap()
}

#[test]
fn platforms_are_read_written_and_refused_as_recorded() {
    // One word is completed from the host, and the table was recorded on linux/amd64.
    let recorded_here = Platform::host().format() == "linux/amd64";
    let cases = table(include_str!("../../../tests/vectors/micro/platforms.json"));
    assert!(cases.len() > 50);
    for case in cases {
        let input = case["input"].as_str().unwrap();
        if !recorded_here && !input.contains('/') {
            continue;
        }
        match Platform::parse(input) {
            Err(error) => assert_eq!(error.to_string(), case["error"], "{input}"),
            Ok(platform) => {
                assert_eq!(case["error"], Value::Null, "{input}");
                assert_eq!(platform.format(), case["format"], "{input}");
                assert_eq!(platform.format_all(), case["format_all"], "{input}");
                same(&platform, &case["parsed"], input);
                let normalized = platform.normalized();
                assert_eq!(normalized.format_all(), case["normalized_format_all"], "{input}");
                same(&normalized, &case["normalized"], input);
            }
        }
    }
}

fn same(platform: &Platform, want: &Value, input: &str) {
    let have = [&platform.architecture, &platform.os, &platform.os_version, &platform.variant];
    let want_texts = ["architecture", "os", "os_version", "variant"];
    for (have, key) in have.iter().zip(want_texts) {
        assert_eq!(**have, want[key], "{key} of {input}");
    }
    let features: Vec<Value> = platform.os_features.iter().map(|f| f.as_str().into()).collect();
    let wanted = want["os_features"].as_array().cloned().unwrap_or_default();
    assert_eq!(features, wanted, "features of {input}");
}

#[test]
fn references_are_completed_shortened_and_refused_as_recorded() {
    let cases = table(include_str!("../../../tests/vectors/micro/image_refs.json"));
    assert!(cases.len() > 50);
    for case in cases {
        let input = case["input"].as_str().unwrap();
        match Reference::parse_untagged(input) {
            Err(error) => assert_eq!(error.docker_text(), case["error"], "{input}"),
            Ok(reference) => {
                assert_eq!(case["error"], Value::Null, "{input}");
                assert_eq!(reference.to_string(), case["normalized"], "{input}");
                assert_eq!(reference.familiar(), case["familiar"], "{input}");
                assert_eq!(reference.domain(), case["domain"], "{input}");
                assert_eq!(reference.repository(), case["path"], "{input}");
                let tagged: Reference = input.parse().unwrap();
                assert_eq!(tagged.to_string(), case["tag_name_only"], "{input}");
            }
        }
    }
}

#[test]
fn a_layouts_reference_is_left_as_it_is() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let text = format!("store:tag@{digest}");
    let verbatim = Reference::parse_verbatim(&text).unwrap();
    assert_eq!((verbatim.name.as_str(), verbatim.tag.as_deref()), ("store", Some("tag")));
    assert_eq!(verbatim.to_string(), text);
    assert_eq!(Reference::parse_verbatim("store").unwrap().digest, None);
    assert!(Reference::parse_verbatim("Not A Name").is_err());
}
