//! The tables of the first passes, recorded from the reference: directives, instructions,
//! here-documents, word expansion, quoting and shell words, each case to the letter.

use std::collections::BTreeMap;
use std::path::Path;

use kiln_dockerfile::ast::{self, Arguments, Ast, Instruction};
use kiln_dockerfile::directives::{self, DirectiveName};
use kiln_dockerfile::heredoc::{self, Heredoc};
use kiln_dockerfile::lines::Lines;
use kiln_dockerfile::quoting;
use kiln_dockerfile::words::{ExpandError, Expander};
use kiln_sdk::llb::WordsError;
use serde_json::{Map, Value, json};

fn table(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/micro").join(name);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap()
}

/// Compares what each case gives with what it should, and prints how many agree.
fn check(name: &str, cases: &[Value], result: impl Fn(&str, &Value) -> Map<String, Value>) {
    let mut differences = Vec::new();
    for case in cases {
        let input = case["input"].as_str().unwrap();
        let mut got = result(input, case);
        got.insert("input".into(), input.into());
        if Value::Object(got.clone()) != *case {
            differences.push(format!("want {case}\n got {}", Value::Object(got)));
        }
    }
    let (count, same) = (cases.len(), cases.len() - differences.len());
    eprint(&format!("{name}: {same} of {count}"));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn fields(value: Value) -> Map<String, Value> {
    let Value::Object(fields) = value else { panic!("{value} is no object") };
    fields
}

#[expect(clippy::print_stderr, reason = "a count for who reads the test's output")]
fn eprint(line: &str) {
    eprintln!("{line}");
}

#[test]
fn directives_are_found_as_the_reference_finds_them() {
    let table = table("directives.json");
    check("directives", table.as_array().unwrap(), |input, _| {
        let mut got = Map::new();
        for name in [DirectiveName::Syntax, DirectiveName::Escape, DirectiveName::Check] {
            if let Some(found) = directives::find(name, input) {
                let value = found.first_word();
                got.insert(
                    name.as_str().into(),
                    json!({"full": found.value, "value": value, "line": found.lines.first}),
                );
            }
        }
        if let Some(found) = directives::detect_syntax(input) {
            got.insert(
                "detect_syntax".into(),
                json!({
                    "ref": found.reference,
                    "cmdline": found.command_line,
                    "line": found.lines.first,
                }),
            );
        }
        got
    });
}

#[test]
fn files_become_the_instructions_of_the_reference() {
    let table = table("ast.json");
    check("ast", table.as_array().unwrap(), |input, _| match ast::parse(input).checked() {
        Err(mistake) => fields(json!({"error": mistake.message})),
        Ok(ast) => ast_fields(&ast),
    });
}

fn ast_fields(ast: &Ast<'_>) -> Map<String, Value> {
    let instructions: Vec<Value> = ast
        .instructions
        .iter()
        .map(|instruction| instruction_value(instruction, instruction.lines))
        .collect();
    let mut got = fields(json!({"escape": ast.escape, "instructions": instructions}));
    let warnings = ast.warnings.iter().map(|warning| {
        let short = format!("Empty continuation line found in: {}", warning.joined);
        json!({"line": warning.line, "short": short})
    });
    insert_list(&mut got, "warnings", warnings.collect());
    got
}

fn instruction_value(instruction: &Instruction<'_>, lines: Lines) -> Value {
    let arguments = match &instruction.arguments {
        // The reference gives the inner instruction no lines.
        Arguments::Trigger(inner) => vec![instruction_value(inner, Lines::one(0))],
        // The reference keeps one empty argument for what it does not know.
        Arguments::None if instruction.keyword.is_none() => vec![json!("")],
        arguments => arguments.strings().into_iter().map(Value::from).collect(),
    };
    let mut got = fields(json!({
        "value": instruction.name,
        "original": instruction.original,
        "start_line": lines.first,
        "end_line": lines.last,
        "args": arguments,
    }));
    if instruction.arguments.is_json() {
        got.insert("attributes".into(), json!({"json": true}));
    }
    let strings =
        |words: &[std::borrow::Cow<'_, str>]| words.iter().map(|word| json!(word)).collect();
    insert_list(&mut got, "flags", strings(&instruction.flags));
    insert_list(&mut got, "comments", strings(&instruction.comments));
    let heredocs = instruction.heredocs.iter().map(|heredoc| {
        let mut value = heredoc_value(heredoc);
        value["content"] = json!(heredoc.content);
        value
    });
    insert_list(&mut got, "heredocs", heredocs.collect());
    Value::Object(got)
}

fn insert_list(got: &mut Map<String, Value>, name: &str, list: Vec<Value>) {
    if !list.is_empty() {
        got.insert(name.into(), list.into());
    }
}

fn heredoc_value(heredoc: &Heredoc<'_>) -> Value {
    json!({
        "name": heredoc.name,
        "fd": heredoc.descriptor,
        "expand": heredoc.expand,
        "chomp": heredoc.chomp,
    })
}

#[test]
fn heredoc_words_are_those_of_the_reference() {
    let table = table("heredocs.json");
    check("heredocs", table.as_array().unwrap(), |input, _| match heredoc::parse_word(input) {
        Err(error) => fields(json!({"error": error.to_string()})),
        Ok(None) => Map::new(),
        Ok(Some(heredoc)) => fields(json!({"heredoc": heredoc_value(&heredoc)})),
    });
}

#[test]
fn words_expand_as_in_the_reference() {
    let table = table("shell_words.json");
    let env: BTreeMap<String, String> = table["env"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|pair| pair.as_str()?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    check("shell_words", table["cases"].as_array().unwrap(), |input, case| {
        let plain = Expander::new(case["escape"].as_str().unwrap().chars().next().unwrap());
        let raw = Expander { raw_quotes: true, skip_unset: true, ..plain };
        let mut got = fields(json!({"escape": plain.escape}));
        for (name, expander) in [
            ("word_raw_quotes_skip_unset", raw),
            ("word_skip_quotes", Expander { skip_quotes: true, ..plain }),
        ] {
            if let Ok(expanded) = expander.word(input, &env) {
                got.insert(name.into(), json!(expanded.text));
            }
        }
        match plain_fields(&plain, input, &env) {
            Ok(plain) => got.extend(plain),
            Err(error) => got.extend(fields(json!({"error": error.to_string()}))),
        }
        got
    });
}

fn plain_fields(
    expander: &Expander,
    input: &str,
    env: &BTreeMap<String, String>,
) -> Result<Map<String, Value>, ExpandError> {
    let mut word = expander.word(input, env)?;
    let words = expander.words(input, env)?;
    // The table has the names sorted.
    word.matched.sort_unstable();
    word.unmatched.sort_unstable();
    Ok(fields(json!({
        "word": word.text,
        "matched": word.matched,
        "unmatched": word.unmatched,
        "words": words,
    })))
}

#[test]
fn quotes_are_spelled_as_in_the_reference() {
    let table = table("quoting.json");
    check("quoting", table.as_array().unwrap(), |input, _| {
        fields(json!({
            "json": quoting::json_string(input),
            "quoted": quoting::quote(input),
            "quoted_list": format!("CMD {}", quoting::quote_list(&[input, "x"])),
        }))
    });
    let lists = self::table("json_lists.json");
    for case in lists.as_array().unwrap() {
        let list: Vec<String> = case["input"]
            .as_array()
            .map(|list| list.iter().map(|text| text.as_str().unwrap().to_owned()).collect())
            .unwrap_or_default();
        assert_eq!(quoting::json_list(&list), case["json"].as_str().unwrap_or_default(), "{case}");
    }
}

#[test]
fn shell_words_split_as_in_the_reference() {
    let table = table("shlex.json");
    check("shlex", table.as_array().unwrap(), |input, case| match kiln_sdk::llb::words(input) {
        Ok(words) => fields(json!({"words": words})),
        Err(error) => {
            let error = match error {
                WordsError::OpenQuote(_) => "EOF found when expecting closing quote",
                WordsError::OpenEscape => "EOF found after escape character",
                other => panic!("the reference has no words for {other}"),
            };
            // The words before the mistake are the reference's own business.
            fields(json!({"error": error, "words": case["words"]}))
        }
    });
}

#[test]
fn comma_separated_fields_are_those_of_the_reference() {
    let table = table("csv.json");
    check("csv", table.as_array().unwrap(), |input, _| match kiln_sdk::frontend::fields(input) {
        Ok(read) => fields(json!({"fields": read})),
        Err(error) => fields(json!({"error": error.to_string()})),
    });
}
