//! In: `goldens.txt`, what Go 1.26.3 writes for generated inputs: kind, size, bytes
//! per write (0: one write), level and the SHA-256 of the stream. Out: whether this
//! encoder writes the same.

use std::io::Write;

use kiln_gzip::Encoder;
use sha2::{Digest, Sha256};

#[test]
fn every_stream_is_the_one_go_writes() {
    let mut wrong = Vec::new();
    let mut rows = 0;
    for row in include_str!("goldens.txt").lines() {
        let fields: Vec<_> = row.split(' ').collect();
        let [kind, size, cut, level, digest] = fields[..] else { panic!("bad row: {row}") };
        let number = |field: &str| field.parse::<usize>().expect("a number");
        let input = crate::inputs::input(kind, number(size));
        let packed = pack(&input, level.parse().expect("a level"), number(cut));
        if hex::encode(Sha256::digest(packed)) != digest {
            wrong.push(row);
        }
        rows += 1;
    }
    assert!(rows > 600, "only {rows} rows");
    assert!(wrong.is_empty(), "{} of {rows} differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn pack(input: &[u8], level: i32, cut: usize) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), level).expect("a level");
    for piece in input.chunks(if cut == 0 { input.len().max(1) } else { cut }) {
        encoder.write_all(piece).expect("memory does not fail");
    }
    encoder.finish().expect("memory does not fail")
}
