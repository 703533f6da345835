//! How to reach which registry: addresses, mirrors, certificates.
//!
//! The daemon's configuration comes in as a table by registry name, endpoints to try go out in
//! order. Without an entry a host is reached over verified TLS, and this machine over plain HTTP.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// A client certificate and its key, both PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// The private key.
    pub key: PathBuf,
    /// The certificate.
    pub cert: PathBuf,
}

/// How to reach one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostConfig {
    /// Asked before the registry itself when pulling: `host[:port][/path]`.
    pub mirrors: Vec<String>,
    /// Plain HTTP; `None` means only for this machine.
    pub http: Option<bool>,
    /// Any certificate is fine. Together with `http`: TLS first, plain HTTP if there is no TLS.
    pub insecure: bool,
    /// Certificate authorities to trust besides the system's, PEM files.
    pub ca_files: Vec<PathBuf>,
    /// The certificate to show.
    pub keypair: Option<KeyPair>,
}

impl HostConfig {
    /// Adds a directory in Docker's layout: `*.crt` are authorities, `x.cert` with `x.key` is a
    /// client certificate.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read.
    pub fn add_tls_directory(&mut self, directory: &Path) -> io::Result<()> {
        let mut files: Vec<PathBuf> =
            fs::read_dir(directory)?.map(|e| Ok(e?.path())).collect::<io::Result<_>>()?;
        files.sort();
        for file in files {
            match file.extension().and_then(|e| e.to_str()) {
                Some("crt") => self.ca_files.push(file),
                Some("cert") => {
                    let key = file.with_extension("key");
                    self.keypair = Some(KeyPair { key, cert: file });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The table of registries.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    table: BTreeMap<String, HostConfig>,
}

impl Hosts {
    /// A table by registry name as it stands in references, such as `docker.io`.
    pub fn new(table: BTreeMap<String, HostConfig>) -> Self {
        Self { table }
    }

    /// Where requests for a registry go: mirrors first if `mirrors`, itself last.
    pub(crate) fn routes(&self, domain: &str, mirrors: bool) -> Vec<Route> {
        let config = self.table.get(domain).cloned().unwrap_or_default();
        let mut routes = Vec::new();
        if mirrors {
            for mirror in &config.mirrors {
                let (host, path) = mirror.split_once('/').unwrap_or((mirror, ""));
                let path = path.trim_matches('/');
                let prefix =
                    if path.is_empty() { "/v2/".to_owned() } else { format!("/v2/{path}/") };
                let own = self.table.get(host).cloned().unwrap_or_default();
                routes.push(Route {
                    host: host.to_owned(),
                    prefix,
                    namespace: Some(domain.to_owned()),
                    scheme: Scheme::of(host, &own),
                    config: own,
                });
            }
        }
        let host = host_of(domain);
        routes.push(Route {
            host: host.to_owned(),
            prefix: "/v2/".to_owned(),
            namespace: None,
            scheme: Scheme::of(host, &config),
            config,
        });
        routes
    }
}

/// One place to send requests to.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// Host and port.
    pub(crate) host: String,
    /// `/v2/`, on mirrors with a path `/v2/path/`.
    pub(crate) prefix: String,
    /// On mirrors: which registry is meant, sent as `?ns=`.
    pub(crate) namespace: Option<String>,
    /// How to speak.
    pub(crate) scheme: Scheme,
    /// Certificates.
    pub(crate) config: HostConfig,
}

/// How to speak to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Https,
    Http,
    /// TLS, and plain HTTP once TLS has failed.
    Either,
}

impl Scheme {
    fn of(host: &str, config: &HostConfig) -> Self {
        match (config.http, config.insecure) {
            (Some(true), true) => Self::Either,
            (Some(true), false) => Self::Http,
            (Some(false), _) => Self::Https,
            (None, true) if is_this_machine(host) => Self::Either,
            (None, false) if is_this_machine(host) => Self::Http,
            (None, _) => Self::Https,
        }
    }
}

/// Where the registry of a name is spoken to, which is also what its login is kept for: Docker Hub has another
/// address than its name.
pub fn host_of(domain: &str) -> &str {
    if domain == "docker.io" { "registry-1.docker.io" } else { domain }
}

/// True for `localhost`, `127.0.0.0/8` and `[::1]`, with or without a port.
pub fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_hub_lives_at_another_address() {
        let routes = Hosts::default().routes("docker.io", true);
        assert_eq!(routes.len(), 1);
        assert_eq!(routes[0].host, "registry-1.docker.io");
        assert_eq!(routes[0].scheme, Scheme::Https);
    }

    #[test]
    fn mirrors_come_first_when_pulling_and_never_when_pushing() {
        let config = HostConfig {
            mirrors: vec!["mirror.example/hub".into(), "localhost:5000".into()],
            ..HostConfig::default()
        };
        let hosts = Hosts::new([("docker.io".to_owned(), config)].into());
        let hosts_of = |mirrors| {
            let routes = hosts.routes("docker.io", mirrors);
            routes.iter().map(|r| format!("{}{}", r.host, r.prefix)).collect::<Vec<_>>()
        };
        assert_eq!(
            hosts_of(true),
            ["mirror.example/v2/hub/", "localhost:5000/v2/", "registry-1.docker.io/v2/"]
        );
        assert_eq!(hosts_of(false), ["registry-1.docker.io/v2/"]);
    }

    #[test]
    fn only_this_machine_is_plain_http_by_default() {
        for (host, plain) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.1.2.3:80", true),
            ("[::1]:5000", true),
            ("localhost.example", false),
            ("128.0.0.1:5000", false),
            ("[::2]", false),
        ] {
            let scheme = Hosts::default().routes(host, true)[0].scheme;
            assert_eq!(scheme == Scheme::Http, plain, "{host}");
        }
    }
}
