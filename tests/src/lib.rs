//! The floor plan, the suites and whole builds.
