//! An engine without clock, disk or operations: it does what the scheduler asks, in whatever order,
//! and writes down what happened. Results are texts; what an operation makes is the sum of what it does
//! and of what it reads.
//!
//! Graphs are written as `image | run: image | all: run image@`, inputs before those that read them:
//!
//! * `name=key` does what `key` does; without it, what its name says;
//! * `name!` ignores the cache, `name~` means something within one session only;
//! * `name*3` has three outputs, `name.2` as an input is the third of them;
//! * an input `name@` counts by content, `name%part` reads a part, `name+` wants to be prepared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kiln_cache::testing::now;
use kiln_cache::{CacheStore, LinkStore, MemoryKeyValue, SavedResult, Saving};
use kiln_graph::{Edge, Entitlements, Graph, LoadContext};
use kiln_keys::{CacheMap, ContentQuery, Dep, PathSelector};
use kiln_oci::{Digest, Platform};
use kiln_pb::pb;
use prost::Message;

use crate::{Action, Answers, Event, JobId, RequestId, Scheduler, SourceId, Task, TaskId, Work};

/// A graph with what its vertices do.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) graph: Arc<Graph>,
    /// By the id of the vertex.
    pub(crate) parts: Arc<BTreeMap<Digest, Arc<Part>>>,
}

/// What a vertex does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) key: String,
    pub(crate) session_scoped: bool,
    pub(crate) outputs: usize,
    pub(crate) inputs: Vec<PartInput>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct PartInput {
    pub(crate) name: String,
    pub(crate) output: usize,
    pub(crate) by_content: bool,
    pub(crate) part: Option<String>,
    pub(crate) preprocess: bool,
}

impl Part {
    fn parse(text: &str) -> (Self, bool) {
        let (head, inputs) = text.split_once(':').unwrap_or((text, ""));
        let (head, outputs) = head.trim().split_once('*').unwrap_or((head.trim(), "1"));
        let ignores_cache = head.contains('!');
        let session_scoped = head.contains('~');
        let (name, key) = head.split_once('=').unwrap_or((head, head));
        let key = key.replace('!', "");
        let part = Self {
            name: name.to_owned(),
            key,
            session_scoped,
            outputs: outputs.parse().unwrap(),
            inputs: inputs.split_whitespace().map(PartInput::parse).collect(),
        };
        (part, ignores_cache)
    }
}

impl PartInput {
    fn parse(text: &str) -> Self {
        let (text, preprocess) = (text.trim_end_matches('+'), text.ends_with('+'));
        let (text, by_content) = (text.trim_end_matches('@'), text.ends_with('@'));
        let (text, part) = match text.split_once('%') {
            Some((text, part)) => (text, Some(part.to_owned())),
            None => (text, None),
        };
        let (name, output) = text.split_once('.').unwrap_or((text, "0"));
        let (name, output) = (name.to_owned(), output.parse().unwrap());
        Self { name, output, by_content, part, preprocess }
    }
}

impl Story {
    pub(crate) fn new(text: &str) -> Self {
        Self::of(text.split('|').map(str::to_owned))
    }

    pub(crate) fn of(lines: impl Iterator<Item = String>) -> Self {
        let mut definition = pb::Definition::default();
        let mut digests: BTreeMap<String, String> = BTreeMap::new();
        let mut by_digest = BTreeMap::new();
        for line in lines {
            let (part, ignore_cache) = Part::parse(&line);
            let input = |input: &PartInput| pb::Input {
                digest: digests[&input.name].clone(),
                index: input.output as i64,
            };
            let inputs: Vec<_> = part.inputs.iter().map(input).collect();
            let op = match part.outputs {
                1 => {
                    let inputs = (0..inputs.len()).map(|i| pb::MergeInput { input: i as i64 });
                    pb::op::Op::Merge(pb::MergeOp { inputs: inputs.collect() })
                }
                outputs => pb::op::Op::Passthrough(pb::PassthroughOp {
                    id: part.name.clone(),
                    outputs: vec![0; outputs],
                }),
            };
            // Two graphs may have vertices of one name that do different things.
            let constraints = Some(pb::WorkerConstraints { filter: vec![line.trim().to_owned()] });
            let bytes =
                pb::Op { inputs, op: Some(op), constraints, ..Default::default() }.encode_to_vec();
            let digest = Digest::sha256(&bytes).to_string();
            definition.def.push(bytes.into());
            let metadata = pb::OpMetadata { ignore_cache, ..Default::default() };
            definition.metadata.insert(digest.clone(), metadata);
            digests.insert(part.name.clone(), digest.clone());
            by_digest.insert(digest, Arc::new(part));
        }
        // Nothing is left out: the terminal leads to a vertex that reads all others.
        let all: Vec<_> =
            digests.values().map(|digest| pb::Input { digest: digest.clone(), index: 0 }).collect();
        let merge = pb::MergeOp {
            inputs: (0..all.len()).map(|i| pb::MergeInput { input: i as i64 }).collect(),
        };
        let top = pb::Op { inputs: all, op: Some(pb::op::Op::Merge(merge)), ..Default::default() };
        let top = top.encode_to_vec();
        let digest = Digest::sha256(&top).to_string();
        definition.def.push(top.into());
        let terminal =
            pb::Op { inputs: vec![pb::Input { digest, index: 0 }], ..Default::default() };
        definition.def.push(terminal.encode_to_vec().into());
        let context = LoadContext {
            default_platform: Platform::new("linux", "amd64"),
            session: String::new(),
            lenders: BTreeMap::new(),
            entitlements: Entitlements::default(),
            devices: None,
            proxy_network: None,
        };
        let graph = Arc::new(Graph::load(&definition, &context).unwrap());
        let parts = graph.vertices().filter_map(|vertex| {
            Some((vertex.id.clone(), by_digest.get(vertex.digest.as_str())?.clone()))
        });
        let parts = Arc::new(parts.collect());
        Self { graph, parts }
    }

    pub(crate) fn edge(&self, name: &str) -> Edge {
        let (name, output) = name.split_once('.').unwrap_or((name, "0"));
        let vertex = self.parts.iter().find(|(_, part)| part.name == name);
        Edge { vertex: vertex.unwrap().0.clone(), index: output.parse().unwrap() }
    }
}

/// A task that has not ended.
#[derive(Clone, Debug)]
pub(crate) struct OpenTask {
    pub(crate) id: TaskId,
    pub(crate) vertex: Digest,
    pub(crate) work: Work,
}

/// Does what the scheduler asks.
pub(crate) struct Machine {
    pub(crate) scheduler: Scheduler<String>,
    pub(crate) caches: Vec<LinkStore<MemoryKeyValue>>,
    /// Saved results that can be loaded, by id.
    pub(crate) stored: BTreeMap<String, String>,
    /// Results that vertices have.
    pub(crate) results: BTreeMap<Digest, BTreeMap<usize, String>>,
    pub(crate) parts: BTreeMap<Digest, Arc<Part>>,
    /// What an operation makes, whatever it reads.
    pub(crate) makes: BTreeMap<String, String>,
    /// Operations that are known in several ways.
    pub(crate) maps: BTreeMap<String, Vec<String>>,
    pub(crate) failing: BTreeSet<String>,
    /// Kinds of tasks that are written down besides those that say what a build did.
    pub(crate) also: BTreeSet<&'static str>,
    pub(crate) open: Vec<OpenTask>,
    pub(crate) log: Vec<String>,
    /// Vertices whose run began, and those whose run was cancelled.
    pub(crate) begun: Vec<Digest>,
    pub(crate) cancelled: Vec<Digest>,
    pub(crate) finished: BTreeMap<RequestId, Result<String, String>>,
    pub(crate) joined: BTreeMap<JobId, BTreeSet<Digest>>,
    /// Everything that happened, for a replay.
    pub(crate) events: Vec<Event<String>>,
    pub(crate) clock: u64,
    next: u64,
    /// How much is worked out before tasks may end in between.
    pub(crate) slice: usize,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self {
            scheduler: Scheduler::default(),
            caches: vec![LinkStore::new(MemoryKeyValue::default())],
            stored: BTreeMap::new(),
            results: BTreeMap::new(),
            parts: BTreeMap::new(),
            makes: BTreeMap::new(),
            maps: BTreeMap::new(),
            failing: BTreeSet::new(),
            also: BTreeSet::new(),
            open: Vec::new(),
            log: Vec::new(),
            begun: Vec::new(),
            cancelled: Vec::new(),
            finished: BTreeMap::new(),
            joined: BTreeMap::new(),
            events: Vec::new(),
            clock: 0,
            next: 0,
            slice: usize::MAX,
        }
    }

    pub(crate) fn main(&self) -> &LinkStore<MemoryKeyValue> {
        &self.caches[0]
    }

    /// Requests an output for a job.
    pub(crate) fn request(&mut self, story: &Story, job: u64, name: &str) -> RequestId {
        self.next += 1;
        let request = RequestId(self.next);
        self.parts.extend(story.parts.iter().map(|(id, part)| (id.clone(), Arc::clone(part))));
        let (job, graph, edge) = (JobId(job), Arc::clone(&story.graph), story.edge(name));
        self.hear(Event::Requested { job, request, graph, edge });
        request
    }

    pub(crate) fn close(&mut self, job: u64) {
        self.hear(Event::Closed(JobId(job)));
    }

    /// Tells the scheduler what happened, and does all that it asks for.
    pub(crate) fn hear(&mut self, event: Event<String>) {
        self.note(event);
        self.think();
    }

    /// Tells the scheduler what happened.
    pub(crate) fn note(&mut self, event: Event<String>) {
        self.events.push(event.clone());
        self.scheduler.handle(event);
    }

    pub(crate) fn think(&mut self) {
        while self.scheduler.is_busy() {
            for action in self.scheduler.run(self.slice) {
                self.act(action);
            }
        }
    }

    fn name(&self, vertex: &Digest) -> &str {
        self.parts.get(vertex).map_or("?", |part| &part.name)
    }

    pub(crate) fn act(&mut self, action: Action<String>) {
        match action {
            Action::Join(job, vertex) => {
                assert!(self.joined.entry(job).or_default().insert(vertex.id.clone()));
            }
            Action::Leave(job, vertex) => {
                let joined = self.joined.get_mut(&job).unwrap();
                assert!(joined.remove(&vertex), "a job leaves what it joined");
                if joined.is_empty() {
                    self.joined.remove(&job);
                }
            }
            Action::Start(Task { id, vertex, work }) => {
                let name = self.name(&vertex).to_owned();
                let line = match &work {
                    Work::Exec(_) => Some(format!("exec {name}")),
                    Work::Load { .. } => Some(format!("load {name}")),
                    Work::Prepare { input, content, .. } => {
                        let verb = if content.is_some() { "content" } else { "prepare" };
                        let input = &self.parts[&vertex].inputs[*input].name;
                        Some(format!("{verb} {input} of {name}"))
                    }
                    Work::Map(number) => {
                        self.also.contains("map").then(|| format!("map {number} {name}"))
                    }
                    Work::LookUp(_) => {
                        self.also.contains("look up").then(|| format!("look up {name}"))
                    }
                    Work::Save { .. } => self.also.contains("save").then(|| format!("save {name}")),
                };
                self.log.extend(line);
                if let Work::Exec(_) = &work {
                    self.begun.push(vertex.clone());
                }
                self.open.push(OpenTask { id, vertex, work });
            }
            Action::Cancel(id) => {
                let cancelled: Vec<_> = self.open.extract_if(.., |task| task.id == id).collect();
                assert_eq!(cancelled.len(), 1, "only what is open is cancelled");
                for task in cancelled {
                    let line = match task.work {
                        Work::Exec(_) => {
                            self.cancelled.push(task.vertex.clone());
                            format!("cancel {}", self.name(&task.vertex))
                        }
                        Work::Load { .. } => format!("cancel load {}", self.name(&task.vertex)),
                        Work::Save { .. } => panic!("saving is not cancelled"),
                        _ => continue,
                    };
                    self.log.push(line);
                }
            }
            Action::Cached(vertex) => self.log.push(format!("cached {}", self.name(&vertex))),
            Action::Forget(source, result) => {
                self.log.push(format!("forget {}", result.id));
                self.caches[source.0].forget(&result.id);
            }
            Action::Drop(vertex) => drop(self.results.remove(&vertex)),
            Action::Finish(request, result) => {
                let result = result.map(|edge| self.result(&edge));
                let said = result.as_ref().map_or_else(Clone::clone, |_| "ok".to_owned());
                self.log.push(format!("finish {said}"));
                assert!(self.finished.insert(request, result).is_none(), "answered once");
            }
        }
    }

    /// Ends one open task as it would end.
    pub(crate) fn step(&mut self, which: usize) {
        let task = self.open.remove(which);
        let event = self.ended(&task);
        self.hear(event);
    }

    /// The result at a place where the scheduler says that there is one.
    fn result(&self, edge: &Edge) -> String {
        let results = self.results.get(&edge.vertex).and_then(|results| results.get(&edge.index));
        results.expect("the result is there").clone()
    }

    /// How a task ends.
    pub(crate) fn ended(&mut self, task: &OpenTask) -> Event<String> {
        let (id, vertex) = (task.id, &task.vertex);
        let part = Arc::clone(&self.parts[vertex]);
        match &task.work {
            Work::Map(_) | Work::Prepare { .. } | Work::Exec(_)
                if self.failing.contains(&part.name) =>
            {
                Event::Failed(id, format!("{} failed", part.name))
            }
            Work::Map(number) => {
                let (map, is_complete) = self.map(&part, *number);
                Event::Mapped(id, map, is_complete)
            }
            Work::LookUp(lookup) => {
                let mut answers = Answers::default();
                for (number, cache) in self.caches.iter().enumerate() {
                    let answer = now(cache, lookup);
                    let source = SourceId(number);
                    answers.records.extend(answer.records.into_iter().map(|r| (source, r)));
                    answers.linked.extend(answer.linked);
                }
                Event::LookedUp(id, answers)
            }
            Work::Prepare { from, content, .. } => {
                let value = self.result(from);
                Event::Prepared(id, content.is_some().then(|| Digest::sha256(value)))
            }
            Work::Load { output, from } => match self.stored.get(&from.result.id) {
                Some(value) => {
                    let value = value.clone();
                    self.results.entry(vertex.clone()).or_default().insert(*output, value);
                    Event::Loaded(id)
                }
                None => Event::NotLoaded(id),
            },
            Work::Exec(inputs) => {
                let values: Vec<_> = inputs.iter().map(|edge| self.result(edge)).collect();
                for output in 0..part.outputs {
                    let value = self.make(&part, output, &values);
                    self.results.entry(vertex.clone()).or_default().insert(output, value);
                }
                Event::Executed(id, part.outputs)
            }
            Work::Save { records, results, .. } => {
                let mut saving = Saving { records: records.clone(), results: Vec::new() };
                for (output, keys) in results {
                    let results = self.results.get(vertex);
                    let Some(value) = results.and_then(|results| results.get(output)) else {
                        continue;
                    };
                    self.clock += 1;
                    let result = SavedResult {
                        created: self.clock,
                        id: format!("{}#{}", part.name, self.clock),
                    };
                    self.stored.insert(result.id.clone(), value.clone());
                    saving.results.extend(keys.iter().map(|key| (*key, result.clone())));
                }
                self.main().save(&saving);
                Event::Saved(id)
            }
        }
    }

    /// What an operation makes of these inputs.
    pub(crate) fn make(&self, part: &Part, output: usize, inputs: &[String]) -> String {
        let name = if output == 0 { part.key.clone() } else { format!("{}.{output}", part.key) };
        match self.makes.get(&name) {
            Some(made) => made.clone(),
            None if inputs.is_empty() => name,
            None => Digest::sha256(format!("{name}({})", inputs.join(","))).short().to_owned(),
        }
    }

    fn map(&self, part: &Part, number: usize) -> (CacheMap, bool) {
        let keys = self.maps.get(&part.key);
        let key = keys.map_or(&part.key, |keys| &keys[number]);
        let dep = |input: &PartInput| Dep {
            selector: input.part.as_ref().map(|part| PathSelector {
                digest: Digest::sha256(part),
                paths: vec![part.clone()],
            }),
            content: input.by_content.then(|| ContentQuery { selectors: Vec::new() }),
            preprocess: input.preprocess,
        };
        let map = CacheMap {
            digest: Digest::sha256(key),
            session_scoped: part.session_scoped,
            deps: part.inputs.iter().map(dep).collect(),
        };
        (map, keys.is_none_or(|keys| number + 1 == keys.len()))
    }

    /// Ends all tasks, the oldest first.
    pub(crate) fn run(&mut self) {
        while !self.open.is_empty() {
            self.step(0);
        }
    }

    /// Ends tasks until something was written down.
    pub(crate) fn run_until(&mut self, line: &str) {
        while !self.log.iter().any(|written| written == line) {
            assert!(!self.open.is_empty(), "`{line}` never happens: {:?}", self.log);
            self.step(0);
        }
    }

    /// Builds an output in a job of its own; what happened.
    pub(crate) fn build(&mut self, story: &Story, name: &str) -> String {
        let log = self.build_beside(story, name);
        self.is_at_rest();
        log
    }

    /// The same, while other jobs are there.
    pub(crate) fn build_beside(&mut self, story: &Story, name: &str) -> String {
        let job = 1_000_000 + self.next;
        self.request(story, job, name);
        self.run();
        self.close(job);
        self.run();
        self.take_log()
    }

    /// Checks that nothing is left.
    pub(crate) fn is_at_rest(&self) {
        assert!(self.scheduler.is_idle(), "nothing stays open: {:#?}", self.scheduler);
        assert_eq!(self.results.len(), 0, "nothing is held");
        assert_eq!(self.joined.len(), 0, "everything is left");
    }

    pub(crate) fn take_log(&mut self) -> String {
        std::mem::take(&mut self.log).join(", ")
    }
}
