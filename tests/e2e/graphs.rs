//! Large graphs, and graphs with many paths, are answered from a cold and from a full cache.
//!
//! How long that takes is printed and judged by who reads it: `KILN_TEST_VERTICES` says how many vertices
//! the largest graphs have, for example `KILN_TEST_VERTICES=10000 cargo test --test suite graphs -- --nocapture`.

use std::fs;
use std::time::Duration;

use kiln_llb::{Action, Definition, Marshal, Mkfile, State};
use kiln_oci::Digest;
use kiln_tests::Kiln;
use kiln_wire::pb;
use prost::Message as _;

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

fn marshal(state: &State) -> Definition {
    state.marshal(&Marshal::default()).unwrap()
}

/// Builds a graph twice, the second time from the cache; the files of the result.
fn build(name: &str, definition: &Definition) -> usize {
    let kiln = Kiln::new().within(Duration::from_secs(1_800));
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
    // By hand: what a builder says about each vertex would take most of a message.
    let mut def = pb::Definition::from(marshal(&leaf(0))).def;
    let mut head = def.pop().unwrap();
    for _ in 0..vertices() {
        let mut op = pb::Op::decode(head).unwrap();
        let inputs = vec![pb::MergeInput { input: 0 }, pb::MergeInput { input: 0 }];
        op.op = Some(pb::op::Op::Merge(pb::MergeOp { inputs }));
        let vertex = op.encode_to_vec();
        let digest = Digest::sha256(&vertex).to_string();
        def.push(vertex.into());
        let input = pb::Input { digest, index: 0 };
        head = pb::Op { inputs: vec![input], ..pb::Op::default() }.encode_to_vec().into();
    }
    def.push(head);
    let definition = pb::Definition { def, ..pb::Definition::default() };
    assert_eq!(build("chain", &definition.into()), 1);
}

#[test]
fn a_vertex_of_many_inputs_is_answered() {
    let inputs: Vec<State> = (0..vertices()).map(leaf).collect();
    assert_eq!(build("inputs", &marshal(&State::merge(&inputs))), inputs.len());
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
    assert_eq!(build("diamonds", &marshal(&top)), 129);
}
