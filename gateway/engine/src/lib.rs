//! Performs what the solver decides: jobs, operators and their results.
