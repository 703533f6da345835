//! From the text of a Dockerfile to marshalled LLB, on one core.
//!
//! `recorded` builds every recorded case that can be built, all of them per iteration; `long` builds
//! one file of 10,000 instructions. The bridge is in the process and only looks things up.

use std::fmt::Write as _;
use std::path::Path;

use divan::Bencher;
use kiln_dockerfile::Dockerfile;
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
        expected["build"]["status"] == "ok"
    });
    buildable.map(|case| Fixture::from_case(&case).unwrap()).collect()
}

#[divan::bench(sample_count = 20)]
fn recorded(bencher: Bencher<'_, '_>) {
    let fixtures = fixtures();
    let count = divan::counter::ItemsCount::new(fixtures.len());
    bencher.counter(count).bench_local(|| {
        for fixture in &fixtures {
            divan::black_box(fixture.build(&Dockerfile::mainline()).unwrap());
        }
    });
}

/// A file of stages with commands, copies, variables and labels.
fn long_file(instructions: usize) -> String {
    let mut text = String::from("ARG BASE=alpine:3.20\nFROM ${BASE} AS start\n");
    for n in 0..instructions {
        // Writing to a string cannot fail.
        let _ = match n % 10 {
            0 => writeln!(text, "ENV NAME{n}=value-{n}"),
            1 => writeln!(text, "COPY --chown=1:1 src/{n} /app/${{NAME{}}}/", n - 1),
            2 => writeln!(text, "WORKDIR /work/{n}"),
            3 => writeln!(text, "LABEL label{n}=\"some text\""),
            4 => writeln!(text, "ARG ARGUMENT{n}=x"),
            _ => writeln!(text, "RUN make step-{n} && echo done {n}"),
        };
    }
    text
}

#[divan::bench(args = [1_000, 10_000], sample_count = 10)]
fn long(bencher: Bencher<'_, '_>, instructions: usize) {
    let fixture =
        Fixture::new().any_image().file("dockerfile", "Dockerfile", long_file(instructions));
    bencher.bench_local(|| {
        divan::black_box(fixture.build(&Dockerfile::mainline()).unwrap());
    });
}
