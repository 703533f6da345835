//! Builds that run or have just ended: their progress so far, and gateways of clients.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use kiln_bridge::service::{Find, FrontendSession};
use kiln_progress::{Receiver, wire};
use kiln_wire::proto::control::StatusResponse;
use tokio::sync::watch;
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::metrics::{Metrics, Steps};

/// How long somebody who asks for a build waits for it to begin.
const TIMEOUT: Duration = Duration::from_secs(6);
/// How long a client's gateway call waits for its build.
const GATEWAY_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the progress of a build that has ended stays.
const RETENTION: Duration = Duration::from_secs(10);
/// How long progress is gathered into one message.
const BATCH: Duration = Duration::from_millis(50);

/// The builds of a daemon; cheap to clone.
#[derive(Clone, Default)]
pub struct Builds(Arc<Shared>);

#[derive(Default)]
struct Shared {
    table: Mutex<Table>,
    metrics: Metrics,
    /// Changes when a build or a gateway is added.
    added: watch::Sender<u64>,
}

#[derive(Default)]
struct Table {
    builds: BTreeMap<String, Arc<BuildProgress>>,
    gateways: BTreeMap<String, Arc<FrontendSession>>,
}

/// One build's progress.
#[derive(Default)]
pub struct BuildProgress {
    history: Mutex<Vec<Arc<StatusResponse>>>,
    /// How much there is, and whether that is all.
    state: watch::Sender<(usize, bool)>,
}

impl BuildProgress {
    /// The message after the first `seen`, when there is one; `None` at the end.
    pub async fn next(&self, seen: usize) -> Option<Arc<StatusResponse>> {
        let mut state = self.state.subscribe();
        let (len, _) = *state.wait_for(|(len, ended)| *len > seen || *ended).await.ok()?;
        if len <= seen {
            return None;
        }
        self.history().get(seen).cloned()
    }

    /// Waits until there is no more.
    pub(crate) async fn ended(&self) {
        self.state.subscribe().wait_for(|(_, ended)| *ended).await.ok();
    }

    /// All messages so far.
    pub(crate) fn messages(&self) -> Vec<Arc<StatusResponse>> {
        self.history().clone()
    }

    fn push(&self, responses: Vec<StatusResponse>) {
        let mut history = self.history();
        history.extend(responses.into_iter().map(Arc::new));
        let len = history.len();
        self.state.send_modify(|state| state.0 = len);
    }

    fn history(&self) -> MutexGuard<'_, Vec<Arc<StatusResponse>>> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many steps there are so far.
    pub(crate) fn steps(&self) -> Steps {
        Steps::of(&self.history())
    }

    /// What it is doing, if it has not ended.
    fn running(&self, id: &str, now: SystemTime) -> Option<RunningBuild> {
        if self.state.borrow().1 {
            return None;
        }
        let history = self.history().clone();
        Some(RunningBuild::of(id, &history, now))
    }
}

/// A build that goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct RunningBuild {
    /// Its id.
    pub id: String,
    /// How many messages of its progress there are.
    pub messages: usize,
    /// The names of steps that have begun and not ended, with the seconds since.
    pub steps: Vec<(String, f64)>,
}

impl RunningBuild {
    /// What the progress of a build says.
    fn of(id: &str, progress: &[Arc<StatusResponse>], now: SystemTime) -> Self {
        let vertices = progress.iter().flat_map(|response| &response.vertexes);
        let last: BTreeMap<_, _> = vertices.map(|vertex| (&vertex.digest, vertex)).collect();
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let steps = last.into_values().filter(|vertex| vertex.completed.is_none());
        let steps = steps.filter_map(|vertex| {
            let started = vertex.started.as_ref()?;
            let seconds = u64::try_from(started.seconds).ok()?;
            let nanos = u32::try_from(started.nanos).ok()?;
            let since = now.saturating_sub(Duration::new(seconds, nanos));
            Some((vertex.name.clone(), since.as_secs_f64()))
        });
        Self { id: id.to_owned(), messages: progress.len(), steps: steps.collect() }
    }
}

impl Builds {
    /// Adds a build; its progress is gathered until all senders are gone.
    pub(crate) fn add(&self, id: &str, mut progress: Receiver) -> Arc<BuildProgress> {
        let build = Arc::new(BuildProgress::default());
        let added = Arc::clone(&build);
        self.table().builds.insert(id.to_owned(), Arc::clone(&build));
        self.0.added.send_modify(|count| *count += 1);
        let (builds, id) = (self.clone(), id.to_owned());
        tokio::spawn(async move {
            while let Some(first) = progress.recv().await {
                let mut batch = vec![first];
                // The first of a batch is told at once if nothing else comes.
                let gather = async {
                    while let Some(next) = progress.recv().await {
                        batch.push(next);
                    }
                };
                tokio::time::timeout(BATCH, gather).await.ok();
                build.push(wire::to_responses(batch));
            }
            build.state.send_modify(|state| state.1 = true);
            builds.metrics().add_steps(build.steps());
            tokio::time::sleep(RETENTION).await;
            let mut table = builds.table();
            if table.builds.get(&id).is_some_and(|current| Arc::ptr_eq(current, &build)) {
                table.builds.remove(&id);
            }
        });
        added
    }

    /// A build by id that runs or has just ended.
    pub fn known(&self, id: &str) -> Option<Arc<BuildProgress>> {
        self.table().builds.get(id).cloned()
    }

    /// A build by id, waiting a little for it to begin.
    pub async fn get(&self, id: &str) -> Option<Arc<BuildProgress>> {
        self.wait(TIMEOUT, |table| table.builds.get(id).cloned()).await
    }

    /// Lets a client be the frontend of its own build, for as long as the guard lives.
    pub(crate) fn open_gateway(&self, id: &str, session: Arc<FrontendSession>) -> GatewayGuard {
        self.table().gateways.insert(id.to_owned(), session);
        self.0.added.send_modify(|count| *count += 1);
        GatewayGuard { builds: self.clone(), id: id.to_owned() }
    }

    /// Counters of builds.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// What goes on just now.
    pub fn running(&self) -> Vec<RunningBuild> {
        let builds: Vec<_> = self.table().builds.clone().into_iter().collect();
        let now = SystemTime::now();
        builds.iter().filter_map(|(id, build)| build.running(id, now)).collect()
    }

    async fn wait<T>(&self, patience: Duration, find: impl Fn(&Table) -> Option<T>) -> Option<T> {
        let mut added = self.0.added.subscribe();
        let search = async {
            loop {
                added.borrow_and_update();
                if let Some(found) = find(&self.table()) {
                    return Some(found);
                }
                added.changed().await.ok()?;
            }
        };
        tokio::time::timeout(patience, search).await.ok().flatten()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's frontend session; gone when dropped.
pub(crate) struct GatewayGuard {
    builds: Builds,
    id: String,
}

impl Drop for GatewayGuard {
    fn drop(&mut self) {
        self.builds.table().gateways.remove(&self.id);
    }
}

#[async_trait]
impl Find for Builds {
    async fn find(&self, metadata: &MetadataMap) -> Result<Arc<FrontendSession>, Status> {
        let id = metadata.get("buildkit-controlapi-buildid").and_then(|id| id.to_str().ok());
        let id = id.ok_or_else(|| Status::invalid_argument("no buildid found in context"))?;
        let found = self.wait(GATEWAY_TIMEOUT, |table| table.gateways.get(id).cloned()).await;
        found.ok_or_else(|| Status::not_found(format!("no such job {id}")))
    }
}
