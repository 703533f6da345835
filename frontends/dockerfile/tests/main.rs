//! One program for all tests from outside: one is compiled and linked sooner than many.

mod diagnose;
mod fixes;
mod growth;
mod hostile;
mod ignore_patterns;
mod instructions;
mod reading;
mod text_properties;
mod text_tables;
mod value_tables;
mod vectors;
