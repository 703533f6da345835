//! Which plugins make a network, as a file says it: one plugin, or a list of them.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::networks::NetworkError;

/// The version of results that plugins of a configuration without one give.
const DEFAULT_VERSION: &str = "0.2.0";
/// The largest configuration.
const MAX_BYTES: u64 = 1 << 20;

/// The plugins of a network, in their order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NetworkConfig {
    name: String,
    version: String,
    pub(crate) plugins: Vec<Map<String, Value>>,
}

impl NetworkConfig {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, NetworkError> {
        let wrong = |what: String| plugin_error(format!("{}: {what}", path.display()));
        let length = fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
        if length > MAX_BYTES {
            return Err(wrong(format!("larger than {MAX_BYTES} bytes")));
        }
        let text = fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let value = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        Self::of_value(value).map_err(wrong)
    }

    fn of_value(mut value: Value) -> Result<Self, String> {
        let text = |value: &Value, key: &str| value[key].as_str().map(str::to_owned);
        let name = text(&value, "name").filter(|name| !name.is_empty());
        let name = name.ok_or("the network has no `name`")?;
        let version = text(&value, "cniVersion").filter(|version| !version.is_empty());
        let plugins = match value.get_mut("plugins").map(Value::take) {
            Some(Value::Array(plugins)) => plugins,
            Some(_) => return Err("`plugins` is no list".to_owned()),
            None => vec![value],
        };
        let plugins: Option<Vec<_>> = plugins
            .into_iter()
            .map(|plugin| match plugin {
                Value::Object(plugin) => Some(plugin),
                _ => None,
            })
            .collect();
        let plugins = plugins.ok_or("a plugin is no object")?;
        if plugins.is_empty() {
            return Err("there is no plugin".to_owned());
        }
        for plugin in &plugins {
            let kind = kind(plugin);
            if kind.is_empty() || kind.contains('/') || kind.starts_with('.') {
                return Err(format!("`{kind}` is no `type` of a plugin"));
            }
        }
        let version = version.unwrap_or_else(|| DEFAULT_VERSION.to_owned());
        Ok(Self { name, version, plugins })
    }

    /// An error, unless all plugins are there.
    pub(crate) fn find_plugins(&self, directory: &Path) -> Result<(), NetworkError> {
        for plugin in &self.plugins {
            let path = directory.join(kind(plugin));
            if !path.exists() {
                let message = format!(
                    "there is no plugin {}; cniBinaryPath says where it is",
                    path.display()
                );
                return Err(plugin_error(message));
            }
        }
        Ok(())
    }

    /// What a plugin is given: its own configuration, the network's, and what was made before.
    pub(crate) fn of(&self, plugin: &Map<String, Value>, result: &Value) -> Value {
        let mut config = plugin.clone();
        config.insert("name".to_owned(), json!(self.name));
        config.insert("cniVersion".to_owned(), json!(self.version));
        if !result.is_null() {
            config.insert("prevResult".to_owned(), result.clone());
        }
        Value::Object(config)
    }
}

/// The name of a plugin's program.
pub(crate) fn kind(plugin: &Map<String, Value>) -> &str {
    plugin.get("type").and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn plugin_error(message: String) -> NetworkError {
    NetworkError::Plugin { message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_plugin_is_a_list_of_one() {
        let one = json!({ "name": "n", "cniVersion": "1.0.0", "type": "bridge", "mtu": 9000 });
        let one = NetworkConfig::of_value(one).unwrap();
        let many = json!({ "name": "n", "plugins": [{ "type": "a" }, { "type": "b" }] });
        let many = NetworkConfig::of_value(many).unwrap();
        assert_eq!((one.plugins.len(), many.plugins.len()), (1, 2));
        let given = one.of(&one.plugins[0], &Value::Null);
        assert_eq!(given["mtu"], 9000);
        assert_eq!(given.get("prevResult"), None);
        let given = many.of(&many.plugins[1], &json!({ "ips": [] }));
        let expected = json!({
            "type": "b", "name": "n", "cniVersion": "0.2.0", "prevResult": { "ips": [] },
        });
        assert_eq!(given, expected);
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for (config, why) in [
            (json!({ "type": "a" }), "name"),
            (json!({ "name": "n" }), "type"),
            (json!({ "name": "n", "type": "../../bin/sh" }), "type"),
            (json!({ "name": "n", "type": ".." }), "type"),
            (json!({ "name": "n", "plugins": [] }), "no plugin"),
            (json!({ "name": "n", "plugins": {} }), "no list"),
            (json!({ "name": "n", "plugins": [3] }), "no object"),
            (json!([]), "name"),
        ] {
            let error = NetworkConfig::of_value(config.clone()).unwrap_err();
            assert!(error.contains(why), "{config}: {error}");
        }
    }
}
