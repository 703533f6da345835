//! From a state to the bytes of its graph.
//!
//! [`State::marshal`] walks the graph from the inputs up, writes each op once and remembers what is
//! said about it. The walk keeps its own stack, so a chain may have any length. Deferred states are
//! made here, each once.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use kiln_oci::{Digest, Platform};
use kiln_pb::pb;

use crate::deferred::{BoxError, Deferral, Deferred, MetaResolver};
use crate::encode::Canonical;
use crate::source::{SourceError, SourceVertex};
use crate::source_maps::SourceMaps;
use crate::values::{Inherited, Values};
use crate::vertex::{Kind, Output, Vertex};
use crate::{CapSet, Constraints, Definition, State, caps, compose};

/// Options of [`State::marshal`].
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Marshal<'a> {
    /// Constraints for ops that say nothing else, the platform above all. Without one, it is the
    /// platform this program runs on.
    pub defaults: Constraints,
    /// Constraints that win over the defaults, but not over those of an op.
    pub overrides: Constraints,
    /// What the daemon can do; without it nothing is assumed.
    pub caps: Option<CapSet>,
    /// Whether what `caps` lack is said in other words. By default it is written as it is, and the
    /// daemon refuses it.
    ///
    /// A merge becomes copies of everything, one input onto the other: the same files, but the
    /// inputs are not kept as layers of their own, and what an input removed from its base is not
    /// removed from those below. What changed since scratch is everything. There are no other words
    /// for any other diff, and none for a pass-through: both are [`MarshalError::Incapable`].
    pub fallback: bool,
    /// Who knows the configs of images.
    pub resolver: Option<&'a dyn MetaResolver>,
}

crate::setters!(Marshal<'a> {
    with_defaults(defaults: Constraints),
    with_overrides(overrides: Constraints),
    with_caps(caps: impl Into<Option<CapSet>>),
    with_fallback(fallback: bool),
    with_resolver(resolver: Option<&'a dyn MetaResolver>),
});

impl std::fmt::Debug for Marshal<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Marshal");
        shown.field("defaults", &self.defaults).field("overrides", &self.overrides);
        shown.field("caps", &self.caps).field("fallback", &self.fallback).finish_non_exhaustive()
    }
}

impl Marshal<'_> {
    /// Options for a platform.
    pub fn on(platform: Platform) -> Self {
        Self { defaults: Constraints::on(platform), ..Self::default() }
    }
}

/// Why a state is no graph.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MarshalError {
    /// A source cannot be.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A command has no arguments.
    #[error("arguments are required")]
    NoArguments,
    /// A file op, or what a copy takes from, has no actions.
    #[error("action is required")]
    NoActions,
    /// A tmpfs mount was given contents.
    #[error("tmpfs mounts must use scratch")]
    TmpfsSource,
    /// A state stands on a tmpfs mount, which keeps nothing.
    #[error("tmpfs mount for {0} can't be used as a parent")]
    TmpfsOutput(String),
    /// A state stands on a mount whose contents are thrown away.
    #[error("mount marked no-output and {0} can't be used as a parent")]
    NoOutput(String),
    /// A state stands on a cache mount.
    #[error("invalid mount: {0}")]
    CacheOutput(String),
    /// A pass-through has no id.
    #[error("passthrough requires an id")]
    PassthroughId,
    /// A pass-through hands nothing on.
    #[error("passthrough must have at least one output")]
    PassthroughEmpty,
    /// A state stands on an output a pass-through does not have.
    #[error("invalid passthrough output {0}")]
    PassthroughOutput(usize),
    /// A nested build has no file to read.
    #[error("cannot build from scratch, a definition file is required")]
    BuildScratch,
    /// A definition without ops was used as a state.
    #[error("cannot marshal empty definition op")]
    EmptyDefinition,
    /// A deferred state could not be made.
    #[error(transparent)]
    Deferred(BoxError),
    /// The daemon lacks a feature that nothing can stand in for.
    #[error("the daemon lacks {0}, and nothing can stand in for it: use a newer daemon")]
    Incapable(&'static str),
    /// An input was not emitted before its user, which is a mistake of this crate.
    #[error("input has no digest yet")]
    Internal,
}

impl State {
    /// The graph that makes this state; empty for scratch. The same state and options give the same
    /// bytes.
    ///
    /// # Errors
    ///
    /// [`MarshalError`] for anything on the way to this state that cannot be.
    pub fn marshal(&self, options: &Marshal<'_>) -> Result<Definition, MarshalError> {
        let base = options.defaults.merged(&options.overrides);
        let caps = options.caps.as_ref();
        let (fallback, resolver) = (options.fallback, options.resolver);
        self.marshal_for(Target { base: &base, caps, fallback, resolver })
    }

    pub(crate) fn marshal_for(&self, target: Target<'_>) -> Result<Definition, MarshalError> {
        let mut marshaller = Marshaller::new(target);
        let Some(output) = &self.output else { return Ok(Definition::default()) };
        let Some(vertex) = marshaller.vertex(output)? else { return Ok(Definition::default()) };
        marshaller.walk(vertex)?;
        let input = marshaller.input(output)?.ok_or(MarshalError::Internal)?;
        marshaller.terminal(input)
    }
}

/// What a graph is marshalled for.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    base: &'a Constraints,
    caps: Option<&'a CapSet>,
    fallback: bool,
    resolver: Option<&'a dyn MetaResolver>,
}

/// An op without what all ops have.
pub(crate) struct Lowered {
    pub(crate) op: pb::op::Op,
    pub(crate) inputs: Vec<pb::Input>,
    pub(crate) caps: Vec<&'static str>,
    pub(crate) platform: Option<Platform>,
    /// Whether the platform is part of the op.
    pub(crate) with_platform: bool,
}

/// The state of one marshal call.
pub(crate) struct Marshaller<'a> {
    target: Target<'a>,
    host: Platform,
    /// Digests of the vertices that are done, by address. The graph keeps them alive.
    digests: HashMap<usize, Digest>,
    /// Deferred states that are made, by address.
    made: HashMap<usize, (Arc<Deferred>, State)>,
    definition: Definition,
    sources: SourceMaps,
}

enum Task {
    Enter(Arc<Vertex>),
    Leave(Arc<Vertex>),
}

impl<'a> Marshaller<'a> {
    fn new(target: Target<'a>) -> Self {
        Self {
            target,
            host: Platform::host(),
            digests: HashMap::new(),
            made: HashMap::new(),
            definition: Definition::default(),
            sources: SourceMaps::default(),
        }
    }

    /// Emits a vertex after its inputs, each once.
    fn walk(&mut self, root: Arc<Vertex>) -> Result<(), MarshalError> {
        let mut tasks = vec![Task::Enter(root)];
        while let Some(task) = tasks.pop() {
            match task {
                Task::Enter(vertex) if self.digests.contains_key(&address(&vertex)) => {}
                Task::Enter(vertex) => {
                    tasks.push(Task::Leave(Arc::clone(&vertex)));
                    for output in vertex.inputs.iter().rev() {
                        tasks.extend(self.vertex(output)?.map(Task::Enter));
                    }
                }
                Task::Leave(vertex) => self.emit(&vertex)?,
            }
        }
        Ok(())
    }

    fn emit(&mut self, vertex: &Arc<Vertex>) -> Result<(), MarshalError> {
        let (digest, bytes, metadata) = match &vertex.kind {
            Kind::Embedded(op) => (op.digest.clone(), op.bytes.clone(), op.metadata.clone()),
            _ => {
                let lowered = self.lower(vertex)?;
                let (op, metadata) = self.finish(vertex, lowered);
                let bytes = op.to_canonical();
                (Digest::sha256(&bytes), bytes.into(), metadata)
            }
        };
        self.sources.add(&digest, &vertex.constraints.locations);
        self.digests.insert(address(vertex), digest.clone());
        self.append(&digest, bytes, metadata);
        Ok(())
    }

    /// Adds an op; if it is there, only what is said about it is added.
    fn append(&mut self, digest: &Digest, bytes: Bytes, metadata: pb::OpMetadata) {
        use std::collections::btree_map::Entry;
        match self.definition.metadata.entry(digest.to_string()) {
            Entry::Occupied(mut there) => merge_metadata(there.get_mut(), metadata),
            Entry::Vacant(place) => {
                place.insert(metadata);
                self.definition.def.push(bytes);
            }
        }
    }

    fn lower(&mut self, vertex: &Vertex) -> Result<Lowered, MarshalError> {
        match &vertex.kind {
            Kind::Source(source) => Ok(self.lower_source(vertex, source)),
            Kind::InvalidSource(error) => Err(error.clone().into()),
            Kind::Exec(exec) => exec.lower(vertex, self),
            Kind::File(file) => file.lower(vertex, self),
            Kind::EmptyDefinition => Err(MarshalError::EmptyDefinition),
            _ => compose::lower(vertex, self),
        }
    }

    fn lower_source(&self, vertex: &Vertex, source: &SourceVertex) -> Lowered {
        let (identifier, mut attrs) = (source.identifier.clone(), source.attrs.clone());
        let mut caps = source.caps.clone();
        let own = vertex.constraints.local_unique_id.as_ref();
        if identifier.starts_with("local://")
            && !attrs.contains_key("local.session")
            && let Some(id) = own.or(self.target.base.local_unique_id.as_ref())
        {
            attrs.insert("local.unique".into(), id.clone());
            caps.push(caps::SOURCE_LOCAL_UNIQUE);
        }
        // Only images differ by platform.
        let with_platform = ["docker-image://", "oci-layout://"]
            .iter()
            .any(|scheme| identifier.starts_with(scheme));
        Lowered {
            op: pb::op::Op::Source(pb::SourceOp { identifier, attrs }),
            inputs: Vec::new(),
            caps,
            platform: vertex.constraints.platform.clone(),
            with_platform,
        }
    }

    /// Adds what all ops have.
    fn finish(&self, vertex: &Vertex, lowered: Lowered) -> (pb::Op, pb::OpMetadata) {
        let platform = lowered.with_platform.then(|| {
            let own = lowered.platform.as_ref().or(self.target.base.platform.as_ref());
            wire_platform(own.unwrap_or(&self.host))
        });
        let constraints = self.target.base.merged(&vertex.constraints);
        let metadata = constraints.metadata(&lowered.caps);
        let filter = constraints.require;
        let op = pb::Op {
            inputs: lowered.inputs,
            platform,
            constraints: Some(pb::WorkerConstraints { filter }),
            op: Some(lowered.op),
        };
        (op, metadata)
    }

    /// Ends the definition with the op that says which output is meant.
    fn terminal(mut self, input: pb::Input) -> Result<Definition, MarshalError> {
        let op = pb::Op { inputs: vec![input], ..pb::Op::default() };
        let bytes = op.to_canonical();
        let digest = Digest::sha256(&bytes);
        let all = self.definition.metadata.values();
        let said = |says: fn(&pb::OpMetadata) -> bool| all.clone().any(says);
        let mut caps = vec![caps::CONSTRAINTS, caps::PLATFORM];
        caps.extend(said(|m| m.ignore_cache).then_some(caps::META_IGNORE_CACHE));
        caps.extend(said(|m| !m.description.is_empty()).then_some(caps::META_DESCRIPTION));
        caps.extend(said(|m| m.export_cache.is_some()).then_some(caps::META_EXPORT_CACHE));
        let metadata = Constraints::default().metadata(&caps);
        self.append(&digest, bytes.into(), metadata);
        let source = self.sources.finish(self.target)?;
        self.definition.source = Some(source);
        Ok(self.definition)
    }

    /// The vertex behind an output, after all deferring; nothing if it turns out to be scratch.
    fn vertex(&mut self, output: &Output) -> Result<Option<Arc<Vertex>>, MarshalError> {
        match self.find(output)? {
            Some(Output::Of { vertex, .. }) => Ok(Some(vertex)),
            _ => Ok(None),
        }
    }

    /// An output after all deferring.
    fn find(&mut self, output: &Output) -> Result<Option<Output>, MarshalError> {
        let mut output = output.clone();
        while let Output::Deferred(deferred) = &output {
            match self.make(&Arc::clone(deferred))?.output {
                Some(next) => output = next,
                None => return Ok(None),
            }
        }
        Ok(Some(output))
    }

    fn make(&mut self, deferred: &Arc<Deferred>) -> Result<State, MarshalError> {
        let address = Arc::as_ptr(deferred).addr();
        if let Some((_, state)) = self.made.get(&address) {
            return Ok(state.clone());
        }
        let deferral = Deferral {
            platform: self.target.base.platform.as_ref(),
            resolver: self.target.resolver,
        };
        let state = deferred.resolve(&deferral).map_err(MarshalError::Deferred)?;
        self.made.insert(address, (Arc::clone(deferred), state.clone()));
        Ok(state)
    }

    /// An output as an input of another op. Its vertex has been emitted.
    pub(crate) fn input(&mut self, output: &Output) -> Result<Option<pb::Input>, MarshalError> {
        let Some(Output::Of { vertex, port, .. }) = self.find(output)? else { return Ok(None) };
        let digest = self.digests.get(&address(&vertex)).ok_or(MarshalError::Internal)?;
        Ok(Some(pb::Input { digest: digest.to_string(), index: port.index()? }))
    }

    /// Values, after all deferring.
    pub(crate) fn values(&mut self, values: &Inherited) -> Result<Arc<Values>, MarshalError> {
        let mut values = values.clone();
        let mut later = Vec::new();
        loop {
            match values {
                Inherited::Known(_) => break,
                Inherited::Deferred { from, edits } => {
                    later.push(edits);
                    values = self.make(&from)?.values;
                }
            }
        }
        for edits in later.iter().rev() {
            values = values.edited(edits.iter().cloned());
        }
        match values {
            Inherited::Known(values) => Ok(values),
            Inherited::Deferred { .. } => Err(MarshalError::Internal),
        }
    }

    /// Whether a feature has to be said in other words, or in none.
    pub(crate) fn must_do_without(&self, cap: &str) -> bool {
        self.target.fallback && self.target.caps.is_some_and(|caps| !caps.supports(cap))
    }

    /// Whether the daemon is known to have a feature.
    pub(crate) fn may_use(&self, cap: &str) -> bool {
        self.target.caps.is_some_and(|caps| caps.supports(cap))
    }

    /// Whether the daemon sets a default PATH itself; nothing if it is not known what it can do.
    pub(crate) fn sets_default_path(&self) -> Option<bool> {
        self.target.caps.map(|caps| caps.supports(caps::EXEC_META_SETS_DEFAULT_PATH))
    }

    /// The operating system a command of this vertex is for, as far as anybody said.
    pub(crate) fn os<'b>(&'b self, vertex: &'b Vertex) -> &'b str {
        let platform = self.target.base.platform.as_ref().or(vertex.constraints.platform.as_ref());
        platform.map_or("linux", |platform| platform.os.as_str())
    }
}

fn address(vertex: &Arc<Vertex>) -> usize {
    Arc::as_ptr(vertex).addr()
}

fn wire_platform(platform: &Platform) -> pb::Platform {
    pb::Platform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        os_version: platform.os_version.clone(),
        os_features: platform.os_features.clone(),
    }
}

/// Adds what is said about an op to what was said before; the later word wins.
pub(crate) fn merge_metadata(into: &mut pb::OpMetadata, from: pb::OpMetadata) {
    into.ignore_cache |= from.ignore_cache;
    into.description.extend(from.description);
    into.caps.extend(from.caps.into_keys().map(|cap| (cap, true)));
    into.export_cache = from.export_cache.or(into.export_cache);
    into.progress_group = from.progress_group.or_else(|| into.progress_group.take());
    into.linux_resources = from.linux_resources.or_else(|| into.linux_resources.take());
}
