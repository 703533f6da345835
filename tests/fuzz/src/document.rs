//! A build file in one of the three languages, read as a tree and as a type.

use std::collections::BTreeMap;

use kiln_document::{Language, Limits, Source, Spanned, parse, parse_tree, render_all};
use schemars::JsonSchema;
use serde::Deserialize;

/// A type with a bit of everything.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Recipe {
    name: Spanned<String>,
    #[serde(default)]
    steps: Vec<Spanned<Step>>,
    #[serde(default)]
    env: BTreeMap<String, Spanned<String>>,
    parent: Option<Box<Self>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Step {
    Run(Spanned<String>),
    Sleep(u8),
    Nothing,
}

/// The first byte chooses the language.
pub(crate) fn run(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let language = match choice % 3 {
        0 => Language::Yaml,
        1 => Language::Toml,
        _ => Language::Json,
    };
    // Small, so that the fuzzer meets them.
    let limits = Limits { bytes: 1 << 16, depth: 12, nodes: 500, aliases: 20, diagnostics: 20 };
    let Ok(source) = Source::from_bytes("fuzzed", bytes) else { return };
    let tree = parse_tree(&source, language, &limits);
    if let Err(mistakes) = &tree {
        assert!(!mistakes.is_empty() && mistakes.len() <= limits.diagnostics);
        assert!(!render_all(mistakes, &source).is_empty());
    }
    match parse::<Recipe>(&source, language, &limits) {
        Ok(recipe) => {
            assert!(tree.is_ok(), "no tree, and yet a value");
            within(&recipe, &source);
        }
        Err(mistakes) => assert!(!render_all(&mistakes, &source).is_empty()),
    }
}

/// Every value stands in the file.
fn within(recipe: &Recipe, source: &Source) {
    let length = source.text().len();
    assert!(recipe.name.span.end <= length);
    for step in &recipe.steps {
        assert!(step.span.end <= length);
        match &**step {
            Step::Run(command) => assert!(command.span.end <= length),
            Step::Sleep(seconds) => {
                assert!(step.span.end - step.span.start >= seconds.to_string().len());
            }
            Step::Nothing => {}
        }
    }
    assert!(recipe.env.values().all(|value| value.span.start <= value.span.end));
    if let Some(parent) = &recipe.parent {
        within(parent, source);
    }
}
