//! libFuzzer's way into the target `authority`; see tests/fuzz/src.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kiln_fuzz::run("authority", bytes));
