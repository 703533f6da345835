//! Docker's `config.json`, as far as it is about registry credentials.
//!
//! Credentials are in the file itself, in a helper program for all registries (`credsStore`), or in
//! one for a single registry (`credHelpers`). Helpers are only started when somebody asks.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;

/// The key under which Docker keeps credentials for Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";
const HUB_HOSTS: &[&str] = &["registry-1.docker.io", "docker.io", "index.docker.io"];

/// How long a helper may take; it may have to ask its owner.
const HELPER_TIMEOUT: Duration = Duration::from_secs(90);

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DockerConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is no configuration.
    #[error("{path} is not a valid docker configuration")]
    Parse {
        /// The file.
        path: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// An entry of the file is not base64 of `user:password`.
    #[error("the credentials for {0} in the docker configuration are malformed")]
    Entry(String),
    /// A helper program failed.
    #[error("credential helper {helper} failed: {reason}")]
    Helper {
        /// The program.
        helper: String,
        /// Its own words, or why it could not run.
        reason: String,
    },
}

/// The configuration.
#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DockerConfig {
    auths: BTreeMap<String, Entry>,
    creds_store: String,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

/// What is known for one registry; both empty if nothing is.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Empty if the secret is an identity token.
    pub(crate) username: String,
    pub(crate) secret: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

impl std::fmt::Debug for DockerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DockerConfig")
            .field("registries", &self.auths.keys())
            .finish_non_exhaustive()
    }
}

impl DockerConfig {
    /// Reads a configuration file; one that is not there is an empty one.
    ///
    /// # Errors
    ///
    /// [`DockerConfigError::Read`] and [`DockerConfigError::Parse`].
    pub fn load(path: &Path) -> Result<Self, DockerConfigError> {
        let name = || path.display().to_string();
        match std::fs::read(path) {
            Ok(json) => serde_json::from_slice(&json)
                .map_err(|source| DockerConfigError::Parse { path: name(), source }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(DockerConfigError::Read { path: name(), source }),
        }
    }

    /// The credentials for a registry.
    pub(crate) async fn lookup(&self, host: &str) -> Result<Known, DockerConfigError> {
        let key = if HUB_HOSTS.contains(&host) { HUB_KEY } else { host };
        let helper = self
            .cred_helpers
            .get(key)
            .or_else(|| self.cred_helpers.get(host))
            .unwrap_or(&self.creds_store);
        if !helper.is_empty() {
            return ask_helper(helper, key).await;
        }
        match self.entry(key) {
            Some(entry) => entry.known(host),
            None => Ok(Known::default()),
        }
    }

    /// The entry of a registry, whose key may be written as an address.
    fn entry(&self, key: &str) -> Option<&Entry> {
        let by_host = || {
            self.auths
                .iter()
                .find(|(written, _)| hostname(written) == hostname(key))
                .map(|(_, e)| e)
        };
        self.auths.get(key).or_else(by_host)
    }
}

impl Entry {
    fn known(&self, host: &str) -> Result<Known, DockerConfigError> {
        if !self.identitytoken.is_empty() {
            return Ok(Known { username: String::new(), secret: self.identitytoken.clone() });
        }
        if self.auth.is_empty() {
            return Ok(Known { username: self.username.clone(), secret: self.password.clone() });
        }
        let malformed = || DockerConfigError::Entry(host.to_owned());
        let text = STANDARD.decode(&self.auth).map_err(|_| malformed())?;
        let text = String::from_utf8(text).map_err(|_| malformed())?;
        let (username, secret) = text.split_once(':').ok_or_else(malformed)?;
        Ok(Known {
            username: username.to_owned(),
            secret: secret.trim_end_matches('\0').to_owned(),
        })
    }
}

/// The host of an address as people write it: without scheme and path.
fn hostname(address: &str) -> &str {
    let rest = address
        .strip_prefix("https://")
        .or_else(|| address.strip_prefix("http://"))
        .unwrap_or(address);
    rest.split('/').next().unwrap_or(rest)
}

async fn ask_helper(name: &str, key: &str) -> Result<Known, DockerConfigError> {
    let helper = format!("docker-credential-{name}");
    let failed = |reason: String| DockerConfigError::Helper { helper: helper.clone(), reason };
    if name.contains('/') {
        return Err(failed("its name is a path".into()));
    }
    let run = async {
        let mut child = tokio::process::Command::new(&helper)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(key.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(HELPER_TIMEOUT, run).await {
        Ok(output) => output.map_err(|error| failed(error.to_string()))?,
        Err(_) => return Err(failed(format!("no answer within {HELPER_TIMEOUT:?}"))),
    };
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        // What all helpers say when they simply have nothing.
        return if words.contains("credentials not found") {
            Ok(Known::default())
        } else {
            Err(failed(words))
        };
    }
    let answer: HelperAnswer = serde_json::from_slice(&output.stdout)
        .map_err(|_| failed("its answer is not valid".into()))?;
    let username = if answer.username == "<token>" { String::new() } else { answer.username };
    Ok(Known { username, secret: answer.secret })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> DockerConfig {
        serde_json::from_str(json).unwrap()
    }

    async fn known(config: &DockerConfig, host: &str) -> (String, String) {
        let known = config.lookup(host).await.unwrap();
        (known.username, known.secret)
    }

    #[tokio::test]
    async fn entries_are_found_by_host_and_decoded() {
        let config = config(
            r#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "dXNlcjpwYTpzcw=="},
                "https://ghcr.io/v2/": {"username": "me", "password": "secret"},
                "token.example": {"auth": "eDp5", "identitytoken": "idt"},
                "bad.example": {"auth": "!"}
            }, "HttpHeaders": {}}"#,
        );
        let pair = |user: &str, secret: &str| (user.to_owned(), secret.to_owned());
        assert_eq!(known(&config, "registry-1.docker.io").await, pair("user", "pa:ss"));
        assert_eq!(known(&config, "docker.io").await, pair("user", "pa:ss"));
        assert_eq!(known(&config, "ghcr.io").await, pair("me", "secret"));
        assert_eq!(known(&config, "token.example").await, pair("", "idt"));
        assert_eq!(known(&config, "unknown.example").await, pair("", ""));
        assert!(
            matches!(config.lookup("bad.example").await, Err(DockerConfigError::Entry(host)) if host == "bad.example")
        );
    }

    #[tokio::test]
    async fn a_helper_that_is_not_there_is_named() {
        let config = config(r#"{"credHelpers": {"ghcr.io": "kiln-test-missing"}}"#);
        let error = config.lookup("ghcr.io").await.err().unwrap();
        assert!(
            error
                .to_string()
                .starts_with("credential helper docker-credential-kiln-test-missing failed")
        );
        assert_eq!(known(&config, "other.example").await, (String::new(), String::new()));
    }

    #[test]
    fn a_configuration_that_is_not_there_is_empty() {
        let config = DockerConfig::load(Path::new("/nowhere/config.json")).unwrap();
        assert!(config.auths.is_empty());
    }
}
