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
    use expect_test::expect_file;

    /// `UPDATE_EXPECT=1 cargo test -p kiln-mockerfile` writes it anew.
    #[test]
    fn the_committed_schema_is_fresh() {
        expect_file!["../../../schemas/mockerfile.json"].assert_eq(&super::schema());
    }
}
