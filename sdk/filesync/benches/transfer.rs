//! Ten thousand small files: the first transfer, the next with one change, and a plain copy to
//! compare with, in one run. Run with `cargo bench -p kiln-filesync`.

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use kiln_filesync::{Owner, ReceiveOptions, SendOptions};
use tempfile::TempDir;

const FILES: usize = 10_000;

fn main() {
    divan::main();
}

fn tree() -> TempDir {
    let root = TempDir::new().expect("a temporary directory");
    for index in 0..FILES {
        let directory = root.path().join(format!("dir{:03}/sub{}", index / 100, index % 3));
        fs::create_dir_all(&directory).expect("a directory");
        fs::write(
            directory.join(format!("file{index}.txt")),
            format!("content of {index}\n").repeat(20),
        )
        .expect("a file");
    }
    root
}

fn transfer(from: &Path, to: &Path) -> u64 {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let options = ReceiveOptions { owner: Owner::Ours, ..ReceiveOptions::default() };
    let (sent, received) =
        runtime.block_on(support::transfer(from, to, SendOptions::default(), options));
    sent.expect("sending works");
    received.expect("receiving works").changed
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn first(bencher: divan::Bencher<'_, '_>) {
    let from = tree();
    bencher
        .with_inputs(|| TempDir::new().expect("a directory"))
        .bench_refs(|to| transfer(from.path(), to.path()));
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn one_changed(bencher: divan::Bencher<'_, '_>) {
    let (from, to) = (tree(), TempDir::new().expect("a directory"));
    transfer(from.path(), to.path());
    let mut round = 0;
    bencher
        .with_inputs(|| {
            round += 1;
            fs::write(from.path().join("dir042/sub0/changed"), format!("{round}")).expect("a file");
        })
        .bench_local_values(|()| transfer(from.path(), to.path()));
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn plain_copy(bencher: divan::Bencher<'_, '_>) {
    let from = tree();
    bencher.with_inputs(|| TempDir::new().expect("a directory")).bench_refs(|to| {
        let copied = Command::new("cp").arg("-a").arg(from.path()).arg(to.path()).status();
        assert!(copied.expect("cp runs").success());
    });
}
