//! A registry's host: connections and queues that all requests to it share, and its address.
//!
//! Configuration comes in once, an HTTP client and URLs go out; nothing is sent from here.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use http::HeaderMap;
use http::header::LOCATION;
use reqwest::{Certificate, Client, Identity};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

use crate::hosts::{HostConfig, Route, Scheme, is_this_machine};
use crate::lookup::Lookup;
use crate::pace::{Pace, TooSlow};
use crate::{Options, RegistryError};

/// What is shared by all requests to one host.
pub(crate) struct HostState {
    client: Client,
    /// Set once TLS has failed on a host that may do without.
    plain: AtomicBool,
    /// Slots for blobs. Pulls and pushes wait in different queues, because a push may be fed by a
    /// pull from the same host, and must not hold the slot that the pull waits for.
    pulls: Arc<Semaphore>,
    pushes: Arc<Semaphore>,
    /// Slots for manifests and configs, so that they overtake blobs.
    documents: Arc<Semaphore>,
    timeout: Duration,
    pace: Pace,
}

impl HostState {
    pub(crate) fn new(
        host: &str,
        config: &HostConfig,
        options: &Options,
    ) -> Result<Self, RegistryError> {
        install_crypto();
        let slots = || Arc::new(Semaphore::new(options.max_per_host.max(1)));
        Ok(Self {
            client: build_client(host, config, options)?,
            plain: AtomicBool::new(false),
            pulls: slots(),
            pushes: slots(),
            documents: Arc::new(Semaphore::new(options.max_per_host.max(1) + 1)),
            timeout: options.idle_timeout,
            pace: Pace {
                window: options.idle_timeout,
                bytes_per_second: options.min_bytes_per_second,
            },
        })
    }
}

/// Chooses the implementation of cryptography for TLS; for who uses TLS besides this crate.
pub fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if rustls::crypto::ring::default_provider().install_default().is_err() {
            tracing::debug!("another crypto provider is installed already");
        }
    });
}

fn build_client(
    host: &str,
    config: &HostConfig,
    options: &Options,
) -> Result<Client, RegistryError> {
    let bad = |what: String| RegistryError::Config { host: host.to_owned(), what };
    let read =
        |path: &Path| fs::read(path).map_err(|error| bad(format!("{}: {error}", path.display())));
    let mut authorities = Vec::new();
    for path in &config.ca_files {
        let found = Certificate::from_pem_bundle(&read(path)?)
            .map_err(|error| bad(format!("{}: {error}", path.display())))?;
        authorities.extend(found);
    }
    let mut identity = None;
    if let Some(pair) = &config.keypair {
        let pem = [read(&pair.key)?, b"\n".to_vec(), read(&pair.cert)?].concat();
        let parsed = Identity::from_pem(&pem);
        identity = Some(parsed.map_err(|error| bad(format!("{}: {error}", pair.cert.display())))?);
    }
    let builder = || {
        let mut builder = Client::builder()
            .user_agent(&options.user_agent)
            .connect_timeout(options.connect_timeout)
            // Ends an upload to a host that has gone, if who watches over it does not.
            .tcp_user_timeout(options.idle_timeout * 10)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .dns_resolver(Lookup)
            .tls_danger_accept_invalid_certs(config.insecure);
        if is_this_machine(host) {
            builder = builder.no_proxy();
        }
        match identity.clone() {
            Some(identity) => builder.identity(identity),
            None => builder,
        }
    };
    // A system without any certificate authority can still be used with plain HTTP and with the
    // authorities of the configuration.
    builder()
        .tls_certs_merge(authorities.clone())
        .build()
        .or_else(|_| builder().tls_certs_only(authorities).build())
        .map_err(|error| bad(error.to_string()))
}

/// A host together with how it is addressed for one registry.
#[derive(Clone)]
pub(crate) struct Endpoint {
    /// Host and port.
    pub(crate) host: String,
    prefix: String,
    namespace: Option<String>,
    scheme: Scheme,
    state: Arc<HostState>,
}

impl Endpoint {
    pub(crate) fn new(route: Route, state: Arc<HostState>) -> Self {
        let Route { host, prefix, namespace, scheme, .. } = route;
        Self { host, prefix, namespace, scheme, state }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.state.client
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.state.timeout
    }

    pub(crate) fn is_tls(&self) -> bool {
        match self.scheme {
            Scheme::Https => true,
            Scheme::Http => false,
            Scheme::Either => !self.state.plain.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn pace(&self) -> Pace {
        self.state.pace
    }

    /// The error for a host that accepted a request and then said nothing, or too little.
    pub(crate) fn stalled(&self, host: &str, subject: &str, fault: TooSlow) -> RegistryError {
        let pace = self.state.pace;
        self.stalled_at(host, subject, pace.describe(fault), pace.window)
    }

    /// The error for a host that did not go on, in words and for so long.
    pub(crate) fn stalled_at(
        &self,
        host: &str,
        subject: &str,
        what: String,
        took: Duration,
    ) -> RegistryError {
        let (subject, host) = (subject.to_owned(), host.to_owned());
        RegistryError::Stalled { subject, host, what, attempts: 1, took }
    }

    /// The address of `path` below the registry's API.
    pub(crate) fn url(&self, path: &str, subject: &str) -> Result<Url, RegistryError> {
        let scheme = if self.is_tls() { "https" } else { "http" };
        let text = format!("{scheme}://{}{}{path}", self.host, self.prefix);
        let mut url = Url::parse(&text).map_err(|_| RegistryError::Config {
            host: self.host.clone(),
            what: format!("{subject}: `{text}` is not a URL"),
        })?;
        if let Some(namespace) = &self.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        Ok(url)
    }

    /// Where a `Location` leads, seen from `base`.
    pub(crate) fn follow(
        &self,
        base: &Url,
        headers: &HeaderMap,
        subject: &str,
    ) -> Result<Url, RegistryError> {
        let bad = |what: &str| RegistryError::protocol(subject, &self.host, what);
        let location = headers.get(LOCATION).ok_or_else(|| bad("no Location in a redirect"))?;
        let location = location.to_str().map_err(|_| bad("a Location that is not text"))?;
        let mut url = base.join(location).map_err(|_| bad("a Location that is not a URL"))?;
        match (base.scheme(), url.scheme()) {
            ("http", "http") | (_, "https") => {}
            // Registries behind a TLS proxy often do not know that they are.
            ("https", "http") if url.host() == base.host() => {
                url.set_scheme("https").map_err(|()| bad("a Location that is not a URL"))?;
            }
            _ => return Err(bad("a redirect from https to something without TLS")),
        }
        Ok(url)
    }

    /// Whether a request may be sent again without TLS. That there is none is remembered; that
    /// nobody listens may change.
    pub(crate) fn may_do_without_tls(&self, error: &RegistryError) -> bool {
        let may = self.scheme == Scheme::Either;
        let is_sure = matches!(error, RegistryError::Tls { .. });
        if may && is_sure && !self.state.plain.swap(true, Ordering::Relaxed) {
            tracing::warn!(host = self.host, "no TLS, going on with plain HTTP");
        }
        may
    }

    /// Waits for a free place in a queue.
    pub(crate) async fn slot(&self, slot: Slot) -> OwnedSemaphorePermit {
        let queue = match slot {
            Slot::Document => &self.state.documents,
            Slot::Pull => &self.state.pulls,
            Slot::Push => &self.state.pushes,
        };
        let permit = Arc::clone(queue).acquire_owned().await;
        permit.expect("the queue of a host is never closed")
    }
}

/// Which queue a request waits in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Document,
    Pull,
    Push,
}
