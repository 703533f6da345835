//! The recorded cases as far as the text alone decides: mistakes that stop the reading, with their
//! lines, and what the linter says before any variable is known.

use std::path::{Path, PathBuf};

use kiln_dockerfile::ast;
use kiln_dockerfile::lines::Lines;
use kiln_dockerfile::lint::{LintConfig, Linter, Violation, checks};
use kiln_dockerfile::mistake::Mistake;
use kiln_dockerfile::stages::Stages;
use serde_json::Value;

/// The rules that need no variables, images or ignore files.
const RULES: [&str; 8] = [
    "StageNameCasing",
    "FromAsCasing",
    "NoEmptyContinuation",
    "ConsistentInstructionCasing",
    "DuplicateStageName",
    "ReservedStageName",
    "MaintainerDeprecated",
    "InvalidDefinitionDescription",
];

/// A recorded build whose Dockerfile lies next to it.
struct Case {
    name: String,
    text: String,
    expected: Value,
    config: LintConfig,
}

fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/dockerfile");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(&root)
        .unwrap_or_else(|error| panic!("{}: {error}", root.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders.iter().filter_map(|folder| case(folder)).collect()
}

/// The case of a folder; none if its Dockerfile is elsewhere, or forwards.
fn case(folder: &Path) -> Option<Case> {
    let json = |file: &str| -> Value {
        serde_json::from_slice(&std::fs::read(folder.join(file)).unwrap()).unwrap()
    };
    let (case, expected) = (json("case.json"), json("expected.json"));
    let opts = &case["opts"];
    let elsewhere = ["context", "filename", "dockerfilekey", "contextkey"];
    if elsewhere.iter().any(|key| !opts[*key].is_null()) || expected["build"]["status"] == "forward"
    {
        return None;
    }
    let text = std::fs::read_to_string(folder.join("Dockerfile")).ok()?;
    // An empty file is refused before it is read.
    if text.is_empty() {
        return None;
    }
    let check = match opts["build-arg:BUILDKIT_DOCKERFILE_CHECK"].as_str() {
        Some(check) => check.to_owned(),
        None => {
            let directive = kiln_dockerfile::directives::find(
                kiln_dockerfile::directives::DirectiveName::Check,
                &text,
            );
            directive.map(|found| found.first_word().to_owned()).unwrap_or_default()
        }
    };
    let name = folder.file_name()?.to_string_lossy().into_owned();
    Some(Case { name, text, expected, config: LintConfig::parse(&check).ok()? })
}

fn read(text: &str, linter: &mut Linter) -> Result<(), Mistake> {
    let ast = ast::parse(text).checked()?;
    for warning in &ast.warnings {
        linter.report(&[""; 0], Lines::one(warning.line), &Violation::NoEmptyContinuation);
    }
    let file = Stages::read(&ast, linter)?;
    checks::stage_names(&file, linter);
    checks::instruction_casing(&file, linter);
    Ok(())
}

/// Every line of every source, innermost first.
fn lines(sources: &Value) -> Vec<Vec<u64>> {
    let of = |source: &Value| -> Vec<u64> {
        let ranges = source["ranges"].as_array();
        ranges.into_iter().flatten().map(|range| range["start"]["line"].as_u64().unwrap()).collect()
    };
    sources.as_array().into_iter().flatten().map(of).collect()
}

#[expect(clippy::print_stderr, reason = "a count for who reads the test's output")]
fn report(what: &str, count: usize, differences: &[String]) {
    eprintln!("{what}: {} of {count}", count - differences.len());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn mistakes_of_the_text_have_the_recorded_words_and_lines() {
    let (mut count, mut differences) = (0, Vec::new());
    for case in cases() {
        let error = &case.expected["build"]["error"];
        let (message, places) = match read(&case.text, &mut Linter::silent()) {
            Ok(()) => {
                let message = error["message"].as_str().unwrap_or_default();
                if message.starts_with("dockerfile parse error") {
                    differences.push(format!("{}: no mistake, want {message}", case.name));
                }
                continue;
            }
            Err(mistake) => (mistake.message, mistake.places),
        };
        count += 1;
        let places: Vec<Vec<u64>> =
            places.iter().map(|lines| lines.each().map(u64::from).collect()).collect();
        if error["message"] != *message || lines(&error["sources"]) != places {
            differences.push(format!("{}: {message} at {places:?}, want {error}", case.name));
        }
    }
    report("mistakes", count, &differences);
}

#[test]
fn the_linter_says_of_the_text_what_was_recorded() {
    let (mut count, mut differences) = (0, Vec::new());
    for case in cases() {
        let mut linter = Linter::new(case.config);
        if read(&case.text, &mut linter).is_err() {
            continue;
        }
        let Some(expected) = case.expected["build"]["warnings"].as_array() else { continue };
        let words = |warning: &Value| warning["short"].as_str().unwrap().to_owned();
        let is_ours = |short: &String| RULES.iter().any(|rule| short.starts_with(rule));
        let expected: Vec<String> = expected.iter().map(words).filter(is_ours).collect();
        let got: Vec<String> = linter.warnings().iter().map(|warning| warning.short()).collect();
        count += usize::from(!expected.is_empty());
        if sorted(&expected) != sorted(&got) {
            differences.push(format!("{}: {got:?}, want {expected:?}", case.name));
        }
    }
    report("lint", count, &differences);
}

fn sorted(list: &[String]) -> Vec<&String> {
    let mut list: Vec<&String> = list.iter().collect();
    list.sort();
    list
}
