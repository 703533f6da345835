//! Processes whose network is a proxy: what they are given for it, and what is known of what passed.
//!
//! What passed is remembered by vertex for as long as the daemon runs, within bounds: whoever finds the
//! result in the cache meanwhile knows what it was made from.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use indexmap::IndexMap;
use kiln_engine::{ErrorKind, JobContext, OpError};
use kiln_executor::{Network, Process};
use kiln_graph::ProxyNetwork;
use kiln_network::{Captured, Judge, Networks, ProxiedNetwork};
use kiln_oci::Digest;
use kiln_progress::Stream;

use crate::error::failed;

/// How much is remembered of all steps together, in bytes.
const MAX_BYTES: usize = 64 << 20;

/// The proxies of a worker's steps.
#[derive(Default)]
pub(crate) struct Proxies {
    networks: Option<Networks>,
    judges: Arc<Mutex<BTreeMap<String, Arc<dyn Judge>>>>,
    next: AtomicU64,
    passed: Mutex<IndexMap<Digest, Arc<Captured>>>,
    /// How many bytes that is, about.
    passed_bytes: AtomicUsize,
}

/// A judge that can be asked as long as this is there.
pub struct JudgeGuard {
    name: String,
    judges: Arc<Mutex<BTreeMap<String, Arc<dyn Judge>>>>,
}

impl JudgeGuard {
    /// What steps name it by.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for JudgeGuard {
    fn drop(&mut self) {
        self.judges.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

impl Proxies {
    pub(crate) fn new(networks: Option<Networks>) -> Self {
        Self { networks, ..Self::default() }
    }

    /// Lets a judge be asked by name.
    pub(crate) fn answer_for(&self, judge: Arc<dyn Judge>) -> JudgeGuard {
        let name = format!("judge-{}", self.next.fetch_add(1, Ordering::Relaxed));
        let judges = Arc::clone(&self.judges);
        judges.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), judge);
        JudgeGuard { name, judges }
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
        self.remember(vertex, captured);
    }

    fn remember(&self, vertex: &Digest, captured: Captured) {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = self.passed_bytes.load(Ordering::Relaxed) + captured.len_bytes();
        if let Some(old) = passed.shift_remove(vertex) {
            bytes -= old.len_bytes();
        }
        passed.insert(vertex.clone(), Arc::new(captured));
        // What was remembered first is forgotten first.
        while bytes > MAX_BYTES
            && let Some((_, old)) = passed.shift_remove_index(0)
        {
            bytes -= old.len_bytes();
        }
        self.passed_bytes.store(bytes, Ordering::Relaxed);
    }
}
