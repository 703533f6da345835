//! Tables of registries, as the registry client takes them.

use kiln_document::{Diagnostic, Spanned};
use kiln_registry::{HostConfig, KeyPair};

use super::file::RegistryTable;

/// How a registry is reached, and directories whose certificates are to be added: those are looked
/// at when the daemon starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryConfig {
    /// How it is reached.
    pub host: HostConfig,
    /// Directories in Docker's layout.
    pub tls_directories: Vec<std::path::PathBuf>,
}

impl RegistryConfig {
    /// Reads a table; what is wrong with it is added to `mistakes`.
    pub(super) fn read(table: RegistryTable, mistakes: &mut Vec<Diagnostic>) -> Self {
        let mirrors = table.mirrors.unwrap_or_default().into_iter();
        let mirrors = mirrors.filter_map(|mirror| match location(&mirror) {
            Some(location) => Some(location),
            None => {
                mistakes.push(not_a_mirror(&mirror));
                None
            }
        });
        let mirrors = mirrors.collect();
        let mut pairs = table.keypair.unwrap_or_default().into_iter();
        let keypair = pairs
            .next()
            .map(|pair| KeyPair { key: pair.value.key.into(), cert: pair.value.cert.into() });
        if let Some(second) = pairs.next() {
            let mistake = Diagnostic::error("a registry is shown one certificate only");
            mistakes.push(mistake.at(second.span).hint("leave out the others"));
        }
        Self {
            host: HostConfig {
                mirrors,
                http: table.http,
                insecure: table.insecure.unwrap_or_default(),
                ca_files: paths(table.ca),
                keypair,
            },
            tls_directories: paths(table.tlsconfigdir),
        }
    }

    /// Adds the certificates of its directories. Those that are not there are passed over.
    ///
    /// # Errors
    ///
    /// If a directory cannot be read.
    pub fn with_directories(mut self) -> std::io::Result<HostConfig> {
        use std::io::ErrorKind::{NotFound, PermissionDenied};
        let given = self.host.keypair.clone();
        for directory in &self.tls_directories {
            match self.host.add_tls_directory(directory) {
                Err(error) if matches!(error.kind(), NotFound | PermissionDenied) => {
                    tracing::warn!(directory = %directory.display(), %error, "no certificates");
                }
                read => read?,
            }
        }
        // What is named counts more than what is found.
        self.host.keypair = given.or(self.host.keypair);
        Ok(self.host)
    }
}

/// `HOST[:PORT][/PATH]` of a mirror. A scheme does not count: whether it is spoken to without TLS is
/// said in its own table.
fn location(mirror: &str) -> Option<String> {
    let location = mirror.split_once("://").map_or(mirror, |(_, rest)| rest);
    let location = location.trim_end_matches('/');
    let host = location.split('/').next().unwrap_or_default();
    let fine = |c: char| c.is_ascii_graphic() && !matches!(c, '@' | '?' | '#' | '\\');
    (!host.is_empty() && location.chars().all(fine)).then(|| location.to_owned())
}

fn not_a_mirror(mirror: &Spanned<String>) -> Diagnostic {
    Diagnostic::error(format!("`{mirror}` is not HOST[:PORT][/PATH], which a mirror is"))
        .at(mirror.span)
}

fn paths(names: Option<Vec<String>>) -> Vec<std::path::PathBuf> {
    names.unwrap_or_default().into_iter().map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_have_hosts_and_may_have_paths() {
        for (mirror, expected) in [
            ("localhost:5000", Some("localhost:5000")),
            ("mirror.example/hub/", Some("mirror.example/hub")),
            ("https://mirror.example", Some("mirror.example")),
            ("", None),
            ("/path", None),
            ("user:password@mirror.example", None),
            ("mirror.example?x", None),
            ("mirror example", None),
        ] {
            assert_eq!(location(mirror).as_deref(), expected, "{mirror}");
        }
    }

    #[test]
    fn certificates_in_directories_count_less_than_those_that_are_named() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a.crt", "b.cert", "b.key", "c.txt"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let tls_directories = vec![directory.path().join("none"), directory.path().to_owned()];
        let mut config = RegistryConfig { tls_directories, ..RegistryConfig::default() };
        let found = config.clone().with_directories().unwrap();
        assert_eq!(found.ca_files, [directory.path().join("a.crt")]);
        assert_eq!(found.keypair.unwrap().cert, directory.path().join("b.cert"));
        let pair = KeyPair { key: "k".into(), cert: "c".into() };
        config.host.keypair = Some(pair.clone());
        assert_eq!(config.with_directories().unwrap().keypair, Some(pair));
    }
}
