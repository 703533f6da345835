//! What builds are made with, and the way of a request through it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use futures::future::BoxFuture;
use kiln_bridge::{FrontendRegistry, Notice, Producers};
use kiln_cache::CacheStore;
use kiln_engine::Engine;
use kiln_graph::Entitlements;
use kiln_handle::Handle;
use kiln_history::History;
use kiln_registry::Registry;
use kiln_remotecache::Imports;
use kiln_session::SessionManager;
use kiln_store::Store;
use kiln_wire::proto::control::{SolveRequest, SolveResponse};
use kiln_wire::status::RichStatus;
use kiln_worker::{Ref, Worker};

use crate::builds::Builds;
use crate::gate::Gate;
use crate::recording::{Noted, Recording, record_of};
use crate::request::Build;
use crate::traces::{BuildTrace, Traces};

/// What builds are made with.
pub struct BuilderParts {
    /// The machine.
    pub worker: Worker,
    /// What runs graphs.
    pub engine: Engine<Ref>,
    /// Where results are found again.
    pub cache: Arc<dyn CacheStore>,
    /// Caches outside the daemon.
    pub imports: Imports,
    /// The frontends, by name.
    pub frontends: Arc<FrontendRegistry>,
    /// The clients.
    pub sessions: SessionManager,
    /// The registry client.
    pub registry: Registry,
    /// What is remembered of builds.
    pub history: History,
    /// The spans of clients.
    pub traces: Traces,
    /// What the operator adds to provenance.
    pub provenance_env: BTreeMap<String, serde_json::Value>,
    /// What builds may ask for beyond the ordinary.
    pub entitlements: Entitlements,
    /// The network of steps is a proxy that notes what passes, for all builds.
    pub proxy_network: bool,
    /// What every build goes on without, for its client to see.
    pub notices: Vec<Notice>,
    /// The version of the Dockerfile frontend that is linked in, for provenance.
    pub dockerfile_version: String,
}

/// What builds are made with, and the builds that run. Cheap to clone.
#[derive(Clone)]
pub struct Builder {
    pub(crate) parts: Handle<BuilderParts>,
    pub(crate) builds: Builds,
    /// Which requests made graphs.
    pub(crate) producers: Producers,
    gate: Gate,
}

impl Builder {
    /// Makes builds with these.
    pub fn new(parts: BuilderParts) -> Self {
        Self {
            parts: Handle::new(parts),
            builds: Builds::default(),
            producers: Producers::default(),
            gate: Gate::default(),
        }
    }

    /// Carries a request from its decoding to its record, and answers it. `trace` is the trace that it is
    /// part of.
    ///
    /// # Errors
    ///
    /// What makes no sense in the request, or whatever ended the build.
    ///
    /// # Cancellation
    ///
    /// Dropping the future cancels what only this build wanted; the history remembers it as cancelled.
    pub fn build<'a>(
        &'a self,
        request: SolveRequest,
        trace: Option<BuildTrace>,
    ) -> BoxFuture<'a, Result<SolveResponse, RichStatus>> {
        Box::pin(async move {
            let admission = self.gate.enter()?;
            let id = request.r#ref.clone();
            let record = (!request.internal).then(|| record_of(&request, SystemTime::now()));
            let (sender, receiver) = kiln_progress::channel();
            let progress = self.builds.add(&id, receiver);
            let clouds = &self.parts.imports.reach().clouds;
            let build = Build::decode(request, self.parts.entitlements.clone(), clouds)?;
            let noted = Noted::default();
            let recording =
                record.map(|record| Recording::begin(self, record, progress, noted.clone(), trace));
            let running = self.builds.metrics().began();
            let result = tokio::select! {
                result = self.run(build, sender, &noted) => result,
                status = admission.cancelled(&id) => Err(status),
            };
            running.ended(result.as_ref().err().map(|status| status.code));
            // What a build that failed had finished is kept too.
            self.flush().await;
            let answer = match &result {
                Ok(built) => Ok(built.response.clone()),
                Err(status) => Err(status.clone()),
            };
            if let Some(recording) = recording {
                recording.ended(result);
            }
            answer
        })
    }

    /// The builds that run or have just ended.
    pub fn builds(&self) -> &Builds {
        &self.builds
    }

    /// Who lets builds in, and ends them.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// What is remembered of builds.
    pub fn history(&self) -> &History {
        &self.parts.history
    }

    /// The spans of clients.
    pub fn traces(&self) -> &Traces {
        &self.parts.traces
    }

    /// The clients.
    pub fn sessions(&self) -> &SessionManager {
        &self.parts.sessions
    }

    /// The machine.
    pub fn worker(&self) -> &Worker {
        &self.parts.worker
    }

    /// Where images and results are.
    pub fn store(&self) -> &Store {
        self.parts.worker.store()
    }

    /// Where results are found again.
    pub fn cache(&self) -> Arc<dyn CacheStore> {
        Arc::clone(&self.parts.cache)
    }

    /// The version of the Dockerfile frontend that is linked in.
    pub fn dockerfile_version(&self) -> &str {
        &self.parts.dockerfile_version
    }

    /// Waits until everything that was built is kept.
    pub async fn flush(&self) {
        self.parts.engine.flush().await;
    }
}
