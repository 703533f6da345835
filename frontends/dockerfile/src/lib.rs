//! Dockerfile syntax, lowered to the same LLB as BuildKit's reference frontend, digest by digest.

pub mod directives;
pub mod keyword;
pub mod ast;
pub mod heredoc;
pub mod words;
pub mod flags;
pub mod instruction;
pub mod stages;
pub mod lint;
pub mod values;
pub mod suggest;
pub mod quoting;
pub mod lines;
pub mod mistake;
pub mod ignored;
pub mod remote;
mod lower;
mod requests;
mod frontend;

pub use frontend::Dockerfile;
