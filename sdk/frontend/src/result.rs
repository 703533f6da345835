//! What a frontend returns: one result, or one per platform, and metadata.
//!
//! Keys and their meaning are BuildKit's (`exporter/containerimage/exptypes`).

use std::collections::BTreeMap;

use bytes::Bytes;
use kiln_oci::{ImageConfig, Platform};
use serde::{Deserialize, Serialize};

use crate::{Attestation, PlatformResult};

/// Metadata keys that exporters read.
pub mod keys {
    /// The image config; `/<platform id>` follows where there are several results.
    pub const IMAGE_CONFIG: &str = "containerimage.config";
    /// The base image's config, likewise.
    pub const BASE_CONFIG: &str = "containerimage.base.config";
    /// The list of platforms.
    pub const PLATFORMS: &str = "refs.platforms";
    /// The image's name.
    pub const IMAGE_NAME: &str = "image.name";
    /// Seconds since 1970 to which times are clamped.
    pub const SOURCE_DATE_EPOCH: &str = "source.date.epoch";
}

/// The result of a build; `R` is how the holder knows a single file system.
#[derive(Clone, Debug, PartialEq)]
pub struct BuildResult<R> {
    /// The file systems.
    pub refs: Refs<R>,
    /// Everything else, by key.
    pub metadata: BTreeMap<String, Bytes>,
    /// What is claimed about the file systems, by platform id; a result of one has the id of its
    /// platform here too.
    pub attestations: BTreeMap<String, Vec<Attestation<R>>>,
}

/// The file systems of a result. `None` is an empty one (scratch).
#[derive(Clone, Debug, PartialEq)]
// Complete: a result is one file system or one for each platform.
pub enum Refs<R> {
    /// One, for the default platform.
    Single(Option<R>),
    /// One per platform id.
    ByPlatform(BTreeMap<String, Option<R>>),
}

impl<R> Default for BuildResult<R> {
    fn default() -> Self {
        Self::single(None)
    }
}

impl<R> BuildResult<R> {
    /// A result of one file system.
    pub fn single(one: Option<R>) -> Self {
        Self { refs: Refs::Single(one), metadata: BTreeMap::new(), attestations: BTreeMap::new() }
    }

    /// Every file system, with its platform id where there is one.
    pub fn iter(&self) -> impl Iterator<Item = (Option<&str>, Option<&R>)> {
        let (single, map) = match &self.refs {
            Refs::Single(one) => (Some((None, one.as_ref())), None),
            Refs::ByPlatform(map) => (None, Some(map)),
        };
        let many = map.into_iter().flatten().map(|(id, one)| (Some(id.as_str()), one.as_ref()));
        single.into_iter().chain(many)
    }

    /// Everything the result holds: its file systems and those of its attestations.
    pub fn held(&self) -> impl Iterator<Item = &R> {
        let attested = self.attestations.values().flatten();
        let attested = attested.filter_map(|attestation| attestation.reference.as_ref());
        self.iter().filter_map(|(_, one)| one).chain(attested)
    }

    /// The only file system.
    ///
    /// # Errors
    ///
    /// A text for people if there are several.
    pub fn into_single(self) -> Result<Option<R>, String> {
        match self.refs {
            Refs::Single(one) => Ok(one),
            Refs::ByPlatform(mut map) if map.len() == 1 => {
                Ok(map.pop_first().and_then(|(_, one)| one))
            }
            Refs::ByPlatform(map) => {
                Err(format!("expected a single result, got {} platforms", map.len()))
            }
        }
    }

    /// The same result with every file system turned into something else.
    ///
    /// # Errors
    ///
    /// The first error of `f`.
    pub fn try_map<S, E>(self, mut f: impl FnMut(R) -> Result<S, E>) -> Result<BuildResult<S>, E> {
        self.try_filter_map(|one| f(one).map(Some))
    }

    /// The same result with every file system turned into something else, or into an empty one.
    ///
    /// # Errors
    ///
    /// The first error of `f`.
    pub fn try_filter_map<S, E>(
        self,
        mut f: impl FnMut(R) -> Result<Option<S>, E>,
    ) -> Result<BuildResult<S>, E> {
        let mut turn = |one: Option<R>| one.map_or(Ok(None), &mut f);
        let refs = match self.refs {
            Refs::Single(one) => Refs::Single(turn(one)?),
            Refs::ByPlatform(map) => {
                let map = map.into_iter().map(|(id, one)| Ok((id, turn(one)?)));
                Refs::ByPlatform(map.collect::<Result<_, E>>()?)
            }
        };
        let mut attestations = BTreeMap::new();
        for (id, list) in self.attestations {
            let mut turned = Vec::with_capacity(list.len());
            for mut attestation in list {
                let reference = turn(attestation.reference.take())?;
                turned.push(attestation.with_reference(reference));
            }
            attestations.insert(id, turned);
        }
        Ok(BuildResult { refs, metadata: self.metadata, attestations })
    }

    /// The platforms of the result, in the order of `refs.platforms`.
    pub fn platforms(&self) -> Vec<PlatformEntry> {
        let list = self
            .metadata
            .get(keys::PLATFORMS)
            .and_then(|json| serde_json::from_slice::<PlatformList>(json).ok());
        list.map(|list| list.platforms).unwrap_or_default()
    }
}

/// One entry of `refs.platforms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformEntry {
    /// The key of the file system.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its platform.
    #[serde(rename = "Platform")]
    pub platform: Platform,
}

#[derive(Serialize, Deserialize)]
struct PlatformList {
    #[serde(rename = "Platforms")]
    platforms: Vec<PlatformEntry>,
}

/// Puts the results of several platforms together.
#[derive(Debug)]
pub struct PlatformResults<R> {
    entries: Vec<Entry<R>>,
    multi: bool,
}

#[derive(Debug)]
struct Entry<R> {
    platform: Platform,
    file_system: Option<R>,
    config: Bytes,
    base_config: Option<Bytes>,
    epoch: Option<i64>,
}

impl<R> PlatformResults<R> {
    /// Starts empty. With `multi` the result is a map even if there is just one platform.
    pub fn new(multi: bool) -> Self {
        Self { entries: Vec::new(), multi }
    }

    /// Adds the file system and the image config of one platform.
    pub fn push(&mut self, platform: Platform, file_system: Option<R>, config: &ImageConfig) {
        let config = config.to_json().into();
        let entry = Entry { platform, file_system, config, base_config: None, epoch: None };
        self.entries.push(entry);
    }

    /// Adds the file system of one platform, and all that was made with it.
    pub(crate) fn add(&mut self, platform: Platform, file_system: Option<R>, made: PlatformResult) {
        let PlatformResult { config, base_config, epoch, .. } = made;
        self.entries.push(Entry { platform, file_system, config, base_config, epoch });
    }

    /// The whole result, with `refs.platforms` and one config per platform.
    pub fn finish(self) -> BuildResult<R> {
        let mut metadata = BTreeMap::new();
        let mut platforms = Vec::new();
        let mut refs = BTreeMap::new();
        let single = !self.multi && self.entries.len() == 1;
        for entry in self.entries {
            let platform = entry.platform.normalized();
            let id = platform.format_all();
            let mut add = |key: &str, value: Option<Bytes>| {
                let Some(value) = value else { return };
                let key = if single { key.to_owned() } else { format!("{key}/{id}") };
                metadata.insert(key, value);
            };
            let platform = with_windows_version(platform, &entry.config);
            add(keys::IMAGE_CONFIG, Some(entry.config));
            add(keys::BASE_CONFIG, entry.base_config);
            add(keys::SOURCE_DATE_EPOCH, entry.epoch.map(|epoch| epoch.to_string().into()));
            platforms.push(PlatformEntry { id: id.clone(), platform });
            refs.insert(id, entry.file_system);
        }
        // A list of platforms is made of texts, so it can always be written.
        let list = serde_json::to_vec(&PlatformList { platforms }).unwrap_or_default();
        metadata.insert(keys::PLATFORMS.to_owned(), list.into());
        let refs = match (single, refs) {
            (true, mut refs) => Refs::Single(refs.pop_first().and_then(|(_, one)| one)),
            (false, refs) => Refs::ByPlatform(refs),
        };
        BuildResult { refs, metadata, attestations: BTreeMap::new() }
    }
}

/// A Windows platform with the version that its image says it is for: such images run nowhere else.
fn with_windows_version(mut platform: Platform, config: &[u8]) -> Platform {
    if platform.os != "windows" {
        return platform;
    }
    let config = serde_json::from_slice::<ImageConfig>(config).unwrap_or_default();
    if config.platform.os == platform.os {
        if platform.os_version.is_empty() {
            platform.os_version = config.platform.os_version;
        }
        if platform.os_features.is_empty() {
            platform.os_features = config.platform.os_features;
        }
    }
    platform.normalized()
}
