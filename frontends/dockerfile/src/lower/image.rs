//! The config of an image in the making, written as the reference writes it, byte for byte.
//!
//! The fields are those of the OCI image config with Docker's additions. What the reference does not
//! know it drops on reading, and so does this file: the text is compared by digest. Text comes in
//! through [`Image::from_json`] and leaves through [`Image::to_json`].

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use kiln_sdk::oci::Platform;
use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::env::Env;
use super::gojson::{self, Time};

/// The search path of Unix commands.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The search path of Windows commands.
const DEFAULT_PATH_WINDOWS: &str =
    "c:\\Windows\\System32;c:\\Windows;C:\\Windows\\System32\\WindowsPowerShell\\v1.0";

/// The search path of an operating system.
pub(crate) fn default_path(os: &str) -> &'static str {
    if os == "windows" { DEFAULT_PATH_WINDOWS } else { DEFAULT_PATH }
}

/// An image config. The order of the fields is that of the text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Image {
    /// When the base was made; never kept for what is built on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<Time>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "lenient")]
    pub(crate) author: String,
    #[serde(deserialize_with = "lenient")]
    pub(crate) architecture: String,
    #[serde(deserialize_with = "lenient")]
    pub(crate) os: String,
    #[serde(
        rename = "os.version",
        skip_serializing_if = "String::is_empty",
        deserialize_with = "lenient"
    )]
    pub(crate) os_version: String,
    #[serde(
        rename = "os.features",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "lenient"
    )]
    pub(crate) os_features: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "lenient")]
    pub(crate) variant: String,
    #[serde(deserialize_with = "fields")]
    pub(crate) rootfs: RootFs,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "list_of_fields")]
    pub(crate) history: Vec<History>,
    #[serde(deserialize_with = "fields")]
    pub(crate) config: Config,
}

/// The layers of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RootFs {
    #[serde(rename = "type", deserialize_with = "lenient")]
    pub(crate) kind: String,
    /// `None` is written as `null`, as opposed to an empty list.
    pub(crate) diff_ids: Option<Words>,
}

/// One step in the making of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct History {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<Time>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "lenient")]
    pub(crate) created_by: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "lenient")]
    pub(crate) author: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "lenient")]
    pub(crate) comment: String,
    #[serde(skip_serializing_if = "std::ops::Not::not", deserialize_with = "lenient")]
    pub(crate) empty_layer: bool,
}

/// How to run a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Config {
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "lenient")]
    pub(crate) user: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "lenient")]
    pub(crate) exposed_ports: BTreeMap<String, Nothing>,
    #[serde(skip_serializing_if = "Env::is_empty", deserialize_with = "lenient")]
    pub(crate) env: Env,
    #[serde(skip_serializing_if = "Words::is_empty", deserialize_with = "lenient")]
    pub(crate) entrypoint: Words,
    #[serde(skip_serializing_if = "Words::is_empty", deserialize_with = "lenient")]
    pub(crate) cmd: Words,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "lenient")]
    pub(crate) volumes: BTreeMap<String, Nothing>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "lenient")]
    pub(crate) working_dir: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "lenient")]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "lenient")]
    pub(crate) stop_signal: String,
    #[serde(skip_serializing_if = "std::ops::Not::not", deserialize_with = "lenient")]
    pub(crate) args_escaped: bool,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "optional_fields")]
    pub(crate) healthcheck: Option<Healthcheck>,
    #[serde(skip_serializing_if = "Words::is_empty", deserialize_with = "lenient")]
    pub(crate) on_build: Words,
    #[serde(skip_serializing_if = "Words::is_empty", deserialize_with = "lenient")]
    pub(crate) shell: Words,
}

/// Words of a command. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Words(Arc<Vec<String>>);

impl Words {
    /// Adds a word. Costs a copy if the words are shared.
    pub(crate) fn push(&mut self, word: String) {
        Arc::make_mut(&mut self.0).push(word);
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<String>> for Words {
    fn from(words: Vec<String>) -> Self {
        Self(Arc::new(words))
    }
}

impl Deref for Words {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

impl Serialize for Words {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words: Vec<Option<String>> = Vec::deserialize(deserializer)?;
        Ok(words.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().into())
    }
}

/// The empty object that stands behind a port or a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Nothing {}

impl<'de> Deserialize<'de> for Nothing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        fields::<D, BTreeMap<String, IgnoredAny>>(deserializer).map(|_| Self {})
    }
}

/// A health check; durations are nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Healthcheck {
    #[serde(skip_serializing_if = "Words::is_empty", deserialize_with = "lenient")]
    pub(crate) test: Words,
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "lenient")]
    pub(crate) interval: i64,
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "lenient")]
    pub(crate) timeout: i64,
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "lenient")]
    pub(crate) start_period: i64,
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "lenient")]
    pub(crate) start_interval: i64,
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "lenient")]
    pub(crate) retries: i64,
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// `null` means that nothing was said.
fn lenient<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// An object with fields, or `null`. A derived type would take a list for its fields in their order.
fn fields<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    optional_fields(deserializer).map(Option::unwrap_or_default)
}

fn optional_fields<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Fields<T>>::deserialize(deserializer)?.map(|Fields(value)| value))
}

fn list_of_fields<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    let list: Vec<Option<Fields<T>>> = lenient(deserializer)?;
    Ok(list.into_iter().map(|item| item.map_or_else(T::default, |Fields(value)| value)).collect())
}

/// A value that is written as an object and nothing else.
struct Fields<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Fields<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfMap<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(OfMap(PhantomData)).map(Self)
    }
}

impl Image {
    /// The config of an image with nothing in it.
    pub(crate) fn empty(platform: &Platform) -> Self {
        let mut image = Self {
            rootfs: RootFs { kind: "layers".into(), diff_ids: None },
            config: Config { working_dir: "/".into(), ..Config::default() },
            ..Self::default()
        };
        image.architecture.clone_from(&platform.architecture);
        image.os.clone_from(&platform.os);
        image.os_version.clone_from(&platform.os_version);
        image.os_features.clone_from(&platform.os_features);
        image.variant.clone_from(&platform.variant);
        // Windows finds its commands by itself.
        if platform.os != "windows" {
            image.config.env.set("PATH", default_path(&platform.os));
        }
        image
    }

    /// Reads a config as a registry or a client gave it.
    ///
    /// # Errors
    ///
    /// If the text is no JSON, or a field has another type than it must have.
    pub(crate) fn from_json(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text).map(|Fields(image)| image)
    }

    /// The canonical text.
    ///
    /// # Errors
    ///
    /// If a step was made at a time that JSON has no spelling for.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        gojson::to_vec(self)
    }

    /// The platform the config names, as it names it.
    pub(crate) fn platform(&self) -> Platform {
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            variant: self.variant.clone(),
        }
    }

    /// Makes the config name another platform.
    pub(crate) fn set_platform(&mut self, platform: Platform) {
        self.architecture = platform.architecture;
        self.os = platform.os;
        self.os_version = platform.os_version;
        self.os_features = platform.os_features;
        self.variant = platform.variant;
    }

    /// What a stage on top begins with: everything but what grows with every stage, which lies with
    /// the stage that says it until [`Image::on`] puts it together. Triggers are those of a stage's
    /// children, not of its grandchildren.
    pub(crate) fn heir(&mut self) -> Self {
        let env = self.config.env.share();
        let config = &self.config;
        Self {
            created: self.created.clone(),
            author: self.author.clone(),
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            variant: self.variant.clone(),
            rootfs: self.rootfs.clone(),
            history: Vec::new(),
            config: Config {
                user: config.user.clone(),
                exposed_ports: BTreeMap::new(),
                env,
                entrypoint: config.entrypoint.clone(),
                cmd: config.cmd.clone(),
                volumes: BTreeMap::new(),
                working_dir: config.working_dir.clone(),
                labels: BTreeMap::new(),
                stop_signal: config.stop_signal.clone(),
                args_escaped: config.args_escaped,
                healthcheck: config.healthcheck.clone(),
                on_build: Words::default(),
                shell: config.shell.clone(),
            },
        }
    }

    /// The whole image of a stage on top of others, the lowest first.
    pub(crate) fn on<'b>(&'b self, below: impl IntoIterator<Item = &'b Self>) -> Self {
        let mut whole = self.clone();
        let mut below = below.into_iter().peekable();
        if below.peek().is_none() {
            return whole;
        }
        let Config { exposed_ports, volumes, labels, .. } = &mut whole.config;
        whole.history.clear();
        exposed_ports.clear();
        volumes.clear();
        labels.clear();
        for image in below.chain([self]) {
            whole.history.extend_from_slice(&image.history);
            let Config { exposed_ports: ports, volumes: places, labels: more, .. } = &image.config;
            exposed_ports.extend(ports.iter().map(|(port, nothing)| (port.clone(), *nothing)));
            volumes.extend(places.iter().map(|(place, nothing)| (place.clone(), *nothing)));
            labels.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        whole
    }

    /// The shell of shell forms.
    pub(crate) fn shell(&self) -> Vec<String> {
        if !self.config.shell.is_empty() {
            return self.config.shell.to_vec();
        }
        let words: &[&str] =
            if self.os == "windows" { &["cmd", "/S", "/C"] } else { &["/bin/sh", "-c"] };
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// Whether the config names no layer, so that the image is nothing.
    pub(crate) fn has_no_layers(&self) -> bool {
        // Old manifests have no list of layers, but their history says which steps made one.
        self.rootfs.diff_ids.as_ref().is_none_or(Words::is_empty)
            && self.history.iter().all(|step| step.empty_layer)
    }
}

/// A duration as a config has it.
pub(crate) fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
