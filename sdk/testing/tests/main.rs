//! One program for all tests from outside: one is compiled and linked sooner than many.

mod cache_records;
mod cases;
mod comparison;
mod conform;
mod fixtures;
mod graphs;
#[path = "../examples/faulty/language.rs"]
mod language;
mod python;
mod record;
mod vectors;
