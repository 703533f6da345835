//! One program for all tests from outside: one is compiled and linked sooner than many.

mod contexts;
mod hostile;
mod language;
mod requests;
mod service;
mod tables;
