//! Image configs: what to run by default, and of which layers the image is made.
//!
//! The types are Docker's superset of the OCI image specification (health checks, ONBUILD, SHELL).
//! Fields Kiln does not know are kept and written back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Digest, Platform};

/// An image config (`application/vnd.oci.image.config.v1+json`).
///
/// Fields stand in the order in which Docker and BuildKit write them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When the image was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub author: String,
    /// What it runs on.
    #[serde(flatten)]
    pub platform: Platform,
    /// Its layers.
    #[serde(default, deserialize_with = "null_is_default")]
    pub rootfs: RootFs,
    /// How it was made, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub history: Vec<History>,
    /// How to run it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: ContainerConfig,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl ImageConfig {
    /// An empty config for a platform, with the default PATH and `/` as working directory.
    pub fn new(platform: &Platform) -> Self {
        let config = ContainerConfig {
            env: vec![format!("PATH={DEFAULT_PATH}")],
            working_dir: "/".into(),
            ..ContainerConfig::default()
        };
        Self { platform: platform.clone(), config, rootfs: RootFs::default(), ..Self::default() }
    }

    /// The config as Docker and BuildKit write it: without spaces, and with `<`, `>` and `&`
    /// escaped, byte for byte. Exporters write configs their own way.
    pub fn to_json(&self) -> Vec<u8> {
        // A config is made of strings and numbers, so it can always be written.
        let json = serde_json::to_string(self).unwrap_or_default();
        // Go writes a list that nothing was added to as null. Inside a text the quotes would be
        // escaped, so this finds no text.
        let json = json.replace(r#""diff_ids":[]}"#, r#""diff_ids":null}"#);
        let mut out = String::with_capacity(json.len());
        for c in json.chars() {
            match c {
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                    out.push_str(&format!("\\u{:04x}", u32::from(c)));
                }
                c => out.push(c),
            }
        }
        out.into_bytes()
    }
}

/// The part of an image config that says how to run a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConfig {
    /// User and group, by name or number.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub user: String,
    /// Ports such as `80/tcp`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub exposed_ports: BTreeMap<String, Value>,
    /// `NAME=value`, in order.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    /// The program and its fixed arguments.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub entrypoint: Option<Vec<String>>,
    /// Default arguments.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub cmd: Option<Vec<String>>,
    /// Directories kept outside the image.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub volumes: BTreeMap<String, Value>,
    /// Where the process starts.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub working_dir: String,
    /// Labels by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks the process to end.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub stop_signal: String,
    /// Windows: arguments are already escaped.
    #[serde(skip_serializing_if = "std::ops::Not::not", deserialize_with = "null_is_default")]
    pub args_escaped: bool,
    /// How to find out whether the container works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Instructions for images built on this one.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub on_build: Option<Vec<String>>,
    /// The shell of shell-form commands.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub shell: Option<Vec<String>>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Where programs are looked for if an image does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl ContainerConfig {
    /// The value of an environment variable.
    pub fn env_value(&self, name: &str) -> Option<&str> {
        self.env.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }

    /// Sets an environment variable: in its place if it exists, else at the end.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        let same = |old: &String| old.strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
        match self.env.iter().position(same) {
            Some(index) => self.env[index] = entry,
            None => self.env.push(entry),
        }
    }

    /// Has programs be looked for in a directory first.
    pub fn prepend_path(&mut self, directory: &str) {
        let path = match self.env_value("PATH") {
            Some(path) => format!("{directory}:{path}"),
            None => format!("{directory}:{DEFAULT_PATH}"),
        };
        self.set_env("PATH", &path);
    }
}

/// A health check, as Docker writes it. Durations are nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `["CMD", …]`, `["CMD-SHELL", "…"]` or `["NONE"]`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub test: Vec<String>,
    /// Time between checks.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "null_is_default")]
    pub interval: i64,
    /// Time until a check counts as failed.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "null_is_default")]
    pub timeout: i64,
    /// Time during which failures do not count.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "null_is_default")]
    pub start_period: i64,
    /// Time between checks during the start period.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "null_is_default")]
    pub start_interval: i64,
    /// Failures in a row until the container is unhealthy.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "null_is_default")]
    pub retries: i64,
}

/// The layers of an image, by the digest of their uncompressed bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default, deserialize_with = "null_is_default")]
    pub kind: String,
    /// Bottom first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".into(), diff_ids: Vec::new() }
    }
}

/// One step in the making of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By what.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub created_by: String,
    /// By whom.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub author: String,
    /// A note.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub comment: String,
    /// The step made no layer.
    #[serde(skip_serializing_if = "std::ops::Not::not", deserialize_with = "null_is_default")]
    pub empty_layer: bool,
}

/// The chain ids of a list of diff ids: the address of each layer together with all below it (OCI
/// image specification, "Layer ChainID").
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            Some(below) => Digest::sha256(format!("{below} {diff_id}")),
            None => diff_id.clone(),
        };
        chain.push(next);
    }
    chain
}

/// What is `null` is not said: Go writes empty lists and maps so.
pub(crate) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[expect(clippy::ref_option, reason = "serde passes the field as it is")]
fn none_or_empty(list: &Option<Vec<String>>) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_null_is_not_said() {
        for text in [
            "{}",
            r#"{"architecture":null,"os":null,"variant":null,"config":null,"rootfs":null}"#,
            r#"{"rootfs":{"type":null},"config":{"User":null,"WorkingDir":null,"Env":null}}"#,
            r#"{"config":{"Healthcheck":{"Test":null,"Interval":null}},"history":[{"comment":null}]}"#,
        ] {
            let config: ImageConfig = serde_json::from_str(text).unwrap();
            assert_eq!(config.platform, Platform::default(), "{text}");
        }
    }

    #[test]
    fn a_docker_config_keeps_what_we_do_not_know() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Cmd":["sh"],"X":1},"rootfs":{"type":"layers","diff_ids":null},"history":null,"extra":{"a":1}}"#;
        let config: ImageConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.config.cmd, Some(vec!["sh".into()]));
        assert_eq!(config.platform.format(), "linux/amd64");
        let again = serde_json::to_value(&config).unwrap();
        assert_eq!(again["extra"]["a"], 1);
        assert_eq!(again["config"]["X"], 1);
    }

    #[test]
    fn a_config_is_written_as_docker_writes_it() {
        let mut config = ImageConfig::new(&Platform::new("linux", "amd64"));
        config.config.cmd = Some(vec!["a && <b>".into()]);
        config.config.shell = Some(Vec::new());
        let written = String::from_utf8(config.to_json()).unwrap();
        assert_eq!(
            written,
            r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":null},"config":{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"Cmd":["a \u0026\u0026 \u003cb\u003e"],"WorkingDir":"/"}}"#
        );
    }

    #[test]
    fn environment_is_replaced_in_place() {
        let mut config =
            ContainerConfig { env: vec!["A=1".into(), "B=2".into()], ..Default::default() };
        config.set_env("A", "3");
        config.set_env("C", "4");
        assert_eq!(config.env, ["A=3", "B=2", "C=4"]);
        assert_eq!(config.env_value("A"), Some("3"));
    }

    #[test]
    fn the_first_chain_id_is_the_diff_id() {
        let (a, b) = (Digest::sha256("a"), Digest::sha256("b"));
        let chain = chain_ids(&[a.clone(), b.clone()]);
        assert_eq!(chain, [a.clone(), Digest::sha256(format!("{a} {b}"))]);
    }
}
