//! Image configs as they are exported: what the frontend said, with the layers and the history
//! that the image really has.
//!
//! Pure: the frontend's JSON and the diff ids come in, the final bytes go out. Fields this code
//! does not know are kept as they came. The rules are BuildKit's
//! (`exporter/containerimage/writer.go`), because the digest of the image depends on them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_oci::{Digest, History, ImageConfig, Platform, RootFs};
use serde::Deserialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::export::CacheRecords;
use crate::json;

/// Marks history entries that were made here, for layers the frontend did not mention.
const COMMENT: &str = "buildkit.exporter.image.v0";

/// Where the inline cache stands in a config.
const INLINE_CACHE: &str = "moby.buildkit.cache.v0";

/// Where the signatures of the inline cache stand; BuildKit passes over them.
const SIGNATURES: &str = "kiln.cache.signatures";

/// Everything a config is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConfigParts<'a> {
    /// What the frontend said; without it a default config for `platform` is used.
    pub(crate) config: Option<&'a [u8]>,
    /// The config of the base image.
    pub(crate) base: Option<&'a [u8]>,
    /// A cache that rides in the config.
    pub(crate) inline_cache: Option<&'a CacheRecords>,
    /// For a default config.
    pub(crate) platform: &'a Platform,
    /// The layers, bottom first.
    pub(crate) diff_ids: &'a [Digest],
    /// Nothing is later than this.
    pub(crate) epoch: Option<OffsetDateTime>,
    /// When each layer was made, for those of which nobody says it.
    pub(crate) made: &'a [OffsetDateTime],
}

/// Why a config cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is not a JSON object of the right shape.
    #[error("failed to parse image config")]
    Parse(#[source] serde_json::Error),
    /// It is `null`.
    #[error("invalid null image config for export")]
    Null,
    /// It does not say what it runs on.
    #[error("invalid image config for export: missing {0}")]
    Missing(&'static str),
    /// It says half of what it runs on.
    #[error("invalid image config: os and architecture must be specified together")]
    HalfPlatform,
}

/// The parts of a config that this code reads.
#[derive(Deserialize)]
struct Known {
    #[serde(default)]
    history: Option<Vec<History>>,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    variant: Option<String>,
    #[serde(rename = "os.version", default)]
    os_version: Option<String>,
}

/// What platform a config is for, if it says so.
///
/// # Errors
///
/// [`ConfigError::HalfPlatform`] if it names only one of the two.
pub(crate) fn platform(config: &[u8]) -> Result<Option<Platform>, ConfigError> {
    let known: Option<Known> = serde_json::from_slice(config).map_err(ConfigError::Parse)?;
    let Some(known) = known else { return Ok(None) };
    let (os, architecture) = (known.os.unwrap_or_default(), known.architecture.unwrap_or_default());
    match (os.is_empty(), architecture.is_empty()) {
        (true, true) => Ok(None),
        (false, false) => Ok(Some(Platform {
            os,
            architecture,
            variant: known.variant.unwrap_or_default(),
            os_version: known.os_version.unwrap_or_default(),
            os_features: Vec::new(),
        })),
        _ => Err(ConfigError::HalfPlatform),
    }
}

/// How many layers a config has; 0 if it is none.
pub(crate) fn layer_count(config: &[u8]) -> usize {
    serde_json::from_slice::<ImageConfig>(config).map_or(0, |config| config.rootfs.diff_ids.len())
}

/// The bytes of a config for these layers.
///
/// # Errors
///
/// [`ConfigError`] if the frontend's config cannot be used.
pub(crate) fn finish(parts: &ConfigParts<'_>) -> Result<String, ConfigError> {
    let default;
    let config = match parts.config.filter(|config| !config.is_empty()) {
        Some(config) => config,
        None => {
            default = json::compact(&ImageConfig::new(&parts.platform.clone().normalized()));
            default.as_bytes()
        }
    };
    let fields: Option<BTreeMap<String, &RawValue>> =
        serde_json::from_slice(config).map_err(ConfigError::Parse)?;
    let known: Known = match fields {
        Some(_) => serde_json::from_slice(config).map_err(ConfigError::Parse)?,
        None => return Err(ConfigError::Null),
    };
    for (name, value) in [("os", &known.os), ("architecture", &known.architecture)] {
        if value.as_deref().is_none_or(str::is_empty) {
            return Err(ConfigError::Missing(name));
        }
    }
    let mut fields: BTreeMap<String, String> = fields
        .into_iter()
        .flatten()
        .map(|(key, value)| (key, json::squeeze(value.get())))
        .collect();
    let created_by_frontend = fields.contains_key("created");

    let mut history = known.history.unwrap_or_default();
    normalize(&mut history, parts);
    let created = match created_by_frontend {
        true => known.created.map(|created| clamped(&created, parts.epoch)),
        false => history.iter().rev().find_map(|entry| entry.created.clone()),
    };
    let rootfs = RootFs { diff_ids: parts.diff_ids.to_vec(), ..RootFs::default() };
    fields.insert("rootfs".into(), json::compact(&rootfs));
    fields.insert("history".into(), json::compact(&history));
    fields.insert("created".into(), json::compact(&created));
    fields.remove(INLINE_CACHE);
    fields.remove(SIGNATURES);
    if let Some(CacheRecords { records, signatures }) = parts.inline_cache {
        if !signatures.is_empty() {
            fields.insert(SIGNATURES.into(), json::compact(signatures));
        }
        fields.insert(INLINE_CACHE.into(), json::compact(&STANDARD.encode(records)));
    }
    let fields: Vec<String> =
        fields.iter().map(|(key, value)| format!("{}:{value}", json::compact(key))).collect();
    Ok(format!("{{{}}}", fields.join(",")))
}

/// Makes the history tell of each layer, and of the time of each step.
fn normalize(history: &mut Vec<History>, parts: &ConfigParts<'_>) {
    let layers = parts.diff_ids.len();
    let mut told = 0;
    for entry in history.iter_mut().filter(|entry| !entry.empty_layer) {
        // More steps with layers than layers: the frontend is wrong about the last ones.
        entry.empty_layer = told >= layers;
        told += usize::from(told < layers);
    }
    for _ in told..layers {
        history.push(History { comment: COMMENT.into(), ..History::default() });
    }
    let of_layers = history.iter_mut().filter(|entry| !entry.empty_layer);
    for (entry, made) in of_layers.zip(parts.made) {
        entry.created.get_or_insert_with(|| text(*made));
    }
    fill_times(history);
    clamp_history(history, parts);
}

/// Gives steps without a time that of a neighbour.
///
/// The first ones get the time of the first step behind a gap, because the step before the gap
/// belongs to the base image; later ones get that of the step before them.
fn fill_times(history: &mut [History]) {
    let gap = history.iter().position(|entry| entry.created.is_none());
    let Some(gap) = gap else { return };
    let behind = history[gap..].iter().find_map(|entry| entry.created.clone());
    let before = || history[..gap].iter().rev().find_map(|entry| entry.created.clone());
    let mut created = behind.or_else(before);
    for entry in &mut history[gap..] {
        match &entry.created {
            Some(own) => created = Some(own.clone()),
            None => entry.created.clone_from(&created),
        }
    }
}

/// Clamps the times of the steps that are not the base image's own.
fn clamp_history(history: &mut [History], parts: &ConfigParts<'_>) {
    let base: Option<Known> = parts.base.and_then(|base| serde_json::from_slice(base).ok());
    let base = base.and_then(|base| base.history).unwrap_or_default();
    let inherited = history.iter().zip(&base).take_while(|(own, base)| own == base).count();
    for (index, entry) in history.iter_mut().enumerate() {
        let epoch = parts.epoch.filter(|_| index >= inherited);
        entry.created = match &entry.created {
            Some(created) => Some(clamped(created, epoch)),
            None => epoch.map(text),
        };
    }
}

/// The earlier of the two, as Go writes times; what is no time counts as late.
fn clamped(created: &str, epoch: Option<OffsetDateTime>) -> String {
    match (OffsetDateTime::parse(created, &Rfc3339), epoch) {
        (Ok(created), Some(epoch)) if created > epoch => text(epoch),
        (Ok(created), _) => text(created),
        (Err(_), Some(epoch)) => text(epoch),
        (Err(_), None) => created.to_owned(),
    }
}

/// RFC 3339, as Go writes it.
pub(crate) fn text(time: OffsetDateTime) -> String {
    // Fails only for years beyond 9999, which no parsed time and no clock has.
    time.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> OffsetDateTime {
        OffsetDateTime::parse(text, &Rfc3339).unwrap()
    }

    fn finished(config: Option<&str>, layers: usize, epoch: Option<&str>) -> String {
        let diff_ids: Vec<Digest> =
            (0..layers).map(|n| Digest::sha256([u8::try_from(n).unwrap()])).collect();
        finish(&ConfigParts {
            config: config.map(str::as_bytes),
            base: None,
            inline_cache: None,
            platform: &"linux/amd64".parse().unwrap(),
            diff_ids: &diff_ids,
            epoch: epoch.map(time),
            made: &made(layers),
        })
        .unwrap()
    }

    /// One layer a day.
    fn made(layers: usize) -> Vec<OffsetDateTime> {
        let first = time("2024-05-06T07:08:09.5Z");
        (0..layers).map(|day| first + time::Duration::days(i64::try_from(day).unwrap())).collect()
    }

    fn history(config: &str) -> Vec<String> {
        let config: ImageConfig = serde_json::from_str(config).unwrap();
        let line = |h: &History| {
            let layer = if h.empty_layer { "empty" } else { "layer" };
            format!("{} {layer} {}", h.created.as_deref().unwrap_or("-"), h.comment)
        };
        config.history.iter().map(line).collect()
    }

    #[test]
    fn keys_are_sorted_and_unknown_ones_kept_as_they_came() {
        let config = r#"{ "os": "linux", "x": {"z": 1, "a": "<"}, "architecture": "amd64",
            "created": "2020-01-01T00:00:00.000Z", "moby.buildkit.cache.v0": "old",
            "kiln.cache.signatures": ["old"] }"#;
        assert_eq!(
            finished(Some(config), 0, None),
            r#"{"architecture":"amd64","created":"2020-01-01T00:00:00Z","history":[],"os":"linux","rootfs":{"type":"layers","diff_ids":[]},"x":{"z":1,"a":"\u003c"}}"#
        );
    }

    #[test]
    fn without_a_config_there_is_a_default_one() {
        let text = finished(None, 1, Some("2021-01-01T00:00:00Z"));
        let config: ImageConfig = serde_json::from_str(&text).unwrap();
        assert_eq!(config.platform.format(), "linux/amd64");
        assert_eq!(config.config.working_dir, "/");
        assert!(config.config.env_value("PATH").is_some());
        assert_eq!(config.created.as_deref(), Some("2021-01-01T00:00:00Z"));
        assert_eq!(history(&text), ["2021-01-01T00:00:00Z layer buildkit.exporter.image.v0"]);
    }

    #[test]
    fn layers_nobody_told_of_get_an_entry() {
        let config = r#"{"os":"linux","architecture":"amd64","history":[
            {"created":"2020-01-01T00:00:00Z"},{"created_by":"CMD","empty_layer":true}]}"#;
        let text = finished(Some(config), 2, None);
        assert_eq!(
            history(&text),
            [
                "2020-01-01T00:00:00Z layer ",
                "2024-05-07T07:08:09.5Z empty ",
                "2024-05-07T07:08:09.5Z layer buildkit.exporter.image.v0",
            ]
        );
        assert!(text.contains(r#""created":"2024-05-07T07:08:09.5Z","history""#));
    }

    #[test]
    fn each_layer_is_as_old_as_it_is() {
        let text = finished(None, 2, None);
        assert_eq!(
            history(&text),
            [
                "2024-05-06T07:08:09.5Z layer buildkit.exporter.image.v0",
                "2024-05-07T07:08:09.5Z layer buildkit.exporter.image.v0",
            ]
        );
        assert!(text.contains(r#""created":"2024-05-07T07:08:09.5Z","history""#));
    }

    #[test]
    fn entries_for_layers_that_do_not_exist_become_empty() {
        let config = r#"{"os":"linux","architecture":"amd64","history":[
            {"created":"2020-01-01T00:00:00Z"},{"created":"2020-01-02T00:00:00Z"}]}"#;
        assert_eq!(
            history(&finished(Some(config), 1, None)),
            ["2020-01-01T00:00:00Z layer ", "2020-01-02T00:00:00Z empty "]
        );
    }

    #[test]
    fn the_history_of_the_base_image_keeps_its_times() {
        let base = r#"{"os":"linux","architecture":"amd64","history":[
            {"created":"2020-01-01T00:00:00Z","created_by":"base"}]}"#;
        let config = r#"{"os":"linux","architecture":"amd64","created":"2023-01-01T00:00:00Z",
            "history":[{"created":"2020-01-01T00:00:00Z","created_by":"base"},
            {"created":"2023-01-01T00:00:00Z","created_by":"new"}]}"#;
        let diff_ids = [Digest::sha256("a"), Digest::sha256("b")];
        let text = finish(&ConfigParts {
            config: Some(config.as_bytes()),
            base: Some(base.as_bytes()),
            inline_cache: Some(&CacheRecords {
                records: b"[]".into(),
                signatures: vec!["-----\n".into()],
            }),
            platform: &Platform::default(),
            diff_ids: &diff_ids,
            epoch: Some(time("2000-01-01T00:00:00Z")),
            made: &made(2),
        })
        .unwrap();
        assert_eq!(history(&text), ["2020-01-01T00:00:00Z layer ", "2000-01-01T00:00:00Z layer "]);
        assert!(text.contains(r#""created":"2000-01-01T00:00:00Z","#));
        assert!(text.contains(r#""kiln.cache.signatures":["-----\n"]"#), "{text}");
        assert!(text.contains(r#""moby.buildkit.cache.v0":"W10=""#));
    }

    #[test]
    fn unusable_configs_are_refused() {
        let error = |config: &str| {
            finish(&ConfigParts {
                config: Some(config.as_bytes()),
                base: None,
                inline_cache: None,
                platform: &Platform::default(),
                diff_ids: &[],
                epoch: None,
                made: &[],
            })
            .unwrap_err()
            .to_string()
        };
        assert_eq!(error("null"), "invalid null image config for export");
        assert_eq!(error("{}"), "invalid image config for export: missing os");
        assert_eq!(
            error(r#"{"os":"linux"}"#),
            "invalid image config for export: missing architecture"
        );
        assert_eq!(error("[]"), "failed to parse image config");
        assert!(matches!(platform(br#"{"os":"linux"}"#), Err(ConfigError::HalfPlatform)));
    }
}
