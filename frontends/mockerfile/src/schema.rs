//! The JSON Schema of the language, made from the types the file is read into.

use crate::file::File;

/// The JSON Schema of a mockerfile, as it is committed under `schemas/`. Editors complete and check
/// files with it.
#[must_use]
pub fn schema() -> String {
    kiln_sdk::document::schema::<File>()
}

#[cfg(test)]
mod tests {
    /// `UPDATE_EXPECT=1 cargo test -p kiln-mockerfile` writes it anew.
    #[test]
    fn the_committed_schema_is_fresh() {
        let schema = super::schema();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/mockerfile.json");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(path, &schema).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap();
        assert_eq!(committed, schema, "run with UPDATE_EXPECT=1 and commit {path}");
    }
}
