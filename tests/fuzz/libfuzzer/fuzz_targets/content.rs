//! libFuzzer's way into the target `content`; see tests/fuzz/src.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kiln_fuzz::run("content", bytes));
