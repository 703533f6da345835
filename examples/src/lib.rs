//! Short programs: LLB from code, and frontends.
