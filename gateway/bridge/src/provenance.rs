//! What a build says about its own results.

use std::sync::Arc;

use futures::future::BoxFuture;
use kiln_engine::Step;
use kiln_frontend::{BuildResult, Ref, Refs};
use kiln_graph::{Identifier, Op, Vertex};
use kiln_oci::{Digest, Platform};
use kiln_progress::Sender;
use kiln_provenance::{Request, Used, UsedImage};
use kiln_wire::pb;
use kiln_wire::status::RichStatus;

use crate::build_bridge::Lazy;
use crate::{BuildBridge, materials};

/// What is said about one file system of a result.
#[derive(Clone, Debug)]
pub struct Origin {
    /// What was asked for.
    pub request: Request,
    /// What was used.
    pub used: Used,
    /// The graph.
    pub definition: Arc<pb::Definition>,
}

impl BuildBridge {
    /// Where a file system of a result comes from. Everything that the frontend looked at counts, whether
    /// or not it is in the result.
    ///
    /// # Errors
    ///
    /// If there is no such ref.
    pub fn origin<'a>(
        &'a self,
        of: &'a Ref,
        platform: Option<&'a Platform>,
        result: &'a BuildResult<Ref>,
    ) -> BoxFuture<'a, Result<Origin, RichStatus>> {
        Box::pin(async move {
            let lazy = self.lazy(of)?;
            let mut used = self.used(&lazy).await;
            let request = lazy.trace.request(&used, self.producers());
            let own: Vec<&Ref> = result.held().collect();
            for name in lazy.trace.refs().iter().filter(|name| !own.contains(name)) {
                if let Some(other) = self.lazy(name)?.used.get() {
                    used.merge(other);
                }
            }
            let all: Vec<Platform> =
                result.platforms().into_iter().map(|entry| entry.platform.normalized()).collect();
            let platform = platform.filter(|_| matches!(result.refs, Refs::ByPlatform(_)));
            for image in materials::of_platform(lazy.trace.images(), &all, platform) {
                used.add_image(image);
            }
            used.tidy();
            Ok(Origin { request, used, definition: lazy.definition })
        })
    }

    /// The outputs on the way to a file system, with the records that stand for them.
    ///
    /// # Errors
    ///
    /// If there is no such ref.
    pub fn trail<'a>(&'a self, of: &'a Ref) -> BoxFuture<'a, Result<Vec<Step>, RichStatus>> {
        Box::pin(async move {
            let lazy = self.lazy(of)?;
            Ok(self.jobs().current().0.trail(lazy.edge).await)
        })
    }

    /// What a graph used that has run.
    pub(crate) fn used<'a>(&'a self, lazy: &'a Lazy) -> BoxFuture<'a, Used> {
        Box::pin(async move {
            if let Some(used) = lazy.used.get() {
                return used.clone();
            }
            let mut used = Used::default();
            for vertex in materials::way(&lazy.graph, &lazy.edge) {
                materials::add_vertex(&mut used, vertex);
                if let Op::Exec(exec) = &vertex.op {
                    self.add_platform(&mut used, &vertex.platform);
                    if exec.proxied.is_some() {
                        let passed = self.worker().containers().passed(&vertex.id);
                        materials::add_passed(&mut used, vertex, exec, passed.as_deref());
                    }
                }
                if let Op::Source(source) = &vertex.op
                    && !matches!(**source, Identifier::Local(_))
                {
                    self.add_source(&mut used, source, vertex).await;
                }
            }
            lazy.used.get_or_init(|| used).clone()
        })
    }

    /// Notes what runs the processes for a platform, if the machine itself does not. It is said of
    /// results that were found, too: this is how they are made here.
    fn add_platform(&self, used: &mut Used, platform: &Platform) {
        if let Some(emulator) = self.worker().containers().emulator(platform) {
            used.emulated.insert(platform.clone().normalized().format(), emulator);
        }
    }

    async fn add_source(&self, used: &mut Used, source: &Identifier, vertex: &Vertex) {
        if let Some(pin) = self.worker().pinned(&vertex.id) {
            return materials::add_source(used, source, &vertex.platform, &pin.metadata);
        }
        // Whoever resolved it has let go of it; for as long as the build runs it stays the same.
        let context = self.context(Sender::default(), Digest::sha256("provenance"));
        match self.worker().sources().pin(source, &vertex.platform, &context).await {
            Ok(pin) => materials::add_source(used, source, &vertex.platform, &pin.metadata),
            Err(_) => used.incomplete = true,
        }
    }

    /// Notes an image whose config was asked for.
    pub(crate) fn note_image(&self, identifier: &str, platform: Option<&Platform>, digest: Digest) {
        let Some((scheme, name)) = identifier.split_once("://") else { return };
        if let Ok(reference) = name.parse() {
            self.trace.resolved(UsedImage {
                reference,
                platform: platform.map(|platform| platform.clone().normalized()),
                digest,
                local: scheme != "docker-image",
            });
        }
    }

    /// Lets other builds know what request made the graphs of a result.
    pub(crate) fn note_request(&self, result: &BuildResult<Ref>) -> Result<(), RichStatus> {
        for name in result.held() {
            let lazy = self.lazy(name)?;
            if lazy.known.get().is_some() {
                continue;
            }
            let used = lazy.used.get().cloned().unwrap_or_default();
            let requested = lazy.trace.requested(&used, self.producers());
            let known = requested
                .and_then(|requested| self.producers().note(&lazy.definition.def, requested));
            lazy.known.set(known).ok();
        }
        Ok(())
    }
}
