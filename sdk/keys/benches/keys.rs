//! How long it takes to key ten thousand ops, and to answer what is in a tree of ten thousand
//! entries whose files were hashed before.
//!
//! Run with `cargo bench -p kiln-keys`.

use divan::{Bencher, black_box};
use kiln_keys::contenthash::{Entries, FileKind, Header, Origin, checksum};
use kiln_keys::{Selector, cache_map};
use kiln_oci::Platform;
use kiln_pb::pb;
use kiln_pb::pb::file_action::Action;
use kiln_pb::pb::op::Op as Kind;

const OPS: usize = 10_000;
const DIRECTORIES: usize = 100;
const FILES: usize = 99;

fn main() {
    divan::main();
}

fn exec(number: usize) -> pb::ExecOp {
    let meta = pb::Meta {
        args: ["/bin/sh", "-c", &format!("make step-{number} && echo done > /done")]
            .map(str::to_owned)
            .into(),
        env: ["PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"].map(str::to_owned).into(),
        cwd: "/src".into(),
        ..pb::Meta::default()
    };
    let mount = |dest: &str, input, output| pb::Mount {
        dest: dest.into(),
        input,
        output,
        ..pb::Mount::default()
    };
    let source = pb::Mount { readonly: true, selector: "/src".into(), ..mount("/src", 1, -1) };
    pb::ExecOp { meta: Some(meta), mounts: vec![mount("/", 0, 0), source], ..Default::default() }
}

fn copy(number: usize) -> pb::FileOp {
    let copy = pb::FileActionCopy {
        src: format!("/src/{number}/*.c"),
        dest: "/src/".into(),
        allow_wildcard: true,
        mode: -1,
        exclude_patterns: vec!["**/*.tmp".into()],
        timestamp: -1,
        ..pb::FileActionCopy::default()
    };
    let action = Some(Action::Copy(copy));
    let action = pb::FileAction { input: 0, secondary_input: 1, output: 0, action };
    pb::FileOp { actions: vec![action] }
}

fn ops() -> Vec<pb::Op> {
    let op = |number: usize| match number % 2 {
        0 => Kind::Exec(exec(number)),
        _ => Kind::File(copy(number)),
    };
    let inputs = vec![pb::Input::default(); 2];
    (0..OPS)
        .map(|number| pb::Op { inputs: inputs.clone(), op: Some(op(number)), ..pb::Op::default() })
        .collect()
}

#[divan::bench]
fn cache_maps(bencher: Bencher<'_, '_>) {
    let (ops, platform) = (ops(), Platform::new("linux", "amd64"));
    bencher.bench(|| {
        ops.iter().for_each(|op| drop(black_box(cache_map(op, &platform).unwrap())));
    });
}

fn tree() -> Entries {
    let mut tree = Entries::new(Origin::Sent);
    let header = |kind| Header { kind, mode: 0o644, size: 4, ..Header::default() };
    for directory in 0..DIRECTORIES {
        tree.insert_with(format!("d{directory}"), &header(FileKind::Directory), b"");
        for file in 0..FILES {
            let path = format!("d{directory}/f{file}.c");
            tree.insert_with(path, &header(FileKind::File), b"data");
        }
    }
    tree
}

fn ask(bencher: Bencher<'_, '_>, selector: &Selector) {
    let tree = tree();
    bencher.bench(|| checksum(black_box(&tree), selector).unwrap());
}

#[divan::bench]
fn content_of_everything(bencher: Bencher<'_, '_>) {
    ask(bencher, &Selector { path: "/".into(), ..Selector::default() });
}

#[divan::bench]
fn content_without_some(bencher: Bencher<'_, '_>) {
    let exclude = vec!["**/*7.c".into(), "d1".into()];
    ask(bencher, &Selector { path: "/".into(), exclude, ..Selector::default() });
}

#[divan::bench]
fn content_of_a_wildcard(bencher: Bencher<'_, '_>) {
    ask(bencher, &Selector { path: "/d5*/*.c".into(), wildcard: true, ..Selector::default() });
}

#[divan::bench]
fn content_of_one_file(bencher: Bencher<'_, '_>) {
    ask(bencher, &Selector { path: "/d5/f5.c".into(), ..Selector::default() });
}
