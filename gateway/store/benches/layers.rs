//! How fast a layer becomes a compressed blob: the store's parallel gzip against one thread of
//! flate2 over the same tar; and what a file with holes costs, packed and unpacked.

use std::fs;
use std::io::Write;
use std::path::Path;

use divan::counter::BytesCount;
use kiln_store::{Compression, CompressionKind, Ref, Requester, Store, StoreOptions};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const FILES: usize = 400;
const SIZE: usize = 64 << 10;

fn main() {
    divan::main();
}

/// Half text, half noise, as layers are.
fn content(n: usize) -> Vec<u8> {
    let mut state = n as u64 + 1;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    let text = b"the quick brown fox jumps over the lazy dog; ".iter().cycle();
    text.take(SIZE).enumerate().map(|(i, b)| if i / 512 % 2 == 0 { *b } else { noise() }).collect()
}

fn fill(root: &Path) {
    for n in 0..FILES {
        fs::write(root.join(format!("f{n}")), content(n)).expect("write");
    }
}

fn layer(runtime: &Runtime) -> (TempDir, Store, Ref) {
    let directory = TempDir::new().expect("temporary directory");
    let store = Store::open(directory.path(), StoreOptions::default()).expect("open");
    let r = runtime.block_on(async {
        let step = store.prepare(None).await.expect("prepare");
        fill(&step.overlay().upper);
        step.commit().await.expect("commit")
    });
    (directory, store, r)
}

#[divan::bench(sample_count = 5, args = [CompressionKind::Gzip, CompressionKind::Zstd, CompressionKind::Uncompressed])]
fn store(bencher: divan::Bencher<'_, '_>, kind: CompressionKind) {
    let runtime = Runtime::new().expect("runtime");
    bencher
        .counter(BytesCount::new(FILES * SIZE))
        .with_inputs(|| layer(&runtime))
        .bench_local_refs(|(_directory, store, r)| {
            let compression = Compression { kind, ..Compression::default() };
            runtime
                .block_on(store.layer_blobs(r, compression, &Requester::nobody(), &|_| {}))
                .expect("pack")
        });
}

#[divan::bench(sample_count = 5)]
fn flate2_on_one_thread(bencher: divan::Bencher<'_, '_>) {
    let directory = TempDir::new().expect("temporary directory");
    fill(directory.path());
    bencher.counter(BytesCount::new(FILES * SIZE)).bench_local(|| {
        let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        let mut builder = tar::Builder::new(encoder);
        builder.append_dir_all(".", directory.path()).expect("tar");
        let mut encoder = builder.into_inner().expect("tar");
        encoder.flush().expect("gzip");
        encoder.finish().expect("gzip").len()
    });
}

/// The length of a file that is nothing but a hole.
const HOLE: u64 = 1 << 30;

fn hole(runtime: &Runtime) -> (TempDir, Store, Ref) {
    let directory = TempDir::new().expect("temporary directory");
    let store = Store::open(directory.path(), StoreOptions::default()).expect("open");
    let r = runtime.block_on(async {
        let step = store.prepare(None).await.expect("prepare");
        let file = fs::File::create(step.overlay().upper.join("hole")).expect("create");
        file.set_len(HOLE).expect("set the length");
        step.commit().await.expect("commit")
    });
    (directory, store, r)
}

#[divan::bench(sample_count = 3, args = [CompressionKind::Gzip, CompressionKind::Zstd])]
fn pack_a_hole(bencher: divan::Bencher<'_, '_>, kind: CompressionKind) {
    let runtime = Runtime::new().expect("runtime");
    bencher.counter(BytesCount::new(HOLE)).with_inputs(|| hole(&runtime)).bench_local_refs(
        |(_directory, store, r)| {
            let compression = Compression { kind, ..Compression::default() };
            runtime
                .block_on(store.layer_blobs(r, compression, &Requester::nobody(), &|_| {}))
                .expect("pack")
        },
    );
}

#[divan::bench(sample_count = 3)]
fn unpack_a_hole(bencher: divan::Bencher<'_, '_>) {
    let runtime = Runtime::new().expect("runtime");
    let (_directory, store, r) = hole(&runtime);
    let made = runtime.block_on(store.layer_blobs(
        &r,
        Compression::default(),
        &Requester::nobody(),
        &|_| {},
    ));
    let layer = made.expect("pack").remove(0);
    let bytes =
        fs::read(store.blob(&layer.descriptor.digest).expect("a blob").path()).expect("read");
    bencher
        .counter(BytesCount::new(HOLE))
        .with_inputs(|| {
            let directory = TempDir::new().expect("temporary directory");
            let store = Store::open(directory.path(), StoreOptions::default()).expect("open");
            let _blob = runtime.block_on(store.write_blob(bytes.clone())).expect("write");
            (directory, store)
        })
        .bench_local_refs(|(_directory, store)| {
            runtime.block_on(store.apply(None, &layer)).expect("unpack")
        });
}

#[divan::bench(sample_count = 3)]
fn copy_a_hole(bencher: divan::Bencher<'_, '_>) {
    let directory = TempDir::new().expect("temporary directory");
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    fs::File::create(&from).and_then(|file| file.set_len(HOLE)).expect("create");
    bencher.counter(BytesCount::new(HOLE)).bench_local(|| {
        fs::remove_file(&to).ok();
        kiln_store::copy_file(&from, &to).expect("copy");
    });
}
