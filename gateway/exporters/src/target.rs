//! Which file systems a result has, and for which platforms they are.
//!
//! A result and its metadata come in, a list of [`Target`]s in the order of `refs.platforms` goes
//! out. The rules and messages are BuildKit's (`exporter/containerimage/exptypes/parse.go`).

use std::collections::BTreeMap;

use bytes::Bytes;
use kiln_frontend::{PlatformEntry, Refs, keys};
use kiln_oci::Platform;
use serde::Deserialize;
use time::OffsetDateTime;

use crate::config::{self, ConfigError};
use crate::options::{Epoch, ExportOptions, OptionError, parse_epoch, shown};

/// One file system to export.
#[derive(Debug)]
pub(crate) struct Target<'a, R> {
    /// The platform's key in the result.
    pub(crate) id: String,
    /// The platform.
    pub(crate) platform: Platform,
    /// The files; `None` if there are none.
    pub(crate) files: Option<&'a R>,
}

/// All file systems of a result.
#[derive(Debug)]
pub(crate) struct Targets<'a, R> {
    /// In order.
    pub(crate) list: Vec<Target<'a, R>>,
    /// The result is a map, even if of one entry.
    pub(crate) multi: bool,
    /// The result names the platforms itself.
    pub(crate) named: bool,
}

/// Why the platforms of a result cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// There is a list of platforms, and nothing in it.
    #[error("invalid empty platforms index for exporter")]
    Empty,
    /// A platform without a key.
    #[error("invalid empty platform key for exporter")]
    EmptyId,
    /// A platform without operating system or architecture.
    #[error("invalid platform value {0} for exporter")]
    Platform(String),
    /// The list of platforms is not JSON of the right shape.
    #[error("failed to parse platforms passed to exporter")]
    Parse(#[source] serde_json::Error),
    /// Several results and no list of platforms.
    #[error("unable to export multiple refs, missing platforms mapping")]
    NoMapping,
    /// One result and several platforms.
    #[error("cannot export multiple platforms without multi-platform enabled")]
    TooMany,
    /// A platform that the result does not have.
    #[error("failed to find ref for ID {0}")]
    NoRef(String),
    /// The image config does not say what it is for.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl<'a, R> Targets<'a, R> {
    /// Lists what there is to export. `default` is the platform of a result that names none.
    pub(crate) fn of(
        refs: &'a Refs<R>,
        metadata: &BTreeMap<String, Bytes>,
        default: &Platform,
    ) -> Result<Self, TargetError> {
        let named = metadata.get(keys::PLATFORMS);
        let entries = match named {
            Some(json) => parse_platforms(json)?,
            None => vec![implied_platform(metadata, default)?],
        };
        let (list, multi) = match refs {
            Refs::Single(files) => {
                if entries.len() > 1 {
                    return Err(TargetError::TooMany);
                }
                let single = |entry: PlatformEntry| Target {
                    id: entry.id,
                    platform: entry.platform,
                    files: files.as_ref(),
                };
                (entries.into_iter().map(single).collect(), false)
            }
            Refs::ByPlatform(map) => {
                if named.is_none() {
                    return Err(TargetError::NoMapping);
                }
                let find = |entry: PlatformEntry| match map.get(&entry.id) {
                    Some(files) => {
                        Ok(Target { id: entry.id, platform: entry.platform, files: files.as_ref() })
                    }
                    None => Err(TargetError::NoRef(shown(&entry.id))),
                };
                (entries.into_iter().map(find).collect::<Result<_, _>>()?, true)
            }
        };
        Ok(Self { list, multi, named: named.is_some() })
    }
}

/// A value of the metadata: that of the platform, or else that of the whole result.
pub(crate) fn keyed<'m>(
    metadata: &'m BTreeMap<String, Bytes>,
    key: &str,
    id: &str,
) -> Option<&'m [u8]> {
    let own = metadata.get(&format!("{key}/{id}"));
    own.or_else(|| metadata.get(key)).map(|value| &value[..])
}

/// The time that nothing in a file system may be later than.
pub(crate) fn epoch(
    options: &ExportOptions,
    metadata: &BTreeMap<String, Bytes>,
    id: &str,
) -> Result<Option<OffsetDateTime>, OptionError> {
    let seconds = match options.epoch {
        Epoch::Never => None,
        Epoch::Seconds(seconds) => Some(seconds),
        Epoch::FromResult => match keyed(metadata, keys::SOURCE_DATE_EPOCH, id) {
            None => None,
            Some(value) => Some(parse_epoch(&String::from_utf8_lossy(value))?),
        },
    };
    Ok(seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok()))
}

fn parse_platforms(json: &[u8]) -> Result<Vec<PlatformEntry>, TargetError> {
    #[derive(Default, Deserialize)]
    struct List {
        #[serde(rename = "Platforms", default)]
        platforms: Option<Vec<PlatformEntry>>,
    }
    let list = match json {
        [] => None,
        json => serde_json::from_slice::<Option<List>>(json).map_err(TargetError::Parse)?,
    };
    let entries = list.and_then(|list| list.platforms).unwrap_or_default();
    if entries.is_empty() {
        return Err(TargetError::Empty);
    }
    let check = |entry: PlatformEntry| {
        if entry.id.is_empty() {
            return Err(TargetError::EmptyId);
        }
        if entry.platform.os.is_empty() || entry.platform.architecture.is_empty() {
            return Err(TargetError::Platform(shown(&entry.id)));
        }
        Ok(PlatformEntry { platform: entry.platform.normalized(), ..entry })
    };
    entries.into_iter().map(check).collect()
}

/// The platform that the image config names, or else the default.
fn implied_platform(
    metadata: &BTreeMap<String, Bytes>,
    default: &Platform,
) -> Result<PlatformEntry, TargetError> {
    let config = metadata.get(keys::IMAGE_CONFIG).filter(|config| !config.is_empty());
    let said = config.map(|config| config::platform(config)).transpose()?.flatten();
    let platform = said.unwrap_or_else(|| default.clone()).normalized();
    Ok(PlatformEntry { id: platform.format_all(), platform })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(key: &str, value: &str) -> BTreeMap<String, Bytes> {
        BTreeMap::from([(key.to_owned(), Bytes::from(value.to_owned()))])
    }

    fn error(refs: Refs<u8>, platforms: Option<&str>) -> String {
        let metadata = platforms.map(|json| metadata(keys::PLATFORMS, json)).unwrap_or_default();
        Targets::of(&refs, &metadata, &Platform::host()).unwrap_err().to_string()
    }

    const TWO: &str = r#"{"Platforms":[
        {"ID":"linux/arm64","Platform":{"os":"linux","architecture":"aarch64"}},
        {"ID":"linux/amd64","Platform":{"os":"linux","architecture":"amd64"}}]}"#;

    #[test]
    fn platforms_come_in_the_order_of_their_list() {
        let refs = Refs::ByPlatform(BTreeMap::from([
            ("linux/amd64".to_owned(), Some(1)),
            ("linux/arm64".to_owned(), None),
        ]));
        let metadata = metadata(keys::PLATFORMS, TWO);
        let targets = Targets::of(&refs, &metadata, &Platform::host()).unwrap();
        let seen: Vec<_> =
            targets.list.iter().map(|target| (target.platform.format(), target.files)).collect();
        assert_eq!(seen, [("linux/arm64".to_owned(), None), ("linux/amd64".to_owned(), Some(&1))]);
        assert!(targets.multi);
    }

    #[test]
    fn the_config_says_for_what_a_single_result_is() {
        let metadata = metadata(keys::IMAGE_CONFIG, r#"{"os":"linux","architecture":"s390x"}"#);
        let targets = Targets::of(&Refs::Single(Some(1)), &metadata, &Platform::host()).unwrap();
        assert_eq!(targets.list[0].id, "linux/s390x");
        assert!(!targets.multi && !targets.named);
    }

    #[test]
    fn results_that_do_not_fit_their_platforms_are_refused() {
        let map = || Refs::ByPlatform(BTreeMap::from([("linux/amd64".to_owned(), Some(1))]));
        assert_eq!(error(map(), None), "unable to export multiple refs, missing platforms mapping");
        assert_eq!(error(map(), Some("{}")), "invalid empty platforms index for exporter");
        assert_eq!(error(map(), Some("")), "invalid empty platforms index for exporter");
        assert_eq!(error(map(), Some(TWO)), "failed to find ref for ID linux/arm64");
        assert_eq!(
            error(Refs::Single(None), Some(TWO)),
            "cannot export multiple platforms without multi-platform enabled"
        );
    }
}
