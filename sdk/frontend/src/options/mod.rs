//! The options of a build, typed, from both spellings users know: `docker build`'s and `buildctl`'s.
//!
//! Options arrive as one map of strings. [`Settings`] reads all of them; each accessor of
//! [`Options`] reads its own keys and says what is wrong.

mod attests;
mod fields;
mod limits;
mod settings;
mod sizes;
mod words;

use std::collections::BTreeMap;

use kiln_oci::Platform;

pub use attests::{AttestError, Attests, SbomScanner, attests};
pub use fields::{FieldsError, fields};
pub use limits::{CpuSetError, ResourceError, UlimitError, check_cpu_set, ulimit};
pub use settings::{HostsError, Settings, SettingsError};
pub use sizes::{SizeError, size_bytes};
pub use words::{NumberError, boolean};

/// The options of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(pub BTreeMap<String, String>);

/// An option whose value makes no sense.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid option {key}={value}: {reason}")]
pub struct OptionError {
    /// The option's key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Which steps must run although the cache has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NoCache {
    /// None.
    #[default]
    None,
    /// All.
    All,
    /// Those of these stages or images.
    Only(Vec<String>),
}

impl NoCache {
    /// Whether a stage or image must run.
    pub fn covers(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Only(names) => names.iter().any(|n| n.eq_ignore_ascii_case(name)),
        }
    }
}

impl Options {
    /// The value of an option, as it came.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// The value of an option, unless it is empty.
    pub(crate) fn given(&self, key: &str) -> Option<&str> {
        self.get(key).filter(|value| !value.is_empty())
    }

    /// The name of the file to build (`filename`).
    pub fn filename(&self) -> Option<&str> {
        self.get("filename").filter(|name| !name.is_empty())
    }

    /// The stage or image to build (`target`).
    pub fn target(&self) -> Option<&str> {
        self.get("target").filter(|name| !name.is_empty())
    }

    /// The platforms to build for (`platform`, a comma list); empty if the user does not say.
    ///
    /// # Errors
    ///
    /// If an entry is not a platform.
    pub fn platforms(&self) -> Result<Vec<Platform>, OptionError> {
        let Some(list) = self.get("platform").filter(|list| !list.is_empty()) else {
            return Ok(Vec::new());
        };
        let parse = |text: &str| {
            text.trim().parse::<Platform>().map_err(|e| self.error("platform", e.to_string()))
        };
        list.split(',').map(parse).collect()
    }

    /// Whether the result is an index even for one platform (`multi-platform` or
    /// `build-arg:BUILDKIT_MULTI_PLATFORM`); `None` leaves it to the number of platforms.
    ///
    /// # Errors
    ///
    /// If the value is not a boolean.
    pub fn multi_platform(&self) -> Result<Option<bool>, OptionError> {
        for key in ["build-arg:BUILDKIT_MULTI_PLATFORM", "multi-platform"] {
            if let Some(value) = self.get(key) {
                return match value {
                    "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(true)),
                    "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Some(false)),
                    _ => Err(self.error(key, "expected true or false".into())),
                };
            }
        }
        Ok(None)
    }

    /// Build arguments (`build-arg:NAME`), by name.
    pub fn build_args(&self) -> impl Iterator<Item = (&str, &str)> {
        self.with_prefix("build-arg:")
    }

    /// One build argument.
    pub fn build_arg(&self, name: &str) -> Option<&str> {
        self.get(&format!("build-arg:{name}"))
    }

    /// Labels to put on the image (`label:NAME`), by name.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.with_prefix("label:")
    }

    /// Steps that must run (`no-cache`): an empty value means all, else a comma list of names.
    pub fn no_cache(&self) -> NoCache {
        match self.get("no-cache") {
            None => NoCache::None,
            Some("") => NoCache::All,
            Some(list) => NoCache::Only(list.split(',').map(str::to_owned).collect()),
        }
    }

    /// How images are resolved (`image-resolve-mode`): `default`, `pull` or `local`.
    ///
    /// # Errors
    ///
    /// If the value is another word.
    pub fn resolve_mode(&self) -> Result<&str, OptionError> {
        match self.get("image-resolve-mode").unwrap_or_default() {
            "" | "default" => Ok("default"),
            mode @ ("pull" | "local") => Ok(mode),
            "preferlocal" => Ok("local"),
            _ => Err(self.error("image-resolve-mode", "expected default, pull or local".into())),
        }
    }

    /// Seconds since 1970 for all times of the result (`build-arg:SOURCE_DATE_EPOCH`).
    ///
    /// # Errors
    ///
    /// If the value is not a number.
    pub fn source_date_epoch(&self) -> Result<Option<i64>, OptionError> {
        let key = "build-arg:SOURCE_DATE_EPOCH";
        match self.get(key).filter(|value| !value.is_empty()) {
            None => Ok(None),
            Some(value) => value
                .parse()
                .map(Some)
                .map_err(|_| self.error(key, "expected seconds since 1970".into())),
        }
    }

    pub(crate) fn with_prefix<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0
            .iter()
            .filter_map(move |(key, value)| Some((key.strip_prefix(prefix)?, value.as_str())))
    }

    fn error(&self, key: &str, reason: String) -> OptionError {
        OptionError { key: key.into(), value: self.get(key).unwrap_or_default().into(), reason }
    }
}

impl From<OptionError> for crate::FrontendError {
    fn from(error: OptionError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl FromIterator<(String, String)> for Options {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(pairs: T) -> Self {
        Self(pairs.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Options {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn platforms_are_a_comma_list() {
        let parsed = options(&[("platform", "linux/amd64, linux/arm64/v8")]).platforms().unwrap();
        assert_eq!(
            parsed.iter().map(Platform::format).collect::<Vec<_>>(),
            ["linux/amd64", "linux/arm64"]
        );
        let error = options(&[("platform", "toaster")]).platforms().unwrap_err();
        assert!(error.to_string().starts_with("invalid option platform=toaster"), "{error}");
    }

    #[test]
    fn no_cache_covers_all_or_some() {
        assert!(options(&[("no-cache", "")]).no_cache().covers("x"));
        let some = options(&[("no-cache", "a,b")]).no_cache();
        assert!(some.covers("B") && !some.covers("c"));
        assert_eq!(options(&[]).no_cache(), NoCache::None);
    }
}
