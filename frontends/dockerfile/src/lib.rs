//! Dockerfile syntax, lowered to the same LLB as BuildKit's reference frontend, digest by digest.
