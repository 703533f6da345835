//! The recorded tables of option values and addresses, line by line.

use kiln_frontend::{GitRef, check_cpu_set, fields, quoted, size_bytes, ulimit};
use serde_json::{Value, json};

/// A table of at least so many lines.
fn table(text: &str, least: usize) -> Vec<Value> {
    let lines: Vec<Value> = serde_json::from_str(text).unwrap();
    assert!(lines.len() >= least, "{} lines", lines.len());
    lines
}

fn input(case: &Value) -> &str {
    case["input"].as_str().unwrap()
}

#[test]
fn lists_are_split_as_recorded() {
    for case in table(include_str!("../../../tests/vectors/micro/csv.json"), 18) {
        match fields(input(&case)) {
            Ok(fields) => assert_eq!(json!(fields), case["fields"], "{case}"),
            Err(error) => assert_eq!(error.to_string(), case["error"], "{case}"),
        }
    }
}

#[test]
fn limits_are_read_as_recorded() {
    for case in table(include_str!("../../../tests/vectors/micro/ulimits.json"), 25) {
        match ulimit(input(&case)) {
            Ok(limit) => {
                assert_eq!(json!(limit.name), case["name"], "{case}");
                assert_eq!(json!(limit.soft), case["soft"], "{case}");
                assert_eq!(json!(limit.hard), case["hard"], "{case}");
            }
            Err(error) => assert_eq!(error.to_string(), case["error"], "{case}"),
        }
    }
}

#[test]
fn sets_of_cpus_are_checked_as_recorded() {
    for case in table(include_str!("../../../tests/vectors/micro/cpusets.json"), 18) {
        match check_cpu_set(input(&case)) {
            Ok(()) => assert_eq!(case["error"], Value::Null, "{case}"),
            Err(error) => assert_eq!(error.to_string(), case["error"], "{case}"),
        }
    }
}

#[test]
fn sizes_are_read_as_recorded() {
    for case in table(include_str!("../../../tests/vectors/micro/sizes.json"), 40) {
        match size_bytes(input(&case)) {
            Ok(bytes) => assert_eq!(json!(bytes), case["bytes"], "{case}"),
            Err(error) => assert_eq!(error.to_string(), case["error"], "{case}"),
        }
    }
}

#[test]
fn texts_are_quoted_as_recorded() {
    for case in table(include_str!("../../../tests/vectors/micro/quoting.json"), 20) {
        assert_eq!(quoted(input(&case)), case["quoted"], "{case}");
    }
}

#[test]
fn addresses_of_repositories_are_read_as_recorded() {
    for case in table(include_str!("../../../tests/vectors/micro/git_refs.json"), 80) {
        match GitRef::parse(input(&case)) {
            Ok(git) => {
                let have = json!({
                    "checksum": git.checksum,
                    "fetch_by_commit": git.fetch_by_commit,
                    "indistinguishable_from_local": git.looks_local,
                    "keep_git_dir": git.keep_git_dir,
                    "mtime": git.mtime,
                    "ref": git.reference,
                    "remote": git.remote,
                    "short_name": git.short_name,
                    "subdir": git.subdir,
                    "submodules": git.submodules,
                    "unencrypted_tcp": git.unencrypted,
                });
                assert_eq!(have, case["ref"], "{}", input(&case));
            }
            Err(error) => {
                assert_eq!(error.to_string(), case["error"], "{}", input(&case));
                assert_eq!(json!(error.is_git()), case["is_git"], "{}", input(&case));
            }
        }
    }
}
