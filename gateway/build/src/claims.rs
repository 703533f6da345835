//! What the daemon says about the results of a build: provenance, for exporters and for the history.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use kiln_bridge::{BuildBridge, Origin, failed_status};
use kiln_cache::{CacheKey, Lookup};
use kiln_exporters::{Claim, ClaimContent};
use kiln_frontend::{BuildResult, Ref, Refs};
use kiln_history::Document;
use kiln_oci::{Descriptor, Platform};
use kiln_provenance::{Layers, Mode, Predicate, ProvenanceOptions, Run, StepError};
use kiln_wire::proto::control as wire;
use kiln_wire::status::{Detail, RichStatus};
use prost_types::Any;
use time::OffsetDateTime;
use tokio::sync::OnceCell;
use tonic::Code;

use crate::Builder;
use crate::request::Build;

/// How many requests of steps an error names.
const MAX_GAPS: usize = 100;
/// The type of a detail that names what is not known.
const INCOMPLETE: &str = "github.com/moby/buildkit/errdefs.ProvenanceMaterialsIncomplete+json";

/// One file system of a result, by its platform.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) id: String,
    pub(crate) platform: Platform,
    pub(crate) of: Option<Ref>,
}

/// The file systems of a result.
pub(crate) fn targets(
    result: &BuildResult<Ref>,
    default: &Platform,
) -> Result<Vec<Target>, RichStatus> {
    let listed = kiln_exporters::targets(result, default);
    let listed =
        listed.map_err(|error| RichStatus::new(Code::InvalidArgument, error.to_string()))?;
    let target = |(id, platform, of): (String, Platform, Option<&Ref>)| Target {
        id,
        platform,
        of: of.cloned(),
    };
    Ok(listed.into_iter().map(target).collect())
}

/// Where the file systems of a result come from.
pub(crate) struct Claims {
    builder: Builder,
    bridge: BuildBridge,
    run: Arc<BuildRun>,
    origins: Vec<(Target, Arc<Origin>, Arc<OnceCell<Layers>>)>,
}

/// A run of a build that may not have ended.
struct BuildRun {
    id: String,
    started: SystemTime,
    /// The version of BuildKit's behaviour that it gets.
    compatibility: i64,
    finished: OnceLock<SystemTime>,
    /// The version of the Dockerfile frontend that is linked in.
    dockerfile: String,
    custom: BTreeMap<String, serde_json::Value>,
}

impl BuildRun {
    /// The run, which ends when this is asked for first.
    fn ended(&self) -> Run {
        let finished = *self.finished.get_or_init(SystemTime::now);
        Run {
            started: OffsetDateTime::from(self.started),
            finished: OffsetDateTime::from(finished),
            invocation: self.id.clone(),
            platform: Platform::host(),
            dockerfile: self.dockerfile.clone(),
            custom: self.custom.clone(),
            compatibility: Some(self.compatibility),
        }
    }
}

impl Claims {
    /// Finds out where the file systems of a result come from, which has run.
    pub(crate) fn find<'a>(
        builder: &'a Builder,
        bridge: &'a BuildBridge,
        build: &'a Build,
        started: SystemTime,
        targets: Vec<Target>,
        result: &'a BuildResult<Ref>,
    ) -> BoxFuture<'a, Result<Self, RichStatus>> {
        Box::pin(async move {
            let mut origins = Vec::new();
            for target in targets {
                let Some(of) = &target.of else { continue };
                let origin = bridge.origin(of, Some(&target.platform), result).await?;
                origins.push((target, Arc::new(origin), Arc::default()));
            }
            let run = BuildRun {
                id: build.id.clone(),
                started,
                compatibility: build.compatibility,
                finished: OnceLock::new(),
                dockerfile: builder.parts.dockerfile_version.clone(),
                custom: builder.parts.provenance_env.clone(),
            };
            Ok(Self {
                builder: builder.clone(),
                bridge: bridge.clone(),
                run: Arc::new(run),
                origins,
            })
        })
    }

    /// The claims that exporters write, by platform id.
    ///
    /// # Errors
    ///
    /// If something that was used is not known exactly, where that is asked for.
    pub(crate) fn for_exporters(
        &self,
        options: &ProvenanceOptions,
    ) -> Result<BTreeMap<String, Vec<Claim>>, RichStatus> {
        let mut claims = BTreeMap::new();
        for (target, origin, layers) in &self.origins {
            if options.complete_materials && !origin.used.is_complete() {
                return Err(incomplete(origin));
            }
            let predicate = predicate(origin, options).map_err(|e| failed_status(&e))?;
            let claim = Claim {
                path: options.filename.clone(),
                predicate_type: predicate.predicate_type().to_owned(),
                inline_only: options.inline_only,
                content: Arc::new(Making {
                    builder: self.builder.clone(),
                    bridge: self.bridge.clone(),
                    run: Arc::clone(&self.run),
                    of: target.of.clone(),
                    predicate,
                    layers: (options.mode == Mode::Max).then(|| Arc::clone(layers)),
                }),
            };
            claims.insert(target.id.clone(), vec![claim]);
        }
        Ok(claims)
    }

    /// What the history says, in full; `builder` is who built.
    pub(crate) fn for_history(self, builder: &str, is_single: bool) -> Recorded {
        let origins = self.origins.into_iter().map(|(target, origin, layers)| {
            let layers = layers.get().cloned().unwrap_or_default();
            ((!is_single).then_some(target.id), origin, layers)
        });
        Recorded { builder: builder.to_owned(), run: self.run, origins: origins.collect() }
    }
}

fn predicate(origin: &Origin, options: &ProvenanceOptions) -> Result<Predicate, StepError> {
    Predicate::new(origin.request.clone(), &origin.used, Some(&origin.definition), options)
}

/// Why a build fails that is to say exactly what it used.
fn incomplete(origin: &Origin) -> RichStatus {
    let mut message =
        "provenance materials are incomplete\n\nThe build is to say exactly what it used \
                       (complete-materials), and not all of it is known:"
            .to_owned();
    for name in &origin.used.locals {
        message.push_str(&format!("\n  - directory {name} of the client"));
    }
    if origin.used.incomplete {
        message.push_str("\n  - what a nested build used");
    }
    let gaps = &origin.used.network_gaps;
    for gap in gaps.iter().take(MAX_GAPS) {
        message.push_str(&format!(
            "\n  - {} {} of {:?}: {}",
            gap.method, gap.uri, gap.name, gap.reason
        ));
    }
    if gaps.len() > MAX_GAPS {
        message.push_str(&format!("\n  - and {} more requests of steps", gaps.len() - MAX_GAPS));
    }
    let status = RichStatus::new(Code::FailedPrecondition, message);
    if gaps.is_empty() {
        return status;
    }
    let value = serde_json::json!({ "incomplete": &gaps[..gaps.len().min(MAX_GAPS)] });
    let value = value.to_string().into_bytes();
    status.with(Detail::Other(Any { type_url: INCOMPLETE.into(), value }))
}

/// Provenance that is written when the layers of its result are there.
struct Making {
    builder: Builder,
    bridge: BuildBridge,
    run: Arc<BuildRun>,
    of: Option<Ref>,
    predicate: Predicate,
    /// The layers of the steps, if they are said.
    layers: Option<Arc<OnceCell<Layers>>>,
}

#[async_trait]
impl ClaimContent for Making {
    async fn predicate(&self) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
        let layers = match (&self.layers, &self.of) {
            (Some(layers), Some(of)) => layers.get_or_try_init(|| self.layers(of)).await?.clone(),
            _ => Layers::default(),
        };
        let document = self.predicate.document(&self.run.ended(), &layers);
        Ok(serde_json::to_vec(&document)?.into())
    }
}

impl Making {
    /// The layers of all steps that are in the cache and have been packed.
    async fn layers(&self, of: &Ref) -> Result<Layers, RichStatus> {
        self.builder.parts.engine.flush().await;
        let mut layers = Layers::default();
        for step in self.bridge.trail(of).await? {
            let Some(name) = self.predicate.step(step.vertex.digest.as_str()) else { continue };
            let name = format!("{name}:{}", step.output);
            for key in step.records {
                for chain in self.chains(key).await {
                    let chains: &mut Vec<Vec<Descriptor>> = layers.entry(name.clone()).or_default();
                    if !chains.contains(&chain) {
                        chains.push(chain);
                    }
                }
            }
        }
        Ok(layers)
    }

    /// The layers of the results of a record.
    async fn chains(&self, record: CacheKey) -> Vec<Vec<Descriptor>> {
        let lookup = Lookup { operation: record, inputs: Vec::new(), whole: true };
        let found = self.builder.parts.cache.look_up(&lookup).await;
        let results = found.records.into_iter().flat_map(|record| record.results);
        let layers = self.builder.parts.worker.layers();
        let mut files = Vec::new();
        for result in results {
            files.extend(self.builder.store().load_lazy(&result.id, &*layers).await.ok());
        }
        let chain = |files: kiln_store::Ref| {
            let chain: Option<Vec<Descriptor>> =
                files.layers().iter().map(|layer| layer.blobs().into_iter().next()).collect();
            chain.map(|chain| chain.into_iter().map(bare).collect::<Vec<_>>())
        };
        files.into_iter().filter_map(chain).filter(|chain| !chain.is_empty()).collect()
    }
}

/// A descriptor without what is for the builder only.
fn bare(mut descriptor: Descriptor) -> Descriptor {
    let is_own = |key: &String| key.starts_with("containerd.io/") || key.starts_with("buildkit/");
    descriptor.annotations.retain(|key, _| !is_own(key));
    descriptor
}

/// What the history says about where results come from.
pub(crate) struct Recorded {
    builder: String,
    run: Arc<BuildRun>,
    origins: Vec<(Option<String>, Arc<Origin>, Layers)>,
}

impl std::fmt::Debug for Recorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorded").field("results", &self.origins.len()).finish_non_exhaustive()
    }
}

impl Recorded {
    /// Adds it to a record; what its descriptors stand for comes back. Takes a while for large graphs.
    pub(crate) fn add_to(self, record: &mut wire::BuildHistoryRecord) -> Vec<Document> {
        let run = self.run.ended();
        let options = ProvenanceOptions { builder: self.builder, ..ProvenanceOptions::default() };
        let mut documents = Vec::new();
        for (platform, origin, layers) in self.origins {
            let Ok(predicate) = predicate(&origin, &options) else { continue };
            let Ok(text) = serde_json::to_vec_pretty(&predicate.document(&run, &layers)) else {
                continue;
            };
            let of = match platform {
                None => record.result.get_or_insert_default(),
                Some(id) => record.results.entry(id).or_default(),
            };
            let kind = predicate.predicate_type().to_owned();
            of.attestations.push(wire::Descriptor {
                media_type: kiln_provenance::MEDIA_TYPE.into(),
                digest: kiln_oci::Digest::sha256(&text).to_string(),
                size: i64::try_from(text.len()).unwrap_or(i64::MAX),
                annotations: [(kiln_provenance::PREDICATE_TYPE.to_owned(), kind)].into(),
            });
            documents.push(Document { bytes: text.into() });
        }
        documents
    }
}

/// Whether a result is one file system and not a map of them.
pub(crate) fn is_single<R>(result: &BuildResult<R>) -> bool {
    matches!(result.refs, Refs::Single(_))
}
