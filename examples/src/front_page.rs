//! The front page, whose language has to compile.

#![doc = include_str!("../../README.md")]
