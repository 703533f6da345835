//! What the daemon's configuration says about every process: its cgroup, and how it resolves names.
//!
//! An executor comes in, and one that adds this to each process goes out; what a build asks for itself
//! stays as it is.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use kiln_executor::{ExecError, Executor, Network, Process, Running, Stdio, host_resolv_conf};

use crate::config::DnsConfig;

/// An executor whose processes have defaults.
#[derive(Debug)]
pub(crate) struct StepDefaults {
    inner: Arc<dyn Executor>,
    cgroup_parent: Option<String>,
    /// Nothing, if names are resolved as on the machine.
    dns: Option<ResolvConf>,
}

impl StepDefaults {
    /// Adds to the processes of `inner`; files are made in `directory`, which is made if need be.
    pub(crate) fn new(
        inner: Arc<dyn Executor>,
        cgroup_parent: Option<String>,
        dns: DnsConfig,
        directory: &Path,
    ) -> Self {
        let dns = (dns != DnsConfig::default()).then(|| ResolvConf::new(dns, directory));
        Self { inner, cgroup_parent, dns }
    }
}

#[async_trait]
impl Executor for StepDefaults {
    async fn start(
        &self,
        mut process: Process,
        stdio: Stdio,
    ) -> Result<Box<dyn Running>, ExecError> {
        if process.cgroup_parent.is_none() {
            process.cgroup_parent.clone_from(&self.cgroup_parent);
        }
        if let (None, Some(dns)) = (&process.resolv_conf, &self.dns) {
            let file = dns.file(process.network == Network::Host);
            process.resolv_conf = Some(file.map_err(|error| ExecError::Setup {
                step: "write /etc/resolv.conf".to_owned(),
                message: error.to_string(),
            })?);
        }
        self.inner.start(process, stdio).await
    }

    fn name(&self) -> &str {
        self.inner.name()
    }
}

/// The machine's `resolv.conf` with what the configuration says instead; one file for the network of
/// the machine, one for others.
#[derive(Debug)]
struct ResolvConf {
    dns: DnsConfig,
    files: [PathBuf; 2],
    /// What is in the files.
    written: Mutex<[String; 2]>,
}

impl ResolvConf {
    fn new(dns: DnsConfig, directory: &Path) -> Self {
        let files = ["resolv.conf", "resolv-host.conf"].map(|name| directory.join(name));
        Self { dns, files, written: Mutex::default() }
    }

    /// A file that is as the machine's is now. Others who read it never see half of it.
    fn file(&self, host_network: bool) -> io::Result<PathBuf> {
        let text = overridden(&host_resolv_conf(host_network), &self.dns);
        let (file, which) = (&self.files[usize::from(host_network)], usize::from(host_network));
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written[which] != text {
            if let Some(directory) = file.parent() {
                std::fs::create_dir_all(directory)?;
            }
            let new = file.with_extension("new");
            std::fs::write(&new, &text)?;
            std::fs::rename(&new, file)?;
            written[which] = text;
        }
        Ok(file.clone())
    }
}

/// The text of a `resolv.conf`, with what `dns` says instead of what is there.
fn overridden(text: &str, dns: &DnsConfig) -> String {
    let replaced = |line: &str| match line.split_whitespace().next() {
        Some("nameserver") => !dns.nameservers.is_empty(),
        Some("search" | "domain") => !dns.search_domains.is_empty(),
        Some("options") => !dns.options.is_empty(),
        _ => false,
    };
    let mut result: String =
        text.lines().filter(|line| !replaced(line)).flat_map(|line| [line, "\n"]).collect();
    for address in &dns.nameservers {
        writeln!(result, "nameserver {address}").ok();
    }
    for (keyword, words) in [("search", &dns.search_domains), ("options", &dns.options)] {
        if !words.is_empty() {
            writeln!(result, "{keyword} {}", words.join(" ")).ok();
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(nameservers: &[&str], options: &[&str], search_domains: &[&str]) -> DnsConfig {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        DnsConfig {
            nameservers: nameservers.iter().map(|address| address.parse().unwrap()).collect(),
            options: words(options),
            search_domains: words(search_domains),
        }
    }

    #[test]
    fn only_what_is_said_replaces_the_machines() {
        let host = "# made by hand\nnameserver 10.0.0.1\ndomain example.org\nsearch a b\noptions ndots:1\n";
        assert_eq!(overridden(host, &dns(&[], &[], &[])), host);
        assert_eq!(
            overridden(host, &dns(&["1.1.1.1", "2001:db8::1"], &[], &["example.com"])),
            "# made by hand\noptions ndots:1\nnameserver 1.1.1.1\nnameserver 2001:db8::1\nsearch example.com\n"
        );
        assert!(
            overridden(host, &dns(&[], &["edns0", "trust-ad"], &[]))
                .ends_with("options edns0 trust-ad\n")
        );
    }

    #[test]
    fn the_file_follows_the_machines() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("network");
        let conf = ResolvConf::new(dns(&["192.0.2.7"], &[], &[]), &directory);
        for host_network in [true, false] {
            let file = conf.file(host_network).unwrap();
            assert!(std::fs::read_to_string(&file).unwrap().contains("nameserver 192.0.2.7\n"));
            assert_eq!(conf.file(host_network).unwrap(), file);
        }
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 2);
    }
}
