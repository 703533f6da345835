//! YAML, TOML and JSON into serde types that keep their spans, with diagnostics that point at the line.
