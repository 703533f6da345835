//! A mockerfile of 1,000 lines, on one core: read and checked, and all the way to marshalled LLB.

use std::fmt::Write as _;

use divan::Bencher;
use futures::executor::block_on;
use kiln_mockerfile::Mockerfile;
use kiln_sdk::document::Source;
use kiln_sdk::frontend::{BuildLanguage as _, run};
use kiln_testing::Fixture;

fn main() {
    divan::main();
}

/// Images of ten lines, each from the one before.
fn text() -> String {
    let mut text = String::from("apiVersion: v1alpha1\nimages:\n");
    for n in 0..100 {
        let from = if n == 0 { "debian:12".to_owned() } else { format!("image{}", n - 1) };
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "- name: image{n}\n  from: {from}\n  workdir: /srv/{n}\n  env:\n    NAME: value-{n}\n  external:\n  \
             - src: files/{n}\n    dst: /files/{n}\n  steps:\n  - make step-{n} && echo done\n"
        );
    }
    text
}

#[divan::bench]
fn read(bencher: Bencher<'_, '_>) {
    let source = Source::new("Mockerfile.yaml", text());
    bencher.bench_local(|| divan::black_box(Mockerfile.read(&source).unwrap()));
}

#[divan::bench]
fn build(bencher: Bencher<'_, '_>) {
    let fixture = Fixture::new().file("dockerfile", "Mockerfile.yaml", text()).any_image();
    let bridge = || fixture.bridge();
    bencher.with_inputs(bridge).bench_local_refs(|bridge| {
        divan::black_box(block_on(run(&Mockerfile, bridge)).unwrap());
    });
}
