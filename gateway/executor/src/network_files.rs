//! The text of `/etc/hosts` and `/etc/resolv.conf` as a process sees them.
//!
//! Text in, text out, but for [`host_resolv_conf`], which reads the host's files.

use std::fmt::Write;
use std::fs;
use std::net::IpAddr;

/// Where systemd-resolved keeps the servers behind its own stub address.
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";
/// Used when the host has no name server that a process could reach.
const FALLBACK: &[&str] = &["8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844"];

/// `/etc/hosts` for a host name and additional `(name, address)` pairs.
pub(crate) fn hosts(hostname: &str, extra: &[(String, String)]) -> String {
    let mut text =
        format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (name, address) in extra {
        writeln!(text, "{address}\t{name}").ok();
    }
    text
}

/// The host's `/etc/resolv.conf`: as it is (`verbatim`) for the host's network, else what works
/// outside of it. Reads files, so it may wait for a disk.
pub fn host_resolv_conf(verbatim: bool) -> String {
    let host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    if verbatim && !host.is_empty() {
        return host;
    }
    if servers(&host).eq(["127.0.0.53"])
        && let Ok(resolved) = fs::read_to_string(RESOLVED)
    {
        return without_loopback(&resolved);
    }
    without_loopback(&host)
}

/// Drops name servers on loopback addresses, and adds public ones if none is left.
fn without_loopback(text: &str) -> String {
    let mut kept: String = text
        .lines()
        .filter(|line| !server(line).is_some_and(is_loopback))
        .flat_map(|line| [line, "\n"])
        .collect();
    if servers(&kept).next().is_none() {
        for address in FALLBACK {
            writeln!(kept, "nameserver {address}").ok();
        }
    }
    kept
}

fn servers(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(server)
}

/// The address of a `nameserver` line.
fn server(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    (words.next() == Some("nameserver")).then(|| words.next()).flatten()
}

fn is_loopback(address: &str) -> bool {
    address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_start_with_the_loopback_names() {
        let extra = [("db".to_owned(), "10.0.0.7".to_owned())];
        let text = hosts("box", &extra);
        assert_eq!(
            text,
            "127.0.0.1\tlocalhost box\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.7\tdb\n"
        );
    }

    #[test]
    fn loopback_name_servers_are_dropped() {
        let text = "search a.example\nnameserver 127.0.0.1\nnameserver ::1\nnameserver 1.2.3.4\n";
        assert_eq!(without_loopback(text), "search a.example\nnameserver 1.2.3.4\n");
    }

    #[test]
    fn without_any_name_server_public_ones_are_used() {
        let text = without_loopback("options ndots:1\nnameserver 127.0.0.53\n");
        assert!(text.starts_with("options ndots:1\nnameserver 8.8.8.8\n"), "{text}");
    }
}
