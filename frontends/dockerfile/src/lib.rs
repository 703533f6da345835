//! Dockerfile syntax, lowered to the same LLB as BuildKit's reference frontend, digest by digest.
//!
//! The text goes through passes, each with a type of its own: lines become an [`ast::Ast`],
//! instructions get their meaning in [`instruction`] and their place in [`stages`]; lowering asks
//! what must be known (image configs, contexts, the time everything has) and then makes LLB of it.
//! All of that is pure. [`Dockerfile`] is the part that waits: a frontend as any other, on the SDK
//! alone. Absent here: files, environment, network, clocks.

pub mod directives;

pub mod ast;

pub mod heredoc;
pub mod keyword;

pub mod flags;
pub mod instruction;

pub mod stages;

pub mod words;

mod lower;

pub mod dockerignore;
pub mod remote;

pub mod diagnose;
pub mod lint;

mod editing;

mod requests;

mod frontend;

pub mod lines;
pub mod mistake;
pub mod quoting;
pub mod suggest;
pub mod values;

pub use editing::Editing;
pub use frontend::Dockerfile;
