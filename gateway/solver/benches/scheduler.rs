//! The scheduler alone, with a cache in memory and tasks that end at once: what deciding costs.
//!
//! A chain of ten thousand vertices and a vertex with ten thousand inputs, each built cold and with
//! everything in the cache. `cargo bench -p kiln-solver`.

use std::collections::BTreeMap;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use kiln_cache::{CacheSource, CacheStore, LinkStore, MemoryKeyValue, SavedResult, Saving};
use kiln_graph::{Edge, Entitlements, Graph, LoadContext};
use kiln_keys::CacheMap;
use kiln_oci::{Digest, Platform};
use kiln_pb::pb;
use kiln_solver::{Action, Answers, Event, JobId, RequestId, Scheduler, SourceId, Task, Work};
use prost::Message;

const SIZE: usize = 10_000;

fn main() {
    divan::main();
}

/// A definition under construction.
#[derive(Default)]
struct Definition(pb::Definition);

impl Definition {
    /// Adds a merge of earlier ops; its digest.
    fn add(&mut self, name: usize, inputs: &[String]) -> String {
        let numbers = (0..inputs.len()).map(|input| pb::MergeInput { input: input as i64 });
        let op = pb::Op {
            inputs: inputs
                .iter()
                .map(|digest| pb::Input { digest: digest.clone(), index: 0 })
                .collect(),
            op: Some(pb::op::Op::Merge(pb::MergeOp { inputs: numbers.collect() })),
            constraints: Some(pb::WorkerConstraints { filter: vec![name.to_string()] }),
            ..Default::default()
        };
        let bytes = op.encode_to_vec();
        let digest = Digest::sha256(&bytes).to_string();
        self.0.def.push(bytes.into());
        digest
    }

    fn load(mut self, root: String) -> (Arc<Graph>, Edge) {
        let input = pb::Input { digest: root, index: 0 };
        let terminal = pb::Op { inputs: vec![input], ..Default::default() };
        self.0.def.push(terminal.encode_to_vec().into());
        let context = LoadContext {
            default_platform: Platform::new("linux", "amd64"),
            session: String::new(),
            lenders: BTreeMap::new(),
            entitlements: Entitlements::default(),
            devices: None,
            proxy_network: None,
        };
        let graph = Arc::new(Graph::load(&self.0, &context).expect("the graph loads"));
        let edge = graph.root().expect("it has a root").clone();
        (graph, edge)
    }
}

fn chain() -> (Arc<Graph>, Edge) {
    let mut definition = Definition::default();
    let mut last = Vec::new();
    for number in 0..SIZE {
        last = vec![definition.add(number, &last)];
    }
    definition.load(last.remove(0))
}

fn fan_in() -> (Arc<Graph>, Edge) {
    let mut definition = Definition::default();
    let inputs: Vec<String> = (0..SIZE).map(|number| definition.add(number, &[])).collect();
    let all = definition.add(SIZE, &inputs);
    definition.load(all)
}

/// Builds a graph in a job of its own, and lets go of it.
fn build(cache: &LinkStore<MemoryKeyValue>, (graph, edge): &(Arc<Graph>, Edge)) {
    let mut scheduler = Scheduler::<()>::default();
    let (job, request) = (JobId(1), RequestId(1));
    let (graph, edge) = (Arc::clone(graph), edge.clone());
    scheduler.handle(Event::Requested { job, request, graph: Arc::clone(&graph), edge });
    let mut open = Vec::new();
    let mut is_finished = false;
    while scheduler.is_busy() || !open.is_empty() {
        for action in scheduler.run(usize::MAX) {
            match action {
                Action::Start(task) => open.push(task),
                Action::Finish(_, result) => {
                    is_finished = true;
                    assert!(result.is_ok());
                    scheduler.handle(Event::Closed(job));
                }
                _ => {}
            }
        }
        if let Some(task) = open.pop() {
            scheduler.handle(end(cache, &graph, task));
        }
    }
    assert!(is_finished && scheduler.is_idle());
}

fn end(cache: &LinkStore<MemoryKeyValue>, graph: &Graph, task: Task) -> Event<()> {
    let id = task.id;
    match task.work {
        Work::Map(_) => {
            let vertex = graph.vertex(&task.vertex).expect("the vertex is in the graph");
            Event::Mapped(id, CacheMap::plain(vertex.digest.clone(), vertex.inputs.len()), true)
        }
        Work::LookUp(lookup) => {
            let mut answer = cache.look_up(&lookup);
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            let std::task::Poll::Ready(answer) = answer.as_mut().poll(&mut context) else {
                unreachable!("memory answers at once")
            };
            let records = answer.records.into_iter().map(|record| (SourceId::MAIN, record));
            Event::LookedUp(id, Answers { records: records.collect(), linked: answer.linked })
        }
        Work::Prepare { .. } => Event::Prepared(id, None),
        Work::Load { .. } => Event::Loaded(id),
        Work::Exec(_) => Event::Executed(id, 1),
        Work::Save { records, results, .. } => {
            let result = SavedResult { created: 1, id: task.vertex.to_string() };
            let keys = results.into_iter().flat_map(|(_, keys)| keys);
            let results = keys.map(|key| (key, result.clone())).collect();
            cache.save(&Saving { records, results });
            Event::Saved(id)
        }
    }
}

fn cold(bencher: Bencher<'_, '_>, graph: &(Arc<Graph>, Edge)) {
    bencher
        .counter(ItemsCount::new(SIZE))
        .with_inputs(|| LinkStore::new(MemoryKeyValue::default()))
        .bench_refs(|cache| build(cache, graph));
}

fn cached(bencher: Bencher<'_, '_>, graph: &(Arc<Graph>, Edge)) {
    let cache = LinkStore::new(MemoryKeyValue::default());
    build(&cache, graph);
    bencher.counter(ItemsCount::new(SIZE)).bench_local(|| build(&cache, graph));
}

#[divan::bench(sample_count = 10)]
fn chain_cold(bencher: Bencher<'_, '_>) {
    cold(bencher, &chain());
}

#[divan::bench(sample_count = 10)]
fn chain_cached(bencher: Bencher<'_, '_>) {
    cached(bencher, &chain());
}

#[divan::bench(sample_count = 10)]
fn fan_in_cold(bencher: Bencher<'_, '_>) {
    cold(bencher, &fan_in());
}

#[divan::bench(sample_count = 10)]
fn fan_in_cached(bencher: Bencher<'_, '_>) {
    cached(bencher, &fan_in());
}
