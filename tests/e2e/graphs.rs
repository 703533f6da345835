//! Large graphs, and graphs with many paths, are answered from a cold and from a full cache.
//!
//! How long that takes is printed and judged by who reads it: `KILN_TEST_VERTICES` says how many vertices
//! the largest graphs have, for example `KILN_TEST_VERTICES=10000 cargo test --test suite graphs -- --nocapture`.

use std::fs;
use std::time::Duration;

use kiln_llb::{Action, Marshal, Mkfile, State};
use kiln_tests::Kiln;

/// How many vertices the largest graphs have.
#[expect(clippy::disallowed_methods, reason = "this is for who runs the test")]
fn vertices() -> usize {
    std::env::var("KILN_TEST_VERTICES").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000)
}

fn leaf(number: usize) -> State {
    let (path, text) = (format!("/leaf-{number}"), format!("{number}\n"));
    State::scratch().file(Action::mkfile(path, text, Mkfile::default()))
}

/// Says something to who asked for more than passing or failing.
#[expect(clippy::print_stdout, reason = "hidden unless asked for")]
fn report(line: &str) {
    println!("{line}");
}

/// Builds a graph twice, the second time from the cache; the files of the result.
fn build(name: &str, top: &State) -> usize {
    let kiln = Kiln::new().within(Duration::from_secs(1_800));
    let definition = top.marshal(&Marshal::default()).unwrap();
    let (vertices, bytes) = (definition.len() - 1, definition.to_bytes());
    assert!(bytes.len() < kiln_wire::MAX_MESSAGE_BYTES, "{} bytes", bytes.len());
    let dest = kiln.path("out");
    let mut took = Vec::new();
    for _ in 0..2 {
        let build = kiln.build().output("type=local", &dest).definition(bytes.clone());
        took.push(build.run().succeeds().elapsed);
    }
    report(&format!("{name}: {vertices} vertices, {:.1?} cold, {:.1?} cached", took[0], took[1]));
    fs::read_dir(dest).unwrap().count()
}

#[test]
fn a_chain_is_answered() {
    let top = (0..vertices()).fold(leaf(0), |below, _| State::merge(&[below.clone(), below]));
    assert_eq!(build("chain", &top), 1);
}

#[test]
fn a_vertex_of_many_inputs_is_answered() {
    let inputs: Vec<State> = (0..vertices()).map(leaf).collect();
    assert_eq!(build("inputs", &State::merge(&inputs)), inputs.len());
}

#[test]
fn diamonds_upon_diamonds_are_answered() {
    let top = (1..65).fold(leaf(0), |below, number| {
        let sides = [2 * number, 2 * number + 1].map(|side| {
            let action = Action::mkfile(format!("/side-{side}"), "x", Mkfile::default());
            below.file(action)
        });
        State::merge(&sides)
    });
    assert_eq!(build("diamonds", &top), 129);
}
