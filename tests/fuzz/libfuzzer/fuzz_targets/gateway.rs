//! libFuzzer's way into the target `gateway`; see tests/fuzz/src.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kiln_fuzz::run("gateway", bytes));
