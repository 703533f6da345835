//! What is known of one vertex.

use std::collections::BTreeSet;
use std::sync::Arc;

use kiln_cache::{CacheKey, CacheMap, CacheRecord};
use kiln_graph::Vertex;
use kiln_oci::Digest;

use crate::{JobId, RequestId, TaskId};

/// Something that is found out once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Step<T> {
    /// Nobody asked yet.
    #[default]
    Idle,
    /// Under way.
    Busy(TaskId),
    /// Known.
    Done(T),
}

impl<T> Step<T> {
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }

    /// Back to idle if it is under way; the task to cancel.
    pub(crate) fn abandon(&mut self) -> Option<TaskId> {
        let Self::Busy(task) = *self else { return None };
        *self = Self::Idle;
        Some(task)
    }
}

/// The key that follows from the definition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DefinitionKey {
    pub(crate) key: CacheKey,
    /// A record under it may be used.
    pub(crate) lookup: bool,
    /// A record may be kept under it.
    pub(crate) save: bool,
}

/// The key that follows from the content.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ContentKey {
    pub(crate) key: CacheKey,
    /// It means nothing beyond this build.
    pub(crate) volatile: bool,
}

/// A vertex and how far it is. Each step is taken when something above needs it.
#[derive(Clone, Debug)]
pub(crate) struct Node<E> {
    pub(crate) vertex: Arc<Vertex>,
    /// Builds whose graph has it.
    pub(crate) jobs: BTreeSet<JobId>,
    /// Vertices that read it.
    pub(crate) dependents: BTreeSet<Digest>,
    /// Wishes of jobs, with the output they are for.
    pub(crate) requests: Vec<(RequestId, JobId, usize)>,

    /// Someone needs the definition key.
    pub(crate) want_definition: bool,
    /// Someone needs the content key.
    pub(crate) want_key: bool,
    /// Outputs that someone needs.
    pub(crate) want: BTreeSet<usize>,

    pub(crate) map: Step<CacheMap>,
    pub(crate) definition: Option<DefinitionKey>,
    pub(crate) definition_lookup: Step<()>,
    pub(crate) contents: Vec<Step<Digest>>,
    pub(crate) key: Option<ContentKey>,
    pub(crate) key_lookup: Step<()>,
    pub(crate) record: Option<CacheRecord>,
    pub(crate) load: Step<()>,
    pub(crate) exec: Step<()>,
    pub(crate) save: Step<()>,
    /// Outputs whose results are there.
    pub(crate) have: BTreeSet<usize>,
    /// Those who watch have been told that it ran or need not.
    pub(crate) shown: bool,
    pub(crate) failed: Option<E>,
}

impl<E> Node<E> {
    pub(crate) fn new(vertex: Arc<Vertex>) -> Self {
        Self {
            contents: vec![Step::Idle; vertex.inputs.len()],
            vertex,
            jobs: BTreeSet::new(),
            dependents: BTreeSet::new(),
            requests: Vec::new(),
            want_definition: false,
            want_key: false,
            want: BTreeSet::new(),
            map: Step::Idle,
            definition: None,
            definition_lookup: Step::Idle,
            key: None,
            key_lookup: Step::Idle,
            record: None,
            load: Step::Idle,
            exec: Step::Idle,
            save: Step::Idle,
            have: BTreeSet::new(),
            shown: false,
            failed: None,
        }
    }

    /// Forgets a failure, so that the vertex is tried again.
    pub(crate) fn restart(&mut self) {
        let fresh = Self::new(Arc::clone(&self.vertex));
        let old = std::mem::replace(self, fresh);
        self.jobs = old.jobs;
        self.dependents = old.dependents;
    }

    /// All outputs someone needs are there.
    pub(crate) fn complete(&self) -> bool {
        self.want.is_subset(&self.have)
    }

    /// Gives up everything under way except keeping the record; the tasks to cancel.
    pub(crate) fn abandon(&mut self) -> Vec<TaskId> {
        let steps =
            [&mut self.definition_lookup, &mut self.key_lookup, &mut self.load, &mut self.exec];
        let mut tasks: Vec<TaskId> = steps.into_iter().filter_map(Step::abandon).collect();
        tasks.extend(self.map.abandon());
        tasks.extend(self.contents.iter_mut().filter_map(Step::abandon));
        tasks
    }
}
