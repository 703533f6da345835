//! How results are keyed and where the keys are kept.
