//! The cache config: the list of records and layers that an exported cache is, in BuildKit's form.
//!
//! JSON comes in and goes out; what is read is bounded and checked before anything follows its
//! numbers. What records mean is not known here.

use kiln_oci::Digest;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The media type of a cache config.
pub const CACHE_CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";

/// The largest config that is read, in bytes.
pub const LARGEST_CONFIG: u64 = 32 << 20;

/// The most records and layers that are read.
const MOST_ENTRIES: usize = 200_000;

/// The time that Go writes when there is none.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// Records, and the layers that their results consist of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheConfig {
    /// The layers, each with the one below it.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    pub layers: Vec<ConfigLayer>,
    /// The records.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    pub records: Vec<ConfigRecord>,
    /// Signatures of the rest, which BuildKit passes over.
    #[serde(
        rename = "kiln.signatures",
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "list"
    )]
    pub signatures: Vec<String>,
}

/// A layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigLayer {
    /// The blob that holds it.
    pub blob: Digest,
    /// The number of the layer below it; -1 if there is none. Go leaves 0 out.
    #[serde(rename = "parent", default, skip_serializing_if = "is_zero")]
    pub parent: i64,
    /// What a store without manifests says about the blob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<LayerAnnotations>,
}

/// What a store without manifests says about a blob.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerAnnotations {
    /// Its media type.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The digest of its tar, uncompressed.
    #[serde(rename = "diffID", default, skip_serializing_if = "Option::is_none")]
    pub diff_id: Option<Digest>,
    /// Its size in bytes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size: i64,
    /// When it was made.
    #[serde(default)]
    pub created_at: String,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigRecord {
    /// Results, each by its top layer.
    #[serde(
        rename = "layers",
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "list"
    )]
    pub results: Vec<ConfigResult>,
    /// Results, each by all of its layers.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    pub chains: Vec<ConfigChain>,
    /// The operation and its output.
    pub digest: Digest,
    /// For every input, the ways to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    pub inputs: Vec<Vec<ConfigInput>>,
}

/// A result by its top layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigResult {
    /// The number of the layer.
    pub layer: i64,
    /// When the result was made.
    #[serde(rename = "createdAt", default)]
    pub created_at: String,
}

/// A result by all of its layers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigChain {
    /// The numbers of the layers, bottom first.
    #[serde(default, deserialize_with = "list")]
    pub layers: Vec<i64>,
    /// When the result was made.
    #[serde(rename = "createdAt", default)]
    pub created_at: String,
}

/// A way to an input.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConfigInput {
    /// What is read of the record.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub selector: String,
    /// The number of the record.
    pub link: i64,
}

/// Why a cache config is not one.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is no JSON of the right shape.
    #[error("the cache config cannot be parsed")]
    Parse(#[from] serde_json::Error),
    /// It is larger than is read.
    #[error("the cache config has more than {MOST_ENTRIES} {0}")]
    TooLarge(&'static str),
    /// A number names nothing.
    #[error("{what} {number} of the cache config does not exist")]
    Missing {
        /// Of what.
        what: &'static str,
        /// The number.
        number: i64,
    },
    /// An input without a way to it.
    #[error("record {0} of the cache config has an input that nothing leads to")]
    EmptyInput(usize),
    /// Records or layers that stand on themselves.
    #[error("{0} of the cache config lead to themselves")]
    Loop(&'static str),
    /// A selector that is no digest.
    #[error("record {0} of the cache config has a selector that is no digest")]
    Selector(usize),
}

impl CacheConfig {
    /// Reads a config.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is no JSON of this form, or too large.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let config: Self = serde_json::from_slice(json)?;
        config.check_size()?;
        Ok(config)
    }

    /// Refuses configs of absurd size.
    pub(crate) fn check_size(&self) -> Result<(), ConfigError> {
        if self.records.len() > MOST_ENTRIES {
            return Err(ConfigError::TooLarge("records"));
        }
        if self.layers.len() > MOST_ENTRIES {
            return Err(ConfigError::TooLarge("layers"));
        }
        Ok(())
    }

    /// The numbers of the layers of a result, bottom first, given its top one.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a number names nothing or layers lead to themselves.
    pub fn layers_below(&self, top: i64) -> Result<Vec<usize>, ConfigError> {
        let mut chain = Vec::new();
        let mut next = top;
        while next != -1 {
            let number = index(next, self.layers.len(), "layer")?;
            if chain.len() >= self.layers.len() {
                return Err(ConfigError::Loop("layers"));
            }
            chain.push(number);
            next = self.layers[number].parent;
        }
        chain.reverse();
        Ok(chain)
    }
}

/// A number of a list as an index into it.
pub(crate) fn index(number: i64, len: usize, what: &'static str) -> Result<usize, ConfigError> {
    let index = usize::try_from(number).ok().filter(|index| *index < len);
    index.ok_or(ConfigError::Missing { what, number })
}

/// A moment as Go writes it; nanoseconds since 1970 come in, 0 for none.
pub fn time_text(nanos: u64) -> String {
    if nanos == 0 {
        return NO_TIME.to_owned();
    }
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(nanos));
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| NO_TIME.to_owned())
}

/// Nanoseconds since 1970; 0 for what is no moment after that.
pub fn parse_time(text: &str) -> u64 {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok();
    time.and_then(|time| u64::try_from(time.unix_timestamp_nanos()).ok()).unwrap_or(0)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// A list, for which Go may write `null`.
fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
