//! What must hold for any bytes that somebody sends.
//!
//! A [`Target`] takes bytes and panics if the code behind it does wrong: it crashed, contradicted
//! itself or kept more than its limits allow. libFuzzer runs targets over inputs it makes up (the
//! programs in `libfuzzer/`), the tests of this crate over the inputs that were kept in `corpus/`.

mod authority;
mod definition;
mod dockerfile;
mod document;
mod gateway;
mod mockerfile;
mod options;
mod patterns;
mod target;

pub use target::{TARGETS, Target, run};
