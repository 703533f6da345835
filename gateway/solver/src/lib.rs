//! Decides what a build does next, and never does it.
