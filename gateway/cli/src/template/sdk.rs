//! Where a new project finds Kiln's SDK.

use std::path::{Path, PathBuf};

/// The checkout this program was compiled in, when it is still there.
const BUILT_FROM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// What every checkout has.
const LANDMARK: &str = "sdk/sdk/Cargo.toml";

/// Where Kiln's crates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sdk {
    /// In a checkout on this machine.
    Checkout(PathBuf),
    /// In a git repository.
    Git(String),
    /// In the registry of crates.
    Version(String),
}

/// What was given as the SDK is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SdkError {
    /// Neither a directory nor a version.
    #[error(
        "--sdk {0}: expected a checkout of Kiln (a directory with {LANDMARK}), the address of a git \
         repository, or a version such as {version}",
        version = env!("CARGO_PKG_VERSION")
    )]
    Unknown(String),
}

impl Sdk {
    /// Reads `--sdk`.
    ///
    /// # Errors
    ///
    /// If it is neither a checkout, nor an address, nor a version.
    pub(crate) fn parse(text: &str) -> Result<Self, SdkError> {
        let is_version = text.starts_with(|c: char| c.is_ascii_digit())
            && text.split('.').all(|part| !part.is_empty())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-+".contains(c));
        if let Some(checkout) = checkout(Path::new(text)) {
            return Ok(Self::Checkout(checkout));
        }
        match text {
            text if text.contains("://") && !text.contains(['"', '\\', '\n']) => {
                Ok(Self::Git(text.to_owned()))
            }
            text if is_version => Ok(Self::Version(text.to_owned())),
            text => Err(SdkError::Unknown(text.to_owned())),
        }
    }

    /// The checkout this program was built from, or else the version it has.
    pub(crate) fn of_this_program() -> Self {
        match checkout(Path::new(BUILT_FROM)) {
            Some(checkout) => Self::Checkout(checkout),
            None => Self::Version(env!("CARGO_PKG_VERSION").to_owned()),
        }
    }

    /// What `Cargo.toml` says about one of its crates, which lies at `place` in a checkout.
    pub(super) fn dependency(&self, place: &str) -> String {
        match self {
            Self::Checkout(root) => {
                let path = root.join(place).display().to_string();
                format!("{{ path = {} }}", toml_string(&path))
            }
            Self::Git(url) => format!("{{ git = {} }}", toml_string(url)),
            Self::Version(version) => toml_string(version),
        }
    }

    /// The versions of all dependencies with which the SDK is tested, if they are at hand.
    pub(crate) fn lock_file(&self) -> Option<PathBuf> {
        match self {
            Self::Checkout(root) => Some(root.join("Cargo.lock")).filter(|path| path.is_file()),
            Self::Git(_) | Self::Version(_) => None,
        }
    }
}

fn checkout(path: &Path) -> Option<PathBuf> {
    path.join(LANDMARK).is_file().then(|| path.canonicalize().ok()).flatten()
}

/// A text as TOML has it; what JSON writes, TOML reads.
fn toml_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkout_an_address_and_a_version_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().canonicalize().unwrap();
        let text = place.to_str().unwrap();
        assert_eq!(Sdk::parse(text), Err(SdkError::Unknown(text.to_owned())));
        std::fs::create_dir_all(place.join("sdk/sdk")).unwrap();
        std::fs::write(place.join(LANDMARK), "").unwrap();
        let checkout = Sdk::parse(text).unwrap();
        assert_eq!(checkout, Sdk::Checkout(place.clone()));
        assert_eq!(checkout.lock_file(), None);
        let path = format!("{{ path = \"{}/sdk/sdk\" }}", place.display());
        assert_eq!(checkout.dependency("sdk/sdk"), path);
        let git = Sdk::parse("https://example.com/kiln").unwrap();
        assert_eq!(git.dependency("sdk/sdk"), r#"{ git = "https://example.com/kiln" }"#);
        assert_eq!(Sdk::parse("0.1.0").unwrap().dependency("x"), r#""0.1.0""#);
        for text in ["", "0..1", "kiln", "https://\"x"] {
            assert!(Sdk::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn this_program_knows_where_it_was_built() {
        let sdk = Sdk::of_this_program();
        assert!(matches!(&sdk, Sdk::Checkout(root) if root.join(LANDMARK).is_file()), "{sdk:?}");
    }
}
