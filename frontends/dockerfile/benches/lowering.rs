//! From the text of a Dockerfile to marshalled LLB, on one core.
//!
//! `recorded` builds every recorded case that can be built, all of them per iteration; `long` builds
//! one file of 10,000 instructions. The bridge is in the process and only looks things up.

use std::fmt::Write as _;
use std::path::Path;

mod answers;

use answers::Answers;
use divan::Bencher;
use futures::executor::block_on;
use kiln_dockerfile::Dockerfile;
use kiln_sdk::frontend::run;
use kiln_testing::{Case, Fixture};

fn main() {
    divan::main();
}

/// Everything the recorded cases build.
fn fixtures() -> Vec<Fixture> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/dockerfile");
    let mut paths: Vec<_> = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|path| path.is_dir());
    paths.sort();
    let cases = paths.iter().map(|path| Case::load(path).unwrap());
    let buildable = cases.filter(|case| {
        let expected = case.expected().unwrap().unwrap();
        expected["build"]["status"] == "ok" && case.channel == "mainline"
    });
    buildable.map(|case| Fixture::from_case(&case).unwrap()).collect()
}

/// Cases whose files come from several operations are left out: [`Answers`] knows files by one.
#[divan::bench(sample_count = 20)]
fn recorded(bencher: Bencher<'_, '_>) {
    let frontend = Dockerfile::mainline();
    let answers: Vec<Answers> =
        fixtures().iter().filter_map(|fixture| Answers::learned(fixture, &frontend)).collect();
    let count = divan::counter::ItemsCount::new(answers.len());
    bencher.counter(count).bench_local(|| {
        for answers in &answers {
            divan::black_box(block_on(run(&frontend, answers.again())).unwrap());
        }
    });
}

/// A file of stages with commands, copies, variables and labels. `stage` instructions make a stage;
/// the next one starts from the image again.
fn long_file(instructions: usize, stage: usize) -> String {
    let mut text = String::from("ARG BASE=alpine:3.20\n");
    for n in 0..instructions {
        if n % stage == 0 {
            let _ = writeln!(text, "FROM ${{BASE}} AS stage{n}");
        }
        // Writing to a string cannot fail.
        let _ = match n % 10 {
            0 => writeln!(text, "ENV NAME{n}=value-{n}"),
            1 => writeln!(text, "COPY --chown=1:1 src/{n} /app/${{NAME{}}}/", n - 1),
            2 => writeln!(text, "WORKDIR /work/{n}"),
            3 => writeln!(text, "LABEL label{n}=\"some text\""),
            4 => writeln!(text, "ARG ARGUMENT{n}=x"),
            5 if n >= stage => {
                writeln!(text, "COPY --from=stage{} /app /app", n / stage * stage - stage)
            }
            _ => writeln!(text, "RUN make step-{n} && echo done {n}"),
        };
    }
    text
}

/// A long file of many stages, and one of a single stage, where every command has all variables.
#[divan::bench(args = [(1_000, 100), (10_000, 100), (1_000, 1_000)], sample_count = 10)]
fn long(bencher: Bencher<'_, '_>, (instructions, stage): (usize, usize)) {
    let text = long_file(instructions, stage);
    let fixture = Fixture::new().any_image().file("dockerfile", "Dockerfile", text);
    bencher.bench_local(|| {
        divan::black_box(fixture.build(&Dockerfile::mainline()).unwrap());
    });
}
