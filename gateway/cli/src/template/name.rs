//! What a frontend may be called.

use kiln_oci::Reference;

/// The name of a program of the language `x` is this and `x`.
const PROGRAM_PREFIX: &str = "kiln-frontend-";
/// A longer name is none.
const MAX_LENGTH: usize = 64;
/// The version a new project has.
const VERSION: &str = "0.1.0";

/// Names that a crate cannot have, or that the project's dependencies have.
const TAKEN: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "const",
    "continue",
    "core",
    "crate",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "examples",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "incremental",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
    "async-trait",
    "insta",
    "kiln-sdk",
    "kiln-testing",
    "schemars",
    "serde",
    "tokio",
];

/// The name of a frontend: a crate, a program and an image can have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FrontendName(String);

/// Why a name will not do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameError {
    /// It has other characters, or starts or ends with others.
    #[error(
        "`{0}` cannot be the name of a frontend: use lower-case letters, digits and single `-` or `_` \
         between them, starting with a letter"
    )]
    Characters(String),
    /// Rust or a dependency has it.
    #[error("`{0}` cannot be the name of a frontend: Rust or the SDK has a thing of that name")]
    Taken(String),
    /// It is too long.
    #[error("`{0}` is too long for a name: {MAX_LENGTH} characters are enough")]
    Long(String),
}

impl std::str::FromStr for FrontendName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let letter = |c: char| c.is_ascii_lowercase();
        let known = |c: char| letter(c) || c.is_ascii_digit() || c == '-' || c == '_';
        let words = |text: &str| text.split(['-', '_']).all(|word| !word.is_empty());
        if !text.starts_with(letter) || !text.chars().all(known) || !words(text) {
            return Err(NameError::Characters(text.to_owned()));
        }
        if text.len() > MAX_LENGTH {
            return Err(NameError::Long(text.to_owned()));
        }
        let dashed = text.replace('_', "-");
        if TAKEN.contains(&dashed.as_str()) {
            return Err(NameError::Taken(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FrontendName {
    /// As the crate is called.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// As the language is called: without what all frontends have in front.
    pub(crate) fn language(&self) -> &str {
        self.0.strip_prefix(PROGRAM_PREFIX).filter(|rest| !rest.is_empty()).unwrap_or(&self.0)
    }

    /// As Rust's `use` has it.
    pub(crate) fn module(&self) -> String {
        self.0.replace('-', "_")
    }

    /// As its type is called: `TomlLang` of `toml-lang`.
    pub(crate) fn type_name(&self) -> String {
        let capital = |word: &str| {
            let (first, rest) = word.split_at(1);
            first.to_uppercase() + rest
        };
        let name: String = self.language().split(['-', '_']).map(capital).collect();
        // A type cannot start with a digit.
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            format!("Language{name}")
        } else {
            name
        }
    }

    /// As its image is called unless the user says otherwise.
    pub(crate) fn image(&self) -> String {
        default_image(&self.0, VERSION)
    }
}

/// The name of the image of a package: on this machine, so that nobody is asked for it by mistake.
pub(crate) fn default_image(package: &str, version: &str) -> String {
    // Build metadata has a `+`, which a tag cannot have.
    let name = format!("localhost/{}:{}", package.to_lowercase(), version.replace('+', "_"));
    match name.parse::<Reference>() {
        Ok(_) => name,
        Err(_) => format!("localhost/frontend:{VERSION}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> FrontendName {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_is_good_for_a_crate_a_type_a_program_and_an_image() {
        let name = name("toml-lang");
        assert_eq!(name.module(), "toml_lang");
        assert_eq!(name.type_name(), "TomlLang");
        assert_eq!(name.image(), "localhost/toml-lang:0.1.0");
    }

    #[test]
    fn the_language_is_named_without_what_all_frontends_have_in_front() {
        assert_eq!(name("kiln-frontend-bread").language(), "bread");
        assert_eq!(name("kiln-frontend-bread").type_name(), "Bread");
        assert_eq!(name("kiln-frontend-3d").type_name(), "Language3d");
    }

    #[test]
    fn other_names_are_refused_with_the_rule() {
        let refused = |text: &str| text.parse::<FrontendName>().unwrap_err();
        let long = "a".repeat(MAX_LENGTH + 1);
        for text in ["", "9lives", "Toml", "a--b", "a-", "-a", "a.b", "a/b", "ä", "..", "a b"] {
            assert_eq!(refused(text), NameError::Characters(text.to_owned()));
        }
        for text in ["test", "kiln-sdk", "kiln_sdk", "proc_macro", "serde"] {
            assert_eq!(refused(text), NameError::Taken(text.to_owned()));
        }
        assert_eq!(refused(&long), NameError::Long(long.clone()));
    }

    #[test]
    fn any_package_has_an_image_name() {
        assert_eq!(default_image("Lang", "1.0.0+build"), "localhost/lang:1.0.0_build");
        assert_eq!(default_image("lang_", "1.0.0"), "localhost/frontend:0.1.0");
    }
}
