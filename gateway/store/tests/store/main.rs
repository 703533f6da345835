//! Stories about the store: what goes in comes out again, what is needed stays, what is not goes.
//!
//! Tests with real overlay mounts need root, and say so when they skip.

mod support;

mod apply;
mod carrying;
mod directories;
mod estargz;
mod exact;
mod full;
mod hostile;
mod keeping;
mod lazy;
mod namespace;
mod packing;
mod pruning;
mod space;
mod stacking;
mod unpacking;
