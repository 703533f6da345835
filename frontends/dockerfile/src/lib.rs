//! Dockerfile syntax, lowered to the same LLB as BuildKit's reference frontend, digest by digest.

pub mod ast;
pub mod directives;
pub mod flags;
mod frontend;
pub mod heredoc;
pub mod ignored;
pub mod instruction;
pub mod keyword;
pub mod lines;
pub mod lint;
mod lower;
pub mod mistake;
pub mod proofread;
pub mod quoting;
pub mod remote;
mod requests;
pub mod stages;
pub mod suggest;
pub mod values;
pub mod words;

pub use frontend::Dockerfile;
