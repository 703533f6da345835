//! The façade of Kiln's SDK: what a new build language imports, and nothing else.
