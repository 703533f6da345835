//! Directory trees over a stream: walking, filtering, sending and receiving, as BuildKit's clients do.
