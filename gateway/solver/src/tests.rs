//! Stories about what is done, told with a scripted engine that has no clock and no disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use expect_test::{Expect, expect};
use kiln_cache::{CacheDep, CacheKey, CacheMap, CacheRecord, CacheStore, MemoryStore};
use kiln_graph::{Edge, Entitlements, Graph, LoadContext};
use kiln_oci::{Digest, Platform};
use kiln_pb::pb;
use proptest::prelude::*;
use prost::Message;

use crate::{Action, Event, JobId, RequestId, Scheduler, TaskId, Work};

/// A graph from `image | lint: image | all: lint test`. A name ending in `!` ignores the cache, one
/// ending in `~` is volatile; an input written `x@` counts by content.
struct Story {
    graph: Arc<Graph>,
    names: BTreeMap<Digest, String>,
    by_content: BTreeSet<(String, usize)>,
}

impl Story {
    fn new(text: &str) -> Self {
        let mut definition = pb::Definition::default();
        let mut digests: BTreeMap<String, String> = BTreeMap::new();
        let mut by_content = BTreeSet::new();
        let mut last = String::new();
        for line in text.split('|') {
            let (name, inputs) = line.split_once(':').unwrap_or((line, ""));
            let name = name.trim();
            let mut op = pb::Op::default();
            for (number, input) in inputs.split_whitespace().enumerate() {
                if input.ends_with('@') {
                    by_content.insert((name.to_owned(), number));
                }
                let digest = digests[input.trim_end_matches('@')].clone();
                op.inputs.push(pb::Input { digest, index: 0 });
            }
            let merge = pb::MergeOp {
                inputs: (0..op.inputs.len()).map(|i| pb::MergeInput { input: i as i64 }).collect(),
            };
            op.op = Some(pb::op::Op::Merge(merge));
            op.constraints = Some(pb::WorkerConstraints { filter: vec![name.to_owned()] });
            let bytes = op.encode_to_vec();
            last = Digest::sha256(&bytes).to_string();
            definition.def.push(bytes.into());
            let description = [("llb.customname".to_owned(), name.to_owned())].into();
            let ignore_cache = name.ends_with('!');
            definition.metadata.insert(
                last.clone(),
                pb::OpMetadata { ignore_cache, description, ..Default::default() },
            );
            digests.insert(name.to_owned(), last.clone());
        }
        let terminal =
            pb::Op { inputs: vec![pb::Input { digest: last, index: 0 }], ..Default::default() };
        definition.def.push(terminal.encode_to_vec().into());
        let context = LoadContext {
            default_platform: Platform::new("linux", "amd64"),
            session: String::new(),
            entitlements: Entitlements::default(),
        };
        let graph = Arc::new(Graph::load(&definition, &context).unwrap());
        let names = graph.vertices().map(|v| (v.id.clone(), v.name.clone())).collect();
        Self { graph, names, by_content }
    }

    fn id(&self, name: &str) -> Digest {
        self.names.iter().find(|(_, n)| *n == name).map(|(id, _)| id.clone()).unwrap()
    }
}

/// Does what the scheduler says, at once or in any order, and writes down what happened.
struct Engine {
    scheduler: Scheduler<String>,
    cache: MemoryStore,
    /// Contents of volatile vertices; changing one is changing a user's file.
    contents: BTreeMap<String, String>,
    failing: BTreeSet<String>,
    broken_results: bool,
    open: Vec<(TaskId, Digest, Work)>,
    log: Vec<String>,
    finished: Vec<(RequestId, Result<(), String>)>,
    next: u64,
}

impl Engine {
    fn new() -> Self {
        Self {
            scheduler: Scheduler::new("run"),
            cache: MemoryStore::default(),
            contents: BTreeMap::new(),
            failing: BTreeSet::new(),
            broken_results: false,
            open: Vec::new(),
            log: Vec::new(),
            finished: Vec::new(),
            next: 0,
        }
    }

    fn want(&mut self, story: &Story, job: u64, name: &str) {
        self.next += 1;
        let edge = Edge { vertex: story.id(name), index: 0 };
        let graph = Arc::clone(&story.graph);
        self.hear(
            story,
            Event::Wanted { job: JobId(job), request: RequestId(self.next), graph, edge },
        );
    }

    fn hear(&mut self, story: &Story, event: Event<String>) {
        for action in self.scheduler.handle(event) {
            match action {
                Action::Start(task) => {
                    if let Work::Exec | Work::Load(_) = task.work {
                        let verb = if task.work == Work::Exec { "exec" } else { "load" };
                        self.log.push(format!("{verb} {}", story.names[&task.vertex]));
                    }
                    self.open.push((task.id, task.vertex, task.work));
                }
                Action::Cancel(id) => {
                    let cancelled = self.open.extract_if(.., |(task, ..)| *task == id);
                    for (_, vertex, work) in cancelled {
                        if work == Work::Exec {
                            self.log.push(format!("cancel {}", story.names[&vertex]));
                        }
                    }
                }
                Action::Cached(vertex) => self.log.push(format!("cached {}", story.names[&vertex])),
                Action::Forget(key) => self.cache.remove(&key),
                Action::Drop(_) => {}
                Action::Finish(request, result) => {
                    self.log.push(format!(
                        "finish {}",
                        result.as_ref().map_or_else(|e| e.clone(), |()| "ok".into())
                    ));
                    self.finished.push((request, result));
                }
            }
        }
    }

    /// Ends one open task.
    fn step(&mut self, story: &Story, which: usize) {
        let (task, vertex, work) = self.open.remove(which);
        let name = story.names[&vertex].clone();
        let event = match work {
            Work::Map => Event::Mapped(task, self.map(story, &vertex)),
            Work::Lookup(key) => Event::Found(task, self.cache.get(&key)),
            Work::Digest(input) => {
                let dep = &story.graph.vertex(&vertex).unwrap().inputs[input].vertex;
                let content = self.contents.get(&story.names[dep]).cloned().unwrap_or_default();
                Event::Digested(task, Digest::sha256(content))
            }
            Work::Load(_) if self.broken_results => Event::NotLoaded(task),
            Work::Load(_) => Event::Loaded(task),
            Work::Exec if self.failing.contains(&name) => {
                Event::Failed(task, format!("{name} failed"))
            }
            Work::Exec => Event::Executed(task, 1),
            Work::Save { key, also } => {
                self.cache.put(&record(&key, &name), also.as_ref());
                Event::Saved(task)
            }
            Work::Link { from } => {
                let found = self.scheduler.record(&vertex).cloned();
                if let Some(found) = found {
                    self.cache.put(&found, Some(&from));
                }
                Event::Saved(task)
            }
        };
        self.hear(story, event);
    }

    fn map(&self, story: &Story, vertex: &Digest) -> CacheMap {
        let vertex = story.graph.vertex(vertex).unwrap();
        let name = vertex.name.trim_end_matches('!');
        let mut map = CacheMap::new(Digest::sha256(name), vertex.inputs.len());
        for (number, dep) in map.deps.iter_mut().enumerate() {
            *dep = CacheDep {
                selector: None,
                by_content: story.by_content.contains(&(vertex.name.clone(), number)),
            };
        }
        map.volatile = name.ends_with('~');
        map
    }

    fn run(&mut self, story: &Story) {
        while !self.open.is_empty() {
            self.step(story, 0);
        }
    }

    fn build(&mut self, story: &Story, name: &str) -> String {
        self.next += 1;
        let job = self.next;
        self.want(story, job, name);
        self.run(story);
        self.hear(story, Event::Closed(JobId(job)));
        self.run(story);
        assert!(self.scheduler.is_idle(), "nothing stays open");
        std::mem::take(&mut self.log).join(", ")
    }
}

fn record(key: &CacheKey, name: &str) -> CacheRecord {
    CacheRecord {
        key: key.clone(),
        results: vec![Some(name.into())],
        description: name.into(),
        created: 0,
    }
}

fn check(actual: &str, expected: Expect) {
    expected.assert_eq(actual);
}

#[test]
fn a_shared_input_is_solved_once_and_never_again() {
    let story = Story::new("image | lint: image | test: image | all: lint test");
    let mut engine = Engine::new();
    check(
        &engine.build(&story, "all"),
        expect!["exec image, exec test, exec lint, exec all, finish ok"],
    );
    check(
        &engine.build(&story, "all"),
        expect!["cached all, cached test, cached image, cached lint, load all, finish ok"],
    );
}

#[test]
fn what_reads_by_content_does_not_run_again_when_the_content_is_the_same() {
    let story = Story::new("base | files~ | copy: base files~@ | run: copy");
    let mut engine = Engine::new();
    engine.contents.insert("files~".into(), "1".into());
    check(
        &engine.build(&story, "run"),
        expect!["exec files~, exec base, exec copy, exec run, finish ok"],
    );
    check(
        &engine.build(&story, "run"),
        expect!["exec files~, cached base, cached run, cached copy, load run, finish ok"],
    );
    engine.contents.insert("files~".into(), "2".into());
    check(
        &engine.build(&story, "run"),
        expect!["exec files~, cached base, load base, exec copy, exec run, finish ok"],
    );
    engine.contents.insert("files~".into(), "1".into());
    check(
        &engine.build(&story, "run"),
        expect!["exec files~, cached base, cached run, cached copy, load run, finish ok"],
    );
}

#[test]
fn a_vertex_that_ignores_the_cache_runs_and_so_does_what_reads_it() {
    let story = Story::new("image | make: image | test: make");
    let again = Story::new("image | make!: image | test: make!");
    let mut engine = Engine::new();
    engine.build(&story, "test");
    check(
        &engine.build(&again, "test"),
        expect!["cached image, load image, exec make!, exec test, finish ok"],
    );
}

#[test]
fn a_record_that_cannot_be_loaded_is_a_miss() {
    let story = Story::new("image | make: image");
    let mut engine = Engine::new();
    engine.build(&story, "make");
    engine.broken_results = true;
    check(
        &engine.build(&story, "make"),
        expect![
            "cached make, cached image, load make, load image, exec image, exec make, finish ok"
        ],
    );
    engine.broken_results = false;
    check(
        &engine.build(&story, "make"),
        expect!["cached make, cached image, load make, finish ok"],
    );
}

#[test]
fn a_failure_reaches_who_wanted_it_and_is_tried_again() {
    let story = Story::new("image | make: image | all: make");
    let mut engine = Engine::new();
    engine.failing.insert("make".into());
    check(&engine.build(&story, "all"), expect!["exec image, exec make, finish make failed"]);
    engine.failing.clear();
    check(
        &engine.build(&story, "all"),
        expect!["cached image, load image, exec make, exec all, finish ok"],
    );
}

#[test]
fn two_builds_share_a_running_vertex_and_cancelling_one_does_not_hurt_the_other() {
    let story = Story::new("image | make: image");
    let mut engine = Engine::new();
    engine.want(&story, 101, "make");
    engine.want(&story, 102, "make");
    while !engine.log.contains(&"exec make".to_owned()) {
        engine.step(&story, 0);
    }
    engine.hear(&story, Event::Closed(JobId(101)));
    engine.run(&story);
    engine.hear(&story, Event::Closed(JobId(102)));
    check(&engine.log.join(", "), expect!["exec image, exec make, finish ok"]);
    assert!(engine.scheduler.is_idle());
}

#[test]
fn the_last_build_to_go_cancels_what_runs() {
    let story = Story::new("image | make: image");
    let mut engine = Engine::new();
    engine.want(&story, 101, "make");
    while !engine.log.contains(&"exec make".to_owned()) {
        engine.step(&story, 0);
    }
    engine.hear(&story, Event::Closed(JobId(101)));
    engine.run(&story);
    check(&engine.log.join(", "), expect!["exec image, exec make, cancel make"]);
    assert!(engine.scheduler.is_idle());
}

#[test]
fn equal_content_is_made_once_even_from_two_definitions() {
    let story = Story::new("a~ | b~ | one: a~@ | two: b~@ | all: one two");
    let mut engine = Engine::new();
    // `one` and `two` do the same thing to equal files.
    let same = |map: &mut CacheMap| map.digest = Digest::sha256("same");
    engine.want(&story, 1, "all");
    while !engine.open.is_empty() {
        let (task, vertex, work) = engine.open[0].clone();
        match (&work, story.names[&vertex].as_str()) {
            (Work::Map, "one" | "two") => {
                engine.open.remove(0);
                let mut map = engine.map(&story, &vertex);
                same(&mut map);
                engine.hear(&story, Event::Mapped(task, map));
            }
            _ => engine.step(&story, 0),
        }
    }
    check(
        &engine.log.join(", "),
        expect!["exec a~, exec b~, exec one, cached two, load two, exec all, finish ok"],
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever the graph and whatever the order of events: a vertex runs at most once, every wish
    /// is answered, a second build runs nothing, and nothing stays open.
    #[test]
    fn every_order_of_events_keeps_the_promises(
        shape in prop::collection::vec((prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..4), any::<bool>()), 1..12),
        order in prop::collection::vec(any::<prop::sample::Index>(), 400),
        fail in prop::option::of(any::<prop::sample::Index>()),
        cancel_at in prop::option::of(0usize..60),
    ) {
        let mut lines: Vec<String> = Vec::new();
        let mut names: Vec<String> = Vec::new();
        for (number, (inputs, volatile)) in shape.iter().enumerate() {
            let name = format!("v{number}{}", if *volatile && inputs.is_empty() { "~" } else { "" });
            let mut line = format!("{name}:");
            for (index, by_content) in inputs.iter().filter(|_| number > 0) {
                line.push_str(&format!(" {}{}", names[index.index(number)], if *by_content { "@" } else { "" }));
            }
            lines.push(line);
            names.push(name);
        }
        let story = Story::new(&lines.join(" | "));
        let root = names.last().unwrap().clone();
        let mut engine = Engine::new();
        if let Some(fail) = fail {
            engine.failing.insert(names[fail.index(names.len())].clone());
        }
        engine.want(&story, 1, &root);
        engine.want(&story, 2, &root);
        let mut steps = 0;
        while !engine.open.is_empty() {
            if cancel_at == Some(steps) {
                engine.hear(&story, Event::Closed(JobId(1)));
                if engine.open.is_empty() { break; }
            }
            let which = order.get(steps).map_or(0, |index| index.index(engine.open.len()));
            engine.step(&story, which);
            steps += 1;
            prop_assert!(steps < 5000, "the build does not end");
        }
        for name in &names {
            let runs = engine.log.iter().filter(|line| **line == format!("exec {name}")).count();
            let cancels = engine.log.iter().filter(|line| **line == format!("cancel {name}")).count();
            prop_assert!(runs <= 1 + cancels, "{name} ran {runs} times: {:?}", engine.log);
        }
        prop_assert!(engine.finished.iter().any(|(request, _)| *request == RequestId(2)), "{:?}", engine.log);
        engine.hear(&story, Event::Closed(JobId(1)));
        engine.hear(&story, Event::Closed(JobId(2)));
        engine.run(&story);
        prop_assert!(engine.scheduler.is_idle(), "something stays open");
        if fail.is_none() {
            engine.log.clear();
            let again = engine.build(&story, &root);
            let ran: Vec<_> = again.split(", ").filter(|line| line.starts_with("exec") && !line.ends_with('~')).collect();
            // What depends on volatile files other than by content is different work each time.
            if !lines.iter().any(|line| line.contains('~')) {
                prop_assert!(ran.is_empty(), "{again}");
            }
        }
    }
}
