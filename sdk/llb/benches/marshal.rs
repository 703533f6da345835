//! How long it takes to marshal and decode a graph of ten thousand vertices.
//!
//! Run with `cargo bench -p kiln-llb`. The canonical encoder stands beside prost's own in the same
//! run, on the same ops.

use divan::{Bencher, black_box};
use kiln_llb::encode::Canonical as _;
use kiln_llb::{Action, Definition, Exec, Marshal, Mkfile, State, args};
use kiln_oci::Platform;
use kiln_pb::pb;
use prost::Message as _;

const VERTICES: usize = 10_000;

fn main() {
    divan::main();
}

/// Half of the vertices in one chain, half fanned out from one base and merged.
fn graph() -> State {
    let base = State::image("docker.io/library/alpine:3.20").with_env("PATH", "/bin");
    let command = |n: usize| Exec::default().with_args(args!["step", n.to_string()]);
    let chain = (0..VERTICES / 2).fold(base.clone(), |state, n| state.run(command(n)).root());
    let file = |n: usize| Action::mkfile(format!("/f{n}"), "content", Mkfile::default());
    let mut fan: Vec<State> = (0..VERTICES / 2).map(|n| base.file(file(n))).collect();
    fan.push(chain);
    State::merge(&fan)
}

fn definition() -> Definition {
    graph().marshal(&Marshal::on(Platform::new("linux", "amd64"))).unwrap()
}

fn ops() -> Vec<pb::Op> {
    definition().ops().map(|op| op.unwrap().1).collect()
}

#[divan::bench]
fn build(bencher: Bencher<'_, '_>) {
    bencher.bench(graph);
}

#[divan::bench]
fn marshal(bencher: Bencher<'_, '_>) {
    let (graph, options) = (graph(), Marshal::on(Platform::new("linux", "amd64")));
    bencher.bench(|| black_box(&graph).marshal(&options).unwrap());
}

#[divan::bench]
fn decode(bencher: Bencher<'_, '_>) {
    let bytes = definition().to_bytes();
    bencher.bench(|| {
        let definition = Definition::from_bytes(black_box(&bytes)).unwrap();
        definition.ops().map(|op| op.unwrap().1).collect::<Vec<_>>()
    });
}

#[divan::bench]
fn raise(bencher: Bencher<'_, '_>) {
    let definition = definition();
    bencher.bench(|| State::from_definition(black_box(&definition)).unwrap());
}

#[divan::bench]
fn encode_canonically(bencher: Bencher<'_, '_>) {
    let ops = ops();
    bencher.bench(|| black_box(&ops).iter().map(|op| op.to_canonical().len()).sum::<usize>());
}

#[divan::bench]
fn encode_with_prost(bencher: Bencher<'_, '_>) {
    let ops = ops();
    bencher.bench(|| black_box(&ops).iter().map(|op| op.encode_to_vec().len()).sum::<usize>());
}
