//! `EXPOSE`: ports, ranges of ports, and what people write although it means nothing here.

use std::net::IpAddr;

use super::failure::Failure;
use super::history::Leaves;
use super::image::Nothing;
use super::node::Node;
use super::steps::Scope;
use crate::lint::Violation;
use crate::quoting::quote;
use crate::values::parse_int;

/// How many ports a file may expose, each as often as it is written. A range is one word in the file
/// but as many words in the config and in its history as it has ports.
pub(super) const MOST_PORTS: usize = 1 << 20;

impl Scope<'_> {
    pub(super) fn expose(&mut self, node: &mut Node, words: &[String]) -> Result<(), Failure> {
        let mut ports = Vec::new();
        for word in words {
            for port in self.expander.words(word, &node.variables())? {
                self.port(&port, &mut ports)?;
            }
        }
        let text = format!("EXPOSE [{}]", ports.join(" "));
        node.image.config.exposed_ports.extend(ports.into_iter().map(|port| (port, Nothing {})));
        node.image.remember(text, Leaves::Config, self.time);
        Ok(())
    }

    /// Adds the ports of `[address:][host port:]port[-port][/protocol]`.
    fn port(&mut self, text: &str, ports: &mut Vec<String>) -> Result<(), Failure> {
        let Parts { address, host, port } = Parts::of(text);
        let (port, protocol) = protocol(port)
            .map_err(|error| Failure::new(format!("invalid port: {}: {error}", quote(text))))?;
        let lower = protocol.to_lowercase();
        if lower != protocol {
            self.report(&Violation::ExposeProtoCasing { port: text.to_owned() });
        }
        if !address.is_empty() || !host.is_empty() {
            self.report(&Violation::ExposeInvalidFormat { port: text.to_owned() });
        }
        check_address(address)?;
        let (first, last) =
            range(port).ok_or_else(|| Failure::new(format!("invalid containerPort: {port}")))?;
        if !host.is_empty() {
            let (host_first, host_last) =
                range(host).ok_or_else(|| Failure::new(format!("invalid hostPort: {host}")))?;
            if last != first && last - first != host_last - host_first {
                return Err(Failure::new(format!(
                    "invalid ranges specified for container and host Ports: {port} and {host}"
                )));
            }
        }
        let count = usize::try_from(last - first).unwrap_or(usize::MAX).saturating_add(1);
        *self.ports_left = self
            .ports_left
            .checked_sub(count)
            .ok_or_else(|| Failure::new(format!("more than {MOST_PORTS} ports are exposed")))?;
        ports.extend((first..=last).map(|port| format!("{port}/{lower}")));
        Ok(())
    }
}

/// The parts of a port, which people write as for `docker run`.
struct Parts<'a> {
    address: &'a str,
    host: &'a str,
    port: &'a str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Self {
        let Some((rest, port)) = text.rsplit_once(':') else {
            return Self { address: "", host: "", port: text };
        };
        let (address, host) = rest.rsplit_once(':').unwrap_or(("", rest));
        Self { address, host, port }
    }
}

/// Port and protocol.
fn protocol(text: &str) -> Result<(&str, &str), String> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, ""));
    if port.is_empty() {
        return Err("no port specified".into());
    }
    match protocol.to_lowercase().as_str() {
        "" => Ok((port, "tcp")),
        "tcp" | "udp" | "sctp" => Ok((port, protocol)),
        _ => Err(format!("invalid proto: {protocol}")),
    }
}

fn check_address(address: &str) -> Result<(), Failure> {
    if address.is_empty() {
        return Ok(());
    }
    let bare = match address.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or_else(|| {
            Failure::new(format!(
                "invalid IP address {address}: address {address}:: missing ']' in address"
            ))
        })?,
        None => address,
    };
    match bare.parse::<IpAddr>() {
        Ok(_) => Ok(()),
        Err(_) => Err(Failure::new(format!("invalid IP address: {bare}"))),
    }
}

/// First and last port of a range.
fn range(text: &str) -> Option<(i64, i64)> {
    let number = |text: &str| {
        let number = parse_int(text, 10, 64).ok()?;
        (0..=65535).contains(&number).then_some(number)
    };
    let Some((first, last)) = text.split_once('-') else {
        return number(text).map(|port| (port, port));
    };
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}
