//! A specification as it is written, in YAML or JSON (`cncf-tags/container-device-interface`).

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, IgnoredAny, Visitor};
use serde::{Deserialize, Deserializer};

use crate::names;

/// One file.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Spec {
    pub(crate) cdi_version: Text,
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, Text>,
    #[serde(default)]
    pub(crate) devices: Vec<SpecDevice>,
    #[serde(default)]
    pub(crate) container_edits: SpecEdits,
}

/// One device of a specification.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SpecDevice {
    pub(crate) name: Text,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, Text>,
    #[serde(default)]
    pub(crate) container_edits: SpecEdits,
}

/// What a container gets.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SpecEdits {
    #[serde(default)]
    pub(crate) env: Vec<String>,
    #[serde(default)]
    pub(crate) device_nodes: Vec<SpecNode>,
    #[serde(default)]
    pub(crate) net_devices: Vec<IgnoredAny>,
    #[serde(default)]
    pub(crate) mounts: Vec<SpecMount>,
    #[serde(default)]
    pub(crate) hooks: Vec<SpecHook>,
    #[serde(default)]
    pub(crate) intel_rdt: Option<IgnoredAny>,
    #[serde(default)]
    pub(crate) additional_gids: Vec<u32>,
}

/// A device node.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SpecNode {
    pub(crate) path: String,
    pub(crate) host_path: Option<String>,
    pub(crate) r#type: Option<String>,
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
    pub(crate) file_mode: Option<u32>,
    pub(crate) permissions: Option<String>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
}

/// Something that is mounted.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SpecMount {
    pub(crate) host_path: String,
    pub(crate) container_path: String,
    #[serde(default)]
    pub(crate) options: Vec<String>,
    pub(crate) r#type: Option<String>,
}

/// A program that a runtime starts.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SpecHook {
    pub(crate) hook_name: String,
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) args: Vec<String>,
    #[serde(default)]
    pub(crate) env: Vec<String>,
    pub(crate) timeout: Option<i64>,
}

impl Spec {
    /// Reads a specification. JSON is YAML, too.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let spec: Self = serde_saphyr::from_str(text).map_err(|error| first_line(&error))?;
        if !names::is_kind(&spec.kind) {
            return Err(format!("`{}` is no kind, as in vendor.com/class", spec.kind));
        }
        if spec.cdi_version.0.is_empty() {
            return Err("it has no cdiVersion".to_owned());
        }
        match spec.devices.iter().find(|device| !names::is_device(&device.name.0)) {
            Some(device) => Err(format!("`{}` is no name of a device", device.name.0)),
            None => Ok(spec),
        }
    }
}

/// Errors of the reader go on with an extract of the file.
fn first_line(error: &serde_saphyr::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// A text that may be written as a number or a truth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Text, E> {
        Ok(Text(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Text, E> {
        Ok(Text(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Text, E> {
        Ok(Text(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Text, E> {
        Ok(Text(value.to_string()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Text, E> {
        Ok(Text(value.to_owned()))
    }
}
