//! Registries that a cache may take as they are, whatever certificate they have.

use kiln_oci::Reference;
use kiln_registry::{HostConfig, Hosts, Options, Registry};

/// The client for the registry of a cache.
pub(crate) fn registry_of(registry: &Registry, reference: &Reference, insecure: bool) -> Registry {
    if !insecure {
        return registry.clone();
    }
    let config = HostConfig { http: Some(true), insecure: true, ..HostConfig::default() };
    let hosts = Hosts::new([(reference.domain().to_owned(), config)].into());
    Registry::new(hosts, Options::default())
}
