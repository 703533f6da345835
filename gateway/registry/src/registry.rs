//! The API of this crate: one [`Registry`] for all hosts, shared by all builds.
//!
//! It holds connections, queues and tokens; cloning it is cheap and shares them. The operations
//! are in the files named after them: `resolve`, `document`, `plan`, `blob`, `push`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kiln_handle::Handle;
use kiln_oci::Reference;

use crate::auth::Authorizer;
use crate::host::{Endpoint, HostState};
use crate::hosts::Hosts;
use crate::retry::{Again, Failure, Retry};
use crate::transport::{Call, Reply, Transport};
use crate::{Credentials, RegistryError};

/// With more hosts than this, those that are not in use are forgotten.
const MOST_HOSTS: usize = 256;

/// How requests are made, whatever the host.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the program calls itself.
    pub user_agent: String,
    /// What it calls itself at authorization servers, a word without spaces.
    pub client_id: String,
    /// Blobs in flight per host and direction.
    pub max_per_host: usize,
    /// How long to wait before each further attempt; as many attempts as delays.
    pub retry_delays: Vec<Duration>,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long a server may be silent, before an answer and in the middle of it.
    pub idle_timeout: Duration,
    /// How many bytes of an answer have to come in a second, on average over `idle_timeout`.
    pub min_bytes_per_second: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            user_agent: concat!("kiln/", env!("CARGO_PKG_VERSION"), " (compatible; buildkit/v0)")
                .into(),
            client_id: "kiln".into(),
            max_per_host: 4,
            retry_delays: [1, 2, 4].map(Duration::from_secs).into(),
            connect_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(30),
            min_bytes_per_second: 512,
        }
    }
}

/// Hears, in a sentence, why something takes longer.
pub type Notice = Arc<dyn Fn(&str) + Send + Sync>;

/// A client of the OCI distribution protocol.
#[derive(Clone)]
pub struct Registry {
    inner: Handle<Inner>,
    notice: Option<Notice>,
}

struct Inner {
    hosts: Hosts,
    transport: Transport,
    states: Mutex<BTreeMap<String, Arc<HostState>>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("hosts", &self.inner.hosts).finish_non_exhaustive()
    }
}

impl Registry {
    /// A client that reaches registries as `hosts` says. Nothing is connected yet.
    pub fn new(hosts: Hosts, options: Options) -> Self {
        let transport = Transport { options, authorizer: Authorizer::default() };
        let inner = Handle::new(Inner { hosts, transport, states: Mutex::default() });
        Self { inner, notice: None }
    }

    /// The same client, which says to `notice` when a request has to be sent again, and why.
    #[must_use]
    pub fn with_notice(&self, notice: Notice) -> Self {
        Self { inner: self.inner.clone(), notice: Some(notice) }
    }

    /// The places to ask for an image, mirrors first.
    pub(crate) fn pull_endpoints(
        &self,
        reference: &Reference,
    ) -> Result<Vec<Endpoint>, RegistryError> {
        self.endpoints(reference, true)
    }

    /// The one place an image is pushed to.
    pub(crate) fn push_endpoint(&self, reference: &Reference) -> Result<Endpoint, RegistryError> {
        let mut endpoints = self.endpoints(reference, false)?;
        endpoints.pop().ok_or_else(|| RegistryError::Config {
            host: reference.domain().to_owned(),
            what: "no address to push to".to_owned(),
        })
    }

    fn endpoints(
        &self,
        reference: &Reference,
        mirrors: bool,
    ) -> Result<Vec<Endpoint>, RegistryError> {
        let routes = self.inner.hosts.routes(reference.domain(), mirrors);
        let mut endpoints = Vec::with_capacity(routes.len());
        for route in routes {
            let mut states = self.inner.states.lock().unwrap_or_else(PoisonError::into_inner);
            let state = match states.get(&route.host) {
                Some(state) => Arc::clone(state),
                None => {
                    let options = &self.inner.transport.options;
                    let state = Arc::new(HostState::new(&route.host, &route.config, options)?);
                    if states.len() >= MOST_HOSTS {
                        states.retain(|_, state| Arc::strong_count(state) > 1);
                    }
                    states.insert(route.host.clone(), Arc::clone(&state));
                    state
                }
            };
            endpoints.push(Endpoint::new(route, state));
        }
        Ok(endpoints)
    }

    /// Sends a call until there is a final answer: one that is neither a challenge that can be met,
    /// nor a redirect, nor a failure that is known to pass.
    pub(crate) async fn send(
        &self,
        endpoint: &Endpoint,
        call: &Call<'_>,
        credentials: &dyn Credentials,
    ) -> Result<Reply, RegistryError> {
        let mut retry = self.retry();
        loop {
            match self.send_once(endpoint, call, credentials).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => self.wait(&mut retry, failure).await?,
            }
        }
    }

    /// Sends a call once, for callers that know better how to start over. An answer that says that
    /// the server is busy or broken for the moment is a failure.
    pub(crate) async fn send_once(
        &self,
        endpoint: &Endpoint,
        call: &Call<'_>,
        credentials: &dyn Credentials,
    ) -> Result<Reply, Failure> {
        self.inner.transport.send(endpoint, call, credentials).await
    }

    /// The attempts at one thing.
    pub(crate) fn retry(&self) -> Retry {
        Retry::new(&self.inner.transport.options.retry_delays)
    }

    /// Waits until the next attempt, or gives the error if there is none.
    pub(crate) async fn wait(
        &self,
        retry: &mut Retry,
        failure: Failure,
    ) -> Result<(), RegistryError> {
        let Again { wait, because } = retry.after(failure)?;
        tracing::info!(error = %because, ?wait, "request to a registry is sent again");
        if let Some(notice) = &self.notice {
            notice(&format!("{because}; trying again in {} s", wait.as_secs_f32()));
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }
}
