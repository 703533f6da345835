//! The tables of small values, recorded from the reference, each case to the letter.

use std::path::Path;

use kiln_dockerfile::suggest;
use kiln_dockerfile::values::{FileMode, format_duration, parse_duration, parse_signal};
use serde_json::{Value, json};

/// Compares what each case of a table gives with what it should, and prints how many agree.
#[expect(clippy::print_stderr, reason = "a count for who reads the test's output")]
fn check(name: &str, result: impl Fn(&Value) -> Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/vectors/micro")
        .join(name)
        .with_extension("json");
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let cases: Vec<Value> = serde_json::from_slice(&text).unwrap();
    let mut differences = Vec::new();
    for case in &cases {
        let mut got = result(case);
        for (key, value) in case.as_object().unwrap() {
            // What the case gives is part of it, next to what comes out.
            if ["input", "value", "options", "case_sensitive"].contains(&key.as_str()) {
                got[key] = value.clone();
            }
        }
        if got != *case {
            differences.push(format!("want {case}\n got {got}"));
        }
    }
    let (count, same) = (cases.len(), cases.len() - differences.len());
    eprintln!("{name}: {same} of {count}");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn input(case: &Value) -> &str {
    case["input"].as_str().unwrap()
}

#[test]
fn durations_are_read_and_written_as_recorded() {
    check("durations", |case| match parse_duration(input(case)) {
        Ok(nanoseconds) => {
            json!({"nanoseconds": nanoseconds, "format": format_duration(nanoseconds)})
        }
        Err(error) => json!({"error": error}),
    });
}

#[test]
fn modes_are_octal_or_symbolic_as_recorded() {
    check("modes", |case| match FileMode::read(input(case)) {
        Ok(FileMode::Octal(bits)) => json!({"octal": bits}),
        Ok(FileMode::Symbolic(_)) => json!({"symbolic": true}),
        Err(error) => json!({"error": error}),
    });
}

#[test]
fn signals_have_the_recorded_numbers() {
    check("signals", |case| match parse_signal(input(case)) {
        Ok(number) => json!({"number": number}),
        Err(error) => json!({"error": error}),
    });
}

#[test]
fn misspelt_words_are_guessed_as_recorded() {
    check("suggest", |case| {
        let options = case["options"].as_array().unwrap().iter().filter_map(Value::as_str);
        let sensitive = case["case_sensitive"].as_bool().unwrap();
        let found = suggest::search(case["value"].as_str().unwrap(), options, sensitive);
        json!({"found": found.is_some(), "match": found.unwrap_or_default()})
    });
}

#[test]
fn a_mode_has_at_most_four_digits() {
    let error = FileMode::parse("10000").unwrap_err();
    assert_eq!(
        error,
        "invalid chmod parameter: '10000'. it should be octal string and between 0 and 07777"
    );
    assert_eq!(FileMode::parse("07777"), Ok(FileMode::Octal(0o7777)));
    assert_eq!(FileMode::parse("u+q").unwrap_err(), "invalid syntax");
}
