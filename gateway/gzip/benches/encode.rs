//! In: 32 MB much like a tar stream. Out: how long this encoder takes at level 6, as
//! a part of what flate2 takes in the same run.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use kiln_gzip::Encoder;

#[path = "../tests/inputs.rs"]
mod inputs;

const MEGABYTES: u32 = 32;
const RUNS: usize = 5;

fn main() {
    let input = inputs::input("tar", MEGABYTES as usize * 1_000_000);
    let (mut ours, mut theirs) = (Duration::MAX, Duration::MAX);
    // By turns, so that a busy machine slows both.
    for _ in 0..RUNS {
        ours = ours.min(time(|| kiln(&input)));
        theirs = theirs.min(time(|| flate2(&input)));
    }
    let speed = |time: Duration| f64::from(MEGABYTES) / time.as_secs_f64();
    println!("kiln-gzip {:.1} MB/s, flate2 {:.1} MB/s", speed(ours), speed(theirs));
    println!("ratio of times {:.3}", ours.as_secs_f64() / theirs.as_secs_f64());
}

fn time(pack: impl FnOnce() -> Vec<u8>) -> Duration {
    let start = Instant::now();
    black_box(pack());
    start.elapsed()
}

fn kiln(input: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), 6).expect("a level");
    encoder.write_all(input).expect("memory does not fail");
    encoder.finish().expect("memory does not fail")
}

fn flate2(input: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(input).expect("memory does not fail");
    encoder.finish().expect("memory does not fail")
}
