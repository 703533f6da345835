//! State to Definition: a builder for LLB and its canonical encoder.
