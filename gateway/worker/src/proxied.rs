//! Steps whose network is a proxy: what they are given for it, and what is known of what passed.
//!
//! What passed is remembered by vertex for as long as the daemon runs, within bounds: whoever finds the
//! result in the cache meanwhile knows what it was made from.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use indexmap::IndexMap;
use kiln_engine::{ErrorKind, JobContext, OpError};
use kiln_executor::{Network, Process};
use kiln_graph::ProxyNetwork;
use kiln_network::{Captured, Judge, Networks, ProxiedNetwork};
use kiln_oci::Digest;
use kiln_progress::Stream;

use crate::worker::failed;

/// How many steps are remembered.
const MAX_STEPS: usize = 1024;

/// The proxies of a worker's steps.
#[derive(Default)]
pub(crate) struct Proxies {
    networks: Option<Networks>,
    judges: Arc<Mutex<BTreeMap<String, Arc<dyn Judge>>>>,
    next: AtomicU64,
    passed: Mutex<IndexMap<Digest, Arc<Captured>>>,
}

/// A judge that can be asked as long as this is there.
pub struct Seated {
    name: String,
    judges: Arc<Mutex<BTreeMap<String, Arc<dyn Judge>>>>,
}

impl Seated {
    /// What steps name it by.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.judges.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

impl Proxies {
    pub(crate) fn new(networks: Option<Networks>) -> Self {
        Self { networks, ..Self::default() }
    }

    /// Lets a judge be asked by name.
    pub(crate) fn seat(&self, judge: Arc<dyn Judge>) -> Seated {
        let name = format!("judge-{}", self.next.fetch_add(1, Ordering::Relaxed));
        let judges = Arc::clone(&self.judges);
        judges.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), judge);
        Seated { name, judges }
    }

    /// What passed when the step of a vertex ran, if that is known.
    pub(crate) fn passed(&self, vertex: &Digest) -> Option<Arc<Captured>> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).get(vertex).cloned()
    }

    /// Makes the network of a process, if that is to be a proxy, and gives it to the process.
    pub(crate) async fn connect(
        &self,
        proxied: Option<&ProxyNetwork>,
        host: bool,
        process: &mut Process,
    ) -> Result<Option<ProxiedNetwork>, OpError> {
        let Some(proxied) = proxied else { return Ok(None) };
        let missing = |what: &str| OpError::new(ErrorKind::Unsupported, what);
        let networks = self.networks.as_ref();
        let networks = networks.ok_or_else(|| missing("proxy networks are not available here"))?;
        let judge = match proxied.judge.as_str() {
            "" => None,
            name => {
                let judges = self.judges.lock().unwrap_or_else(PoisonError::into_inner);
                let judge = judges.get(name).cloned();
                Some(judge.ok_or_else(|| missing("the build whose rules apply has ended"))?)
            }
        };
        let network = networks.proxied(host, judge).await;
        let network = network.map_err(|error| failed(&error).context("proxy network"))?;
        process.network = Network::Namespace(network.path().to_owned());
        process.env.extend(network.environment());
        process.trusted = Some(network.certificate().to_owned());
        Ok(Some(network))
    }

    /// Notes what passed, and shows it to who builds.
    pub(crate) async fn end(&self, network: ProxiedNetwork, vertex: &Digest, job: &JobContext) {
        let captured = network.finish().await;
        let lines = captured.lines();
        if !lines.is_empty() {
            job.progress.log(&job.vertex, Stream::Stderr, SystemTime::now(), lines.into());
        }
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        passed.shift_remove(vertex);
        if passed.len() >= MAX_STEPS {
            passed.shift_remove_index(0);
        }
        passed.insert(vertex.clone(), Arc::new(captured));
    }
}
