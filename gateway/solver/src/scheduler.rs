//! The machine.
//!
//! What is needed of a vertex flows down the graph (`want_*`), what is known flows up (a changed
//! vertex wakes its dependents). [`Scheduler::advance`] looks at one vertex and takes the next step
//! that is both needed and possible:
//!
//! map → definition key → look-up → content key → look-up → load, or else run and save.
//!
//! Vertices whose content keys turn out equal do not run twice: the second waits for the first and
//! then finds its record.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use kiln_cache::key::{InputKey, content_key, definition_key, fresh_key};
use kiln_cache::{CacheKey, CacheMap, CacheRecord};
use kiln_graph::{Edge, Graph};
use kiln_oci::Digest;

use crate::node::{ContentKey, DefinitionKey, Node, Step};
use crate::{Action, Event, JobId, RequestId, Task, TaskId, Work};

/// Decides what all running builds do next.
#[derive(Debug)]
pub struct Scheduler<E> {
    nodes: BTreeMap<Digest, Node<E>>,
    tasks: BTreeMap<TaskId, (Digest, Work)>,
    /// Content keys that are being made, by whom, and who waits.
    making: BTreeMap<CacheKey, Making>,
    next_task: u64,
    /// Makes keys of vertices that must run again unlike those of any other build.
    unique: String,
    /// Vertices to look at.
    awake: VecDeque<Digest>,
    actions: Vec<Action<E>>,
}

#[derive(Debug)]
struct Making {
    by: Digest,
    waiting: BTreeSet<Digest>,
}

impl<E: Clone> Scheduler<E> {
    /// An empty machine. `unique` must differ between runs of the program.
    pub fn new(unique: impl Into<String>) -> Self {
        Self {
            nodes: BTreeMap::new(),
            tasks: BTreeMap::new(),
            making: BTreeMap::new(),
            next_task: 0,
            unique: unique.into(),
            awake: VecDeque::new(),
            actions: Vec::new(),
        }
    }

    /// Takes in one event and returns the actions it calls for, in the order to start them.
    pub fn handle(&mut self, event: Event<E>) -> Vec<Action<E>> {
        self.hear(event);
        while let Some(id) = self.awake.pop_front() {
            self.advance(&id);
        }
        std::mem::take(&mut self.actions)
    }

    /// The record that was found for a vertex, for the task that loads it.
    pub fn record(&self, vertex: &Digest) -> Option<&CacheRecord> {
        self.nodes.get(vertex)?.record.as_ref()
    }

    /// Whether nothing is known and nothing under way.
    pub fn is_idle(&self) -> bool {
        self.nodes.is_empty() && self.tasks.is_empty() && self.making.is_empty()
    }

    fn hear(&mut self, event: Event<E>) {
        match event {
            Event::Wanted { job, request, graph, edge } => self.wanted(job, request, &graph, edge),
            Event::Closed(job) => self.closed(job),
            Event::Mapped(task, map) => self.mapped(task, map),
            Event::Found(task, record) => self.found(task, record),
            Event::Digested(task, digest) => self.digested(task, digest),
            Event::Loaded(task) => self.loaded(task),
            Event::NotLoaded(task) => self.not_loaded(task),
            Event::Executed(task, outputs) => self.executed(task, outputs),
            Event::Saved(task) => self.saved(task),
            Event::Failed(task, error) => {
                if let Some((id, _)) = self.tasks.remove(&task) {
                    self.fail(&id, &error);
                }
            }
        }
    }

    // What happened.

    fn wanted(&mut self, job: JobId, request: RequestId, graph: &Arc<Graph>, edge: Edge) {
        let mut open = vec![edge.vertex.clone()];
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            let Some(vertex) = graph.vertex(&id) else { continue };
            if !seen.insert(id.clone()) {
                continue;
            }
            let node =
                self.nodes.entry(id.clone()).or_insert_with(|| Node::new(Arc::clone(vertex)));
            if node.failed.is_some() {
                node.restart();
            }
            node.jobs.insert(job);
            for input in &vertex.inputs {
                open.push(input.vertex.clone());
            }
        }
        for id in &seen {
            let inputs: Vec<Digest> =
                self.nodes[id].vertex.inputs.iter().map(|input| input.vertex.clone()).collect();
            for input in inputs {
                if let Some(node) = self.nodes.get_mut(&input) {
                    node.dependents.insert(id.clone());
                }
            }
        }
        if let Some(node) = self.nodes.get_mut(&edge.vertex) {
            node.requests.push((request, job, edge.index));
            node.want.insert(edge.index);
            self.awake.push_back(edge.vertex);
        }
    }

    fn closed(&mut self, job: JobId) {
        let ids: Vec<Digest> = self.nodes.keys().cloned().collect();
        for id in &ids {
            let Some(node) = self.nodes.get_mut(id) else { continue };
            node.jobs.remove(&job);
            node.requests.retain(|(_, owner, _)| *owner != job);
            if node.jobs.is_empty() {
                self.forget(id);
            }
        }
        // What is still needed follows from the wishes that are left.
        for node in self.nodes.values_mut() {
            node.want_definition = false;
            node.want_key = false;
            node.want = node.requests.iter().map(|(_, _, output)| *output).collect();
        }
        self.awake = self
            .nodes
            .iter()
            .filter(|(_, node)| !node.want.is_empty())
            .map(|(id, _)| id.clone())
            .collect();
        while let Some(id) = self.awake.pop_front() {
            self.advance(&id);
        }
        let unneeded =
            |node: &Node<E>| !node.want_definition && !node.want_key && node.want.is_empty();
        let ids: Vec<Digest> = self
            .nodes
            .iter()
            .filter(|(_, node)| unneeded(node))
            .map(|(id, _)| id.clone())
            .collect();
        for id in ids {
            self.abandon(&id);
        }
    }

    fn mapped(&mut self, task: TaskId, map: CacheMap) {
        let Some(id) = self.end(task) else { return };
        if let Some(node) = self.nodes.get_mut(&id) {
            node.map = Step::Done(map);
            self.awake.push_back(id);
        }
    }

    fn found(&mut self, task: TaskId, record: Option<CacheRecord>) {
        let Some(id) = self.end(task) else { return };
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let by_definition = node.definition_lookup == Step::Busy(task);
        match by_definition {
            true => node.definition_lookup = Step::Done(()),
            false => node.key_lookup = Step::Done(()),
        }
        if let Some(record) = record {
            node.key = Some(ContentKey { key: record.key.clone(), volatile: false });
            node.key_lookup = Step::Done(());
            node.record = Some(record);
            let link = node
                .definition
                .as_ref()
                .filter(|d| d.save && !by_definition)
                .map(|d| d.key.clone());
            if let Some(from) = link {
                self.start(&id, Work::Link { from });
            }
            self.show_cached(&id);
            self.wake_dependents(&id);
        }
        self.awake.push_back(id);
    }

    fn digested(&mut self, task: TaskId, digest: Digest) {
        let Some((id, Work::Digest(input))) = self.tasks.remove(&task) else { return };
        if let Some(node) = self.nodes.get_mut(&id) {
            node.contents[input] = Step::Done(digest);
            self.awake.push_back(id);
        }
    }

    fn loaded(&mut self, task: TaskId) {
        let Some((id, Work::Load(outputs))) = self.tasks.remove(&task) else { return };
        if let Some(node) = self.nodes.get_mut(&id) {
            node.load = Step::Idle;
            node.have.extend(outputs);
            self.finish_requests(&id);
            self.wake_dependents(&id);
            self.awake.push_back(id);
        }
    }

    fn not_loaded(&mut self, task: TaskId) {
        let Some(id) = self.end(task) else { return };
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.load = Step::Idle;
        if let Some(record) = node.record.take() {
            self.actions.push(Action::Forget(record.key));
        }
        self.awake.push_back(id);
    }

    fn executed(&mut self, task: TaskId, outputs: usize) {
        let Some(id) = self.end(task) else { return };
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.exec = Step::Done(());
        node.have = (0..outputs).collect();
        let key = node.key.as_ref().filter(|key| !key.volatile).map(|key| key.key.clone());
        let also = node.definition.as_ref().filter(|d| d.save).map(|d| d.key.clone());
        if let Some(key) = key {
            let task = self.start(&id, Work::Save { key, also });
            if let Some(node) = self.nodes.get_mut(&id) {
                node.save = Step::Busy(task);
            }
        }
        self.finish_requests(&id);
        self.wake_dependents(&id);
        self.awake.push_back(id);
    }

    fn saved(&mut self, task: TaskId) {
        let Some((id, work)) = self.tasks.remove(&task) else { return };
        if matches!(work, Work::Save { .. }) {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.save = Step::Done(());
            }
            self.made(&id);
        }
    }

    fn fail(&mut self, id: &Digest, error: &E) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        if node.failed.is_some() {
            return;
        }
        node.failed = Some(error.clone());
        let finished = std::mem::take(&mut node.requests);
        self.actions.extend(
            finished.into_iter().map(|(request, ..)| Action::Finish(request, Err(error.clone()))),
        );
        self.abandon(id);
        self.wake_dependents(id);
    }

    // What to do next.

    fn advance(&mut self, id: &Digest) {
        let Some(node) = self.nodes.get(id) else { return };
        let unneeded = !node.want_definition && !node.want_key && node.want.is_empty();
        if unneeded || node.failed.is_some() {
            return;
        }
        self.finish_requests(id);
        let Some(map) = self.need_map(id) else { return };
        if !self.need_definition(id, &map) {
            return;
        }
        let node = &self.nodes[id];
        if !node.want_key && node.want.is_empty() {
            return;
        }
        if node.key.is_none() && (!self.need_definition_lookup(id) || !self.need_key(id, &map)) {
            return;
        }
        if !self.nodes[id].complete() {
            self.need_results(id);
        }
    }

    /// The vertex's map, or the task that asks for it.
    fn need_map(&mut self, id: &Digest) -> Option<CacheMap> {
        match &self.nodes[id].map {
            Step::Done(map) => Some(map.clone()),
            Step::Busy(_) => None,
            Step::Idle => {
                let task = self.start(id, Work::Map);
                self.node(id).map = Step::Busy(task);
                None
            }
        }
    }

    fn need_definition(&mut self, id: &Digest, map: &CacheMap) -> bool {
        if self.nodes[id].definition.is_some() {
            return true;
        }
        let vertex = Arc::clone(&self.nodes[id].vertex);
        let mut inputs = Vec::with_capacity(vertex.inputs.len());
        let (mut lookup, mut save) = (!map.volatile && !vertex.metadata.ignore_cache, !map.volatile);
        let mut missing = false;
        for edge in &vertex.inputs {
            let Some(dep) = self.dependency(id, edge) else { return false };
            match dep.definition.clone() {
                Some(definition) => {
                    lookup &= definition.lookup;
                    save &= definition.save;
                    inputs.push((definition.key, edge.index));
                }
                None => {
                    missing = true;
                    if !std::mem::replace(&mut dep.want_definition, true) {
                        self.awake.push_back(edge.vertex.clone());
                    }
                }
            }
        }
        if missing {
            return false;
        }
        let inputs: Vec<_> =
            inputs.iter().map(|(key, output)| InputKey::Made(key, *output)).collect();
        let key = definition_key(map, &inputs);
        self.node(id).definition = Some(DefinitionKey { key, lookup, save });
        self.wake_dependents(id);
        true
    }

    fn need_definition_lookup(&mut self, id: &Digest) -> bool {
        let node = &self.nodes[id];
        match node.definition_lookup {
            Step::Done(()) => true,
            Step::Busy(_) => false,
            Step::Idle => match node.definition.as_ref().filter(|definition| definition.lookup) {
                None => true,
                Some(definition) => {
                    let key = definition.key.clone();
                    let task = self.start(id, Work::Lookup(key));
                    self.node(id).definition_lookup = Step::Busy(task);
                    false
                }
            },
        }
    }

    fn need_key(&mut self, id: &Digest, map: &CacheMap) -> bool {
        enum Part {
            Made(ContentKey, usize),
            Content(Digest),
        }
        let vertex = Arc::clone(&self.nodes[id].vertex);
        let mut parts = Vec::with_capacity(vertex.inputs.len());
        for (number, edge) in vertex.inputs.iter().enumerate() {
            let by_content = map.deps.get(number).is_some_and(|dep| dep.by_content);
            if by_content {
                if !self.need_input(id, edge) {
                    continue;
                }
                match &self.nodes[id].contents[number] {
                    Step::Done(digest) => parts.push(Part::Content(digest.clone())),
                    Step::Busy(_) => {}
                    Step::Idle => {
                        let task = self.start(id, Work::Digest(number));
                        self.node(id).contents[number] = Step::Busy(task);
                    }
                }
            } else {
                let Some(dep) = self.dependency(id, edge) else { return false };
                match dep.key.clone() {
                    Some(key) => parts.push(Part::Made(key, edge.index)),
                    None if std::mem::replace(&mut dep.want_key, true) => {}
                    None => self.awake.push_back(edge.vertex.clone()),
                }
            }
        }
        if self.nodes[id].failed.is_some() || parts.len() < vertex.inputs.len() {
            return false;
        }
        let inputs: Vec<_> = parts
            .iter()
            .map(|part| match part {
                Part::Made(key, output) => InputKey::Made(&key.key, *output),
                Part::Content(digest) => InputKey::Content(digest),
            })
            .collect();
        let of_volatile =
            parts.iter().any(|part| matches!(part, Part::Made(key, _) if key.volatile));
        let mut key = content_key(map, &inputs);
        if vertex.metadata.ignore_cache {
            key = fresh_key(&key, &self.unique);
        }
        self.node(id).key = Some(ContentKey { key, volatile: map.volatile || of_volatile });
        self.wake_dependents(id);
        true
    }

    /// Load what was found; look the content key up; or run.
    fn need_results(&mut self, id: &Digest) {
        let node = &self.nodes[id];
        if matches!(node.load, Step::Busy(_)) || !node.exec.is_idle() {
            return;
        }
        if node.record.is_some() {
            let outputs: Vec<usize> = node.want.difference(&node.have).copied().collect();
            let task = self.start(id, Work::Load(outputs));
            self.node(id).load = Step::Busy(task);
            return;
        }
        let Some(ContentKey { key, volatile }) = node.key.clone() else { return };
        let keyed = !volatile && !node.vertex.metadata.ignore_cache;
        match node.key_lookup {
            Step::Busy(_) => return,
            Step::Idle if keyed => {
                let task = self.start(id, Work::Lookup(key));
                self.node(id).key_lookup = Step::Busy(task);
                return;
            }
            Step::Idle | Step::Done(()) => {}
        }
        let vertex = Arc::clone(&node.vertex);
        let ready = vertex.inputs.iter().filter(|edge| self.need_input(id, edge)).count()
            == vertex.inputs.len();
        if !ready || self.nodes[id].failed.is_some() || (keyed && !self.may_make(id, &key)) {
            return;
        }
        let task = self.start(id, Work::Exec);
        let node = self.node(id);
        node.exec = Step::Busy(task);
        node.shown = true;
    }

    /// Whether an input's result is there; if not, it is wanted from now on.
    fn need_input(&mut self, id: &Digest, edge: &Edge) -> bool {
        let Some(dep) = self.dependency(id, edge) else { return false };
        let new = dep.want.insert(edge.index);
        let ready = dep.have.contains(&edge.index);
        if new && !ready {
            self.awake.push_back(edge.vertex.clone());
        }
        ready
    }

    /// An input's node. If the input failed, or gives no such output, so does the vertex.
    fn dependency(&mut self, id: &Digest, edge: &Edge) -> Option<&mut Node<E>> {
        let failed = self.nodes.get(&edge.vertex)?.failed.clone();
        if let Some(error) = failed {
            self.fail(id, &error);
            return None;
        }
        self.nodes.get_mut(&edge.vertex)
    }

    /// Whether the vertex may make this key now; if another makes it already, it waits.
    fn may_make(&mut self, id: &Digest, key: &CacheKey) -> bool {
        match self.making.get_mut(key) {
            Some(making) if making.by != *id => {
                making.waiting.insert(id.clone());
                false
            }
            Some(_) => true,
            None => {
                self.making
                    .insert(key.clone(), Making { by: id.clone(), waiting: BTreeSet::new() });
                true
            }
        }
    }

    /// The vertex has made its key, or will not: those who wait look the key up again.
    fn made(&mut self, id: &Digest) {
        let keys: Vec<CacheKey> =
            self.making.iter().filter(|(_, m)| m.by == *id).map(|(key, _)| key.clone()).collect();
        for making in keys.iter().filter_map(|key| self.making.remove(key)).collect::<Vec<_>>() {
            for waiting in making.waiting {
                if let Some(node) = self.nodes.get_mut(&waiting) {
                    node.key_lookup = Step::Idle;
                    self.awake.push_back(waiting);
                }
            }
        }
    }

    // Housekeeping.

    fn node(&mut self, id: &Digest) -> &mut Node<E> {
        self.nodes.get_mut(id).expect("the vertex being advanced exists")
    }

    fn start(&mut self, id: &Digest, work: Work) -> TaskId {
        self.next_task += 1;
        let task = TaskId(self.next_task);
        self.tasks.insert(task, (id.clone(), work.clone()));
        self.actions.push(Action::Start(Task { id: task, vertex: id.clone(), work }));
        task
    }

    fn end(&mut self, task: TaskId) -> Option<Digest> {
        self.tasks.remove(&task).map(|(id, _)| id)
    }

    fn wake_dependents(&mut self, id: &Digest) {
        if let Some(node) = self.nodes.get(id) {
            self.awake.extend(node.dependents.iter().cloned());
        }
    }

    fn finish_requests(&mut self, id: &Digest) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        let have = &node.have;
        let finished = node.requests.extract_if(.., |(_, _, output)| have.contains(output));
        let finished: Vec<_> =
            finished.map(|(request, ..)| Action::Finish(request, Ok(()))).collect();
        self.actions.extend(finished);
    }

    /// Tells that a vertex and what lies below it need not run.
    fn show_cached(&mut self, id: &Digest) {
        let mut open = vec![id.clone()];
        while let Some(id) = open.pop() {
            let Some(node) = self.nodes.get_mut(&id) else { continue };
            if std::mem::replace(&mut node.shown, true) {
                continue;
            }
            open.extend(node.vertex.inputs.iter().map(|input| input.vertex.clone()));
            self.actions.push(Action::Cached(id));
        }
    }

    /// Cancels what is under way for a vertex.
    fn abandon(&mut self, id: &Digest) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        let saving = matches!(node.save, Step::Busy(_));
        for task in node.abandon() {
            if self.tasks.remove(&task).is_some() {
                self.actions.push(Action::Cancel(task));
            }
        }
        if !saving {
            self.made(id);
        }
    }

    fn forget(&mut self, id: &Digest) {
        self.abandon(id);
        let Some(node) = self.nodes.remove(id) else { return };
        for input in &node.vertex.inputs {
            if let Some(dep) = self.nodes.get_mut(&input.vertex) {
                dep.dependents.remove(id);
            }
        }
        for making in self.making.values_mut() {
            making.waiting.remove(id);
        }
        self.actions.push(Action::Drop(id.clone()));
    }
}
