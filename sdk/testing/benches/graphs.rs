//! How long it takes to read, compare, simulate and draw a graph of ten thousand steps.
//!
//! Run with `cargo bench -p kiln-testing`.

use divan::{Bencher, black_box};
use kiln_llb::{
    Action, Constraints, CopyOptions, Definition, Exec, Local, Marshal, SourceMap, SourceRange,
    State, args,
};
use kiln_oci::Platform;
use kiln_testing::{Edit, LintOptions, World};

const STEPS: u32 = 10_000;

fn main() {
    divan::main();
}

/// Stages of a hundred steps, every tenth a copy, all with names and places; `word` is part of the
/// command in the middle.
fn graph(word: &str) -> Definition {
    let map = SourceMap::new("build.yaml", "YAML", "x\n".repeat(100));
    let context = State::local("context", Local::default());
    let stages = (0..STEPS / 100).map(|stage| {
        let base = State::image("docker.io/library/alpine:3.20").with_env("PATH", "/bin");
        (0..100).fold(base, |state, n| {
            if n % 10 == 5 {
                let copy =
                    Action::copy(&context, format!("/s{stage}"), "/src/", CopyOptions::default());
                return state.file(copy);
            }
            let word = if stage * 100 + n == STEPS / 2 { word } else { "step" };
            let name = format!("[{n}/100] RUN {word} {stage} {n}");
            let constraints = Constraints::named(name)
                .with_locations(vec![map.location([SourceRange::lines(n + 1, n + 1)])]);
            let args = args![word, stage.to_string(), n.to_string()];
            state.run(Exec::default().with_args(args).with_constraints(constraints)).root()
        })
    });
    let stages: Vec<State> = stages.collect();
    State::merge(&stages).marshal(&Marshal::on(Platform::new("linux", "amd64"))).unwrap()
}

#[divan::bench]
fn text(bencher: Bencher<'_, '_>) {
    let definition = graph("step");
    bencher.bench(|| kiln_testing::text(black_box(&definition)).unwrap());
}

#[divan::bench]
fn difference_of_one_command(bencher: Bencher<'_, '_>) {
    let (before, after) = (graph("step"), graph("other"));
    bencher.bench(|| kiln_testing::difference(black_box(&before), &after).unwrap());
}

#[divan::bench]
fn difference_of_nothing(bencher: Bencher<'_, '_>) {
    let definition = graph("step");
    bencher.bench(|| kiln_testing::difference(black_box(&definition), &definition).unwrap());
}

#[divan::bench]
fn lint(bencher: Bencher<'_, '_>) {
    let definition = graph("step");
    let options = LintOptions::default();
    bencher.bench(|| kiln_testing::lint(black_box(&definition), &options).unwrap());
}

#[divan::bench]
fn simulate_one_edit(bencher: Bencher<'_, '_>) {
    let definition = graph("step");
    let world = World::of_context((0..100).map(|n| (format!("s{n}/a"), "a")));
    bencher.bench(|| {
        let edit = Edit::write("s50/a", "b");
        kiln_testing::simulate(black_box(&definition), &world, [edit]).unwrap()
    });
}

#[divan::bench]
fn svg(bencher: Bencher<'_, '_>) {
    let definition = graph("step");
    bencher.bench(|| kiln_testing::svg(black_box(&definition)).unwrap());
}
