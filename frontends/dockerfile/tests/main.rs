//! One program for all tests from outside, as one is compiled and linked sooner than many, but for growth.rs,
//! which counts what its process allocates.

mod diagnose;
mod fixes;
mod hostile;
mod ignore_patterns;
mod instructions;
mod reading;
mod text_properties;
mod text_tables;
mod value_tables;
mod vectors;
