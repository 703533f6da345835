//! Dockerfile syntax, lowered to the same LLB as BuildKit's reference frontend, digest by digest.

pub mod instruction;
pub mod lines;
pub mod mistake;
