//! How fast text becomes instructions and words become values, over the recorded Dockerfiles.
//!
//! `cargo bench -p kiln-dockerfile --bench reading`

use std::collections::BTreeMap;
use std::path::Path;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use kiln_dockerfile::ast::{self, Arguments};
use kiln_dockerfile::words::Expander;

fn main() {
    divan::main();
}

/// Every recorded Dockerfile but the one of a line too long to be read.
fn files() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/dockerfile");
    let mut files: Vec<String> = std::fs::read_dir(root)
        .unwrap()
        .filter_map(|case| std::fs::read_to_string(case.unwrap().path().join("Dockerfile")).ok())
        .filter(|text| text.len() < 60_000)
        .collect();
    files.sort();
    files
}

/// A file of ten thousand lines, as a generator would write it.
fn long_file() -> String {
    let steps = (0..2_500).map(|n| {
        format!("# step {n}\nRUN --mount=type=cache,target=/c{n} make a{n} && \\\n    make b{n}\nENV A{n}=\"${{A}}/{n}\" B{n}=x\n")
    });
    std::iter::once("FROM alpine\n".to_owned()).chain(steps).collect()
}

#[divan::bench]
fn recorded_files_are_parsed(bencher: Bencher<'_, '_>) {
    let files = files();
    let bytes: usize = files.iter().map(String::len).sum();
    bencher.counter(BytesCount::new(bytes)).counter(ItemsCount::new(files.len())).bench(|| {
        for file in &files {
            divan::black_box(ast::parse(divan::black_box(file)));
        }
    });
}

#[divan::bench]
fn ten_thousand_lines_are_parsed(bencher: Bencher<'_, '_>) {
    let file = long_file();
    bencher.counter(BytesCount::new(file.len())).bench(|| ast::parse(divan::black_box(&file)));
}

#[divan::bench]
fn recorded_arguments_are_expanded(bencher: Bencher<'_, '_>) {
    let files = files();
    let trees: Vec<_> = files.iter().map(|file| ast::parse(file)).collect();
    let words: Vec<(char, &str)> = trees
        .iter()
        .flat_map(|tree| tree.instructions.iter().map(|instruction| (tree.escape, instruction)))
        .filter(|(_, instruction)| !matches!(instruction.arguments, Arguments::Text(_)))
        .flat_map(|(escape, instruction)| {
            instruction.arguments.strings().into_iter().map(move |word| (escape, word))
        })
        .collect();
    let env: BTreeMap<String, String> = ["A", "B", "VERSION", "TARGETARCH", "PATH"]
        .map(|name| (name.to_owned(), format!("/value/of/{name}")))
        .into();
    bencher.counter(ItemsCount::new(words.len())).bench(|| {
        for (escape, word) in &words {
            // Some of the recorded words cannot be expanded, which takes its time too.
            let _unchecked = divan::black_box(Expander::new(*escape).word(word, &env));
        }
    });
}
