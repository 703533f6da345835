//! In: generated inputs, written in pieces of odd sizes. Out: whether flate2 reads
//! back what was written.

use std::io::{self, Read, Write};

use flate2::read::GzDecoder;
use kiln_gzip::Encoder;

const INPUTS: [(&str, usize); 12] = [
    ("zeros", 0),
    ("zeros", 1_000_000),
    ("random", 1),
    ("random", 129),
    ("random", 65_537),
    ("random", 131_071),
    ("skewed", 70_000),
    ("text", 65_535),
    ("text", 500_001),
    ("tar", 300_000),
    ("far", 200_000),
    ("edge", 200_000),
];

#[test]
fn what_is_packed_can_be_unpacked() {
    for (kind, size) in INPUTS {
        let input = crate::inputs::input(kind, size);
        for level in -2..=9 {
            for cut in [1, 7, 262, 4093, 65_535, 65_536, usize::MAX] {
                let packed = pack(&input, level, cut);
                assert!(unpack(&packed) == input, "{kind} {size} level {level} cut {cut}");
            }
        }
    }
}

#[test]
fn cuts_do_not_show_where_go_does_not_let_them() {
    for (kind, size) in INPUTS {
        let input = crate::inputs::input(kind, size);
        for level in -2..=9 {
            let free = [-2, 0, 1].contains(&level);
            let cuts: &[usize] = if free { &[1, 509, 65_535] } else { &[512, 1536, 32_768] };
            let whole = pack(&input, level, usize::MAX);
            for &cut in cuts {
                assert!(pack(&input, level, cut) == whole, "{kind} {size} level {level} cut {cut}");
            }
        }
    }
}

#[test]
fn empty_writes_and_flushes_leave_no_trace() {
    for level in -2..=9 {
        let mut encoder = Encoder::new(Vec::new(), level).expect("a level");
        for piece in ["", "some", "", " text"] {
            encoder.write_all(piece.as_bytes()).expect("memory does not fail");
            encoder.flush().expect("memory does not fail");
        }
        let packed = encoder.finish().expect("memory does not fail");
        assert_eq!(packed, pack(b"some text", level, usize::MAX), "level {level}");
    }
}

#[test]
fn unknown_levels_are_refused() {
    for level in [-3, 10, i32::MIN, i32::MAX] {
        let error = Encoder::new(Vec::new(), level).err().expect("no such level");
        assert_eq!(error.level(), level);
        assert_eq!(error.to_string(), format!("gzip level {level} is not between -2 and 9"));
    }
}

#[test]
fn after_an_error_every_call_is_an_error() {
    for level in -2..=9 {
        let mut encoder = Encoder::new(Full(5000), level).expect("a level");
        let input = crate::inputs::input("random", 300_000);
        let first = encoder.write_all(&input).expect_err("more than there is room for");
        assert_eq!(first.kind(), io::ErrorKind::StorageFull, "level {level}");
        assert_eq!(encoder.write(b"more").expect_err("broken").kind(), io::ErrorKind::Other);
        assert_eq!(encoder.finish().err().expect("broken").kind(), io::ErrorKind::Other);
    }
}

/// A writer with room for so many bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn pack(input: &[u8], level: i32, cut: usize) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), level).expect("a level");
    for piece in input.chunks(cut) {
        encoder.write_all(piece).expect("memory does not fail");
    }
    encoder.finish().expect("memory does not fail")
}

fn unpack(packed: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut out).expect("a whole stream");
    out
}
