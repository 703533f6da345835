//! What the caller of a build chooses, read from its options once.

use std::collections::BTreeMap;

use kiln_sdk::frontend::{NoCache, OptionError, Options};

/// The choices that reach into lowering.
#[derive(Debug, Clone)]
pub(crate) struct Choices {
    /// Build arguments that commands see in their environment.
    pub(crate) environment: BTreeMap<String, String>,
    /// Build arguments that name proxies: seen by commands, kept out of cache keys.
    pub(crate) proxies: BTreeMap<ProxyKind, String>,
    /// Labels on top of the file's.
    pub(crate) labels: BTreeMap<String, String>,
    /// The images whose commands must run although the cache has them.
    pub(crate) no_cache: NoCache,
    /// The time of everything, in seconds since 1970.
    pub(crate) epoch: Option<i64>,
}

/// Which traffic a proxy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ProxyKind {
    Http,
    Https,
    Ftp,
    /// The hosts that are reached without one.
    No,
    All,
}

impl ProxyKind {
    fn of(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "http_proxy" => Some(Self::Http),
            "https_proxy" => Some(Self::Https),
            "ftp_proxy" => Some(Self::Ftp),
            "no_proxy" => Some(Self::No),
            "all_proxy" => Some(Self::All),
            _ => None,
        }
    }
}

impl Choices {
    /// Reads the options of a request.
    ///
    /// # Errors
    ///
    /// When an option has a value that means nothing.
    pub(crate) fn read(options: &Options) -> Result<Self, OptionError> {
        let mut choices = Self {
            environment: BTreeMap::new(),
            proxies: BTreeMap::new(),
            labels: options
                .labels()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            no_cache: options.no_cache(),
            epoch: options.source_date_epoch()?,
        };
        for (name, value) in options.build_args() {
            // `BUILDKIT_…` arguments talk to the frontend, not to the commands.
            if let Some(kind) = ProxyKind::of(name) {
                choices.proxies.insert(kind, value.to_owned());
            } else if !name.is_empty() && !name.starts_with("BUILDKIT_") {
                choices.environment.insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(choices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_environment_proxies_or_for_the_frontend() {
        let pairs = [
            ("build-arg:VERSION", "1"),
            ("build-arg:HTTPS_PROXY", "http://p"),
            ("build-arg:BUILDKIT_SYNTAX", "x"),
            ("build-arg:SOURCE_DATE_EPOCH", "7"),
            ("label:a", "b"),
            ("no-cache", "demo"),
        ];
        let options: Options =
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let choices = Choices::read(&options).unwrap();
        assert_eq!(
            choices.environment.keys().collect::<Vec<_>>(),
            ["SOURCE_DATE_EPOCH", "VERSION"]
        );
        assert_eq!(choices.proxies[&ProxyKind::Https], "http://p");
        assert_eq!((choices.epoch, choices.labels["a"].as_str()), (Some(7), "b"));
        assert!(choices.no_cache.covers("demo") && !choices.no_cache.covers("other"));
    }
}
