//! Shared values whose handles the compiler does not look through.
//!
//! A future that goes from thread to thread is examined, by the compiler, down to the last field of all
//! that it holds, and once more for each function. A handle on a store, a registry or a worker holds
//! thousands of types, hence most of the time that it took to compile what is made of them went into
//! this. Behind a [`Handle`] a value is examined once, where the handle is made.

mod handle;

pub use handle::{Handle, WeakHandle};
