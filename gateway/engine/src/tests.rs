//! Stories about whole builds, with a worker whose results are numbers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kiln_cache::{CacheKey, CacheStore, LinkStore, MemoryKeyValue, SavedRecord, Saving};
use kiln_graph::{Edge, Entitlements, Graph, LoadContext, Vertex};
use kiln_keys::{CacheMap, ContentQuery};
use kiln_oci::{Digest, Platform};
use kiln_progress::{Progress, Receiver, Sender};
use kiln_wire::pb;
use prost::Message;
use tokio::sync::Notify;

use crate::{
    Content, Engine, EngineOptions, ErrorKind, ExecError, Fate, Job, JobContext, JobOptions, Keyed,
    OpError, Operator, Operators, Output, Subject,
};

/// What an operation does besides adding one to the sum of its inputs, by its name:
/// `bad` fails, `gated` waits for the gate, `flaky` fails behind it the first time, `hangs` never
/// ends, `looks` reads its first input by content, `blind` cannot read it.
#[derive(Default)]
struct World {
    runs: AtomicUsize,
    gate: Notify,
    started: Notify,
    saved: Mutex<BTreeMap<String, u64>>,
}

struct Adder(Arc<World>);

struct Add {
    vertex: Arc<Vertex>,
    world: Arc<World>,
}

#[async_trait]
impl Operator<u64> for Add {
    async fn cache_map(&self, _: &JobContext, _: usize) -> Result<Keyed, OpError> {
        if self.vertex.name == "unkeyed" {
            return Err(OpError::new(ErrorKind::NotFound, "no such image"));
        }
        let digest = match self.vertex.name.as_str() {
            "looks" => Digest::sha256("looks"),
            _ => self.vertex.digest.clone(),
        };
        let mut map = CacheMap::plain(digest, self.vertex.inputs.len());
        if ["looks", "blind"].contains(&self.vertex.name.as_str()) {
            map.deps[0].content = Some(ContentQuery { selectors: Vec::new() });
        }
        Ok(map.into())
    }

    async fn content(
        &self,
        _: &JobContext,
        _: usize,
        _: &ContentQuery,
        result: &Output<u64>,
    ) -> Result<Content, OpError> {
        match self.vertex.name.as_str() {
            "blind" => Err(OpError::new(ErrorKind::NotFound, "\"/file\": not found")),
            _ => Ok(Digest::sha256(result.unwrap_or_default().to_string()).into()),
        }
    }

    async fn exec(
        &self,
        _: &JobContext,
        inputs: Vec<Output<u64>>,
    ) -> Result<Vec<Output<u64>>, ExecError<u64>> {
        self.world.runs.fetch_add(1, Ordering::SeqCst);
        self.world.started.notify_one();
        match self.vertex.name.as_str() {
            "gated" => self.world.gate.notified().await,
            "hangs" => std::future::pending().await,
            "bad" => {
                let error = OpError::new(ErrorKind::Failed, "exit code: 1");
                return Err(ExecError { error, mounts: vec![Some(7)] });
            }
            "flaky" if self.world.runs.load(Ordering::SeqCst) == 1 => {
                self.world.gate.notified().await;
                return Err(OpError::new(ErrorKind::Unavailable, "the client is gone").into());
            }
            "nothing" => return Ok(vec![None]),
            _ => {}
        }
        Ok(vec![Some(1 + inputs.into_iter().flatten().sum::<u64>())])
    }
}

#[async_trait]
impl Operators<u64> for Adder {
    fn operator(&self, vertex: &Arc<Vertex>) -> Result<Arc<dyn Operator<u64>>, OpError> {
        Ok(Arc::new(Add { vertex: Arc::clone(vertex), world: Arc::clone(&self.0) }))
    }

    async fn save(&self, _: &Vertex, results: &[u64]) -> Result<Vec<String>, OpError> {
        let mut saved = self.0.saved.lock().unwrap();
        let save = |value: &u64| {
            let id = format!("{value}#{}", saved.len());
            saved.insert(id.clone(), *value);
            id
        };
        Ok(results.iter().map(save).collect())
    }

    async fn load(&self, _: &JobContext, saved: &str) -> Option<u64> {
        self.0.saved.lock().unwrap().get(saved).copied()
    }
}

/// A graph of operations: names with the numbers of those they read. The last one is its result.
fn graph(operations: &[(&str, &[usize])]) -> (Arc<Graph>, Edge) {
    let mut definition = pb::Definition::default();
    let mut digests: Vec<String> = Vec::new();
    for (name, inputs) in operations {
        let numbers = (0..inputs.len()).map(|input| pb::MergeInput { input: input as i64 });
        let op = pb::Op {
            inputs: inputs
                .iter()
                .map(|input| pb::Input { digest: digests[*input].clone(), index: 0 })
                .collect(),
            op: Some(pb::op::Op::Merge(pb::MergeOp { inputs: numbers.collect() })),
            constraints: Some(pb::WorkerConstraints { filter: vec![(*name).to_owned()] }),
            ..Default::default()
        };
        let bytes = op.encode_to_vec();
        let digest = Digest::sha256(&bytes).to_string();
        let description = [("llb.customname".to_owned(), (*name).to_owned())].into();
        definition
            .metadata
            .insert(digest.clone(), pb::OpMetadata { description, ..Default::default() });
        definition.def.push(bytes.into());
        digests.push(digest);
    }
    let input = pb::Input { digest: digests.pop().unwrap(), index: 0 };
    let terminal = pb::Op { inputs: vec![input], ..Default::default() };
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
    let edge = graph.root().unwrap().clone();
    (graph, edge)
}

/// A chain of operations with these names.
fn chain(names: &[&str]) -> (Arc<Graph>, Edge) {
    let inputs: Vec<Vec<usize>> =
        (0..names.len()).map(|number| number.checked_sub(1).into_iter().collect()).collect();
    let operations: Vec<(&str, &[usize])> =
        names.iter().copied().zip(inputs.iter().map(Vec::as_slice)).collect();
    graph(&operations)
}

fn engine() -> (Engine<u64>, Arc<World>) {
    let world = Arc::new(World::default());
    (start(&world, LinkStore::new(MemoryKeyValue::default())), world)
}

fn start(world: &Arc<World>, cache: LinkStore<MemoryKeyValue>) -> Engine<u64> {
    let operators = Arc::new(Adder(Arc::clone(world)));
    Engine::start(operators, Arc::new(cache), &EngineOptions::default())
}

fn job(engine: &Engine<u64>) -> Job<u64> {
    engine.open(JobOptions::default())
}

/// A job that is watched.
fn watched(engine: &Engine<u64>) -> (Job<u64>, Receiver) {
    let (sender, receiver) = kiln_progress::channel();
    (engine.open(JobOptions::new("", sender)), receiver)
}

/// What was shown of vertices once they had started, as `name: how it ended`.
async fn shown(mut watched: Receiver) -> Vec<String> {
    let mut shown = BTreeMap::new();
    while let Some(progress) = watched.recv().await {
        let Progress::Vertex(vertex) = progress else { continue };
        let end = match (vertex.started, vertex.completed) {
            _ if vertex.cached => "cached",
            (None, _) => continue,
            (_, None) => "started",
            _ if vertex.error.is_empty() => "done",
            _ => &vertex.error,
        };
        shown.insert(vertex.name, end.to_owned());
    }
    shown.into_iter().map(|(name, end)| format!("{name}: {end}")).collect()
}

#[tokio::test]
async fn a_second_build_runs_nothing_and_says_so() {
    let (engine, world) = engine();
    let (graph, edge) = chain(&["one", "two", "three"]);
    let (first, watching) = watched(&engine);
    assert_eq!(first.solve(Arc::clone(&graph), edge.clone()).await.unwrap(), Some(3));
    engine.flush().await;
    drop(first);
    assert_eq!(shown(watching).await, ["one: done", "three: done", "two: done"]);
    let (second, watching) = watched(&engine);
    assert_eq!(second.solve(graph, edge).await.unwrap(), Some(3));
    assert_eq!(world.runs.load(Ordering::SeqCst), 3);
    drop(second);
    assert_eq!(shown(watching).await, ["one: cached", "three: cached", "two: cached"]);
}

#[tokio::test]
async fn an_empty_result_is_cached_like_others() {
    let (engine, world) = engine();
    let (graph, edge) = chain(&["one", "nothing"]);
    for _ in 0..2 {
        let job = job(&engine);
        assert_eq!(job.solve(Arc::clone(&graph), edge.clone()).await.unwrap(), None);
        engine.flush().await;
    }
    assert_eq!(world.runs.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn two_builds_at_once_run_a_vertex_once_and_both_see_it() {
    let (engine, world) = engine();
    let (graph, edge) = chain(&["one", "gated"]);
    let ((a, watching_a), (b, watching_b)) = (watched(&engine), watched(&engine));
    let both = async {
        tokio::join!(a.solve(Arc::clone(&graph), edge.clone()), b.solve(Arc::clone(&graph), edge))
    };
    let open = async {
        world.started.notified().await;
        world.started.notified().await;
        world.gate.notify_one();
    };
    let (both, ()) = tokio::join!(both, open);
    assert_eq!((both.0.unwrap(), both.1.unwrap()), (Some(2), Some(2)));
    assert_eq!(world.runs.load(Ordering::SeqCst), 2);
    drop((a, b));
    assert_eq!(shown(watching_a).await, ["gated: done", "one: done"]);
    assert_eq!(shown(watching_b).await, ["gated: done", "one: done"]);
}

#[tokio::test]
async fn a_failure_names_the_vertex_and_what_it_was_done_on() {
    let (engine, _) = engine();
    let (graph, edge) = chain(&["one", "bad", "three"]);
    let (job, watching) = watched(&engine);
    let error = job.solve(graph, edge).await.unwrap_err();
    assert_eq!(error.vertex.as_ref().unwrap().name, "bad");
    assert_eq!(error.to_string(), "exit code: 1");
    assert_eq!((error.inputs, error.mounts), (vec![Some(1)], vec![Some(7)]));
    drop(job);
    assert_eq!(shown(watching).await, ["bad: exit code: 1", "one: done"]);
}

#[tokio::test]
async fn a_failure_is_remembered_by_its_job_and_tried_again_by_the_next() {
    let (engine, world) = engine();
    let (graph, edge) = chain(&["one", "bad", "three"]);
    let first = job(&engine);
    for _ in 0..2 {
        first.solve(Arc::clone(&graph), edge.clone()).await.unwrap_err();
    }
    assert_eq!(world.runs.load(Ordering::SeqCst), 2, "one and bad");
    job(&engine).solve(graph, edge).await.unwrap_err();
    assert_eq!(world.runs.load(Ordering::SeqCst), 3, "bad again");
}

#[tokio::test]
async fn what_cannot_be_keyed_or_looked_into_says_which_input() {
    let (engine, _) = engine();
    let (graph, edge) = chain(&["one", "blind"]);
    let error = job(&engine).solve(graph, edge).await.unwrap_err();
    assert_eq!(error.to_string(), "failed to compute cache key: \"/file\": not found");
    assert_eq!(error.error.subject, Some(Subject::Content(0)));
    assert_eq!((error.error.kind, error.inputs), (ErrorKind::NotFound, vec![Some(1)]));
    let (graph, edge) = chain(&["unkeyed", "two"]);
    let error = job(&engine).solve(graph, edge).await.unwrap_err();
    assert_eq!(error.to_string(), "failed to load cache key: no such image");
    assert_eq!(error.vertex.unwrap().name, "unkeyed");
}

#[tokio::test]
async fn what_is_read_by_content_is_found_by_content() {
    let (engine, world) = engine();
    let (first, edge) = chain(&["one", "looks"]);
    assert_eq!(job(&engine).solve(first, edge).await.unwrap(), Some(2));
    engine.flush().await;
    // Another way to the number one.
    let (second, edge) = chain(&["uno", "looks"]);
    let (second_job, watching) = watched(&engine);
    assert_eq!(second_job.solve(second, edge).await.unwrap(), Some(2));
    assert_eq!(world.runs.load(Ordering::SeqCst), 3);
    drop(second_job);
    assert_eq!(shown(watching).await, ["looks: cached", "uno: done"]);
}

#[tokio::test]
async fn dropping_the_only_job_cancels_what_runs() {
    let (engine, world) = engine();
    let (graph, edge) = chain(&["hangs"]);
    let (job, watching) = watched(&engine);
    tokio::select! {
        _ = job.solve(graph, edge) => panic!("it never ends"),
        () = world.started.notified() => {}
    }
    drop(job);
    assert_eq!(shown(watching).await, ["hangs: context canceled"]);
    assert_eq!(world.runs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_was_interrupted_by_who_left_goes_on_for_who_stays() {
    let (engine, world) = engine();
    let (graph, edge) = chain(&["flaky"]);
    let (leaves, stays) = (job(&engine), job(&engine));
    tokio::select! {
        _ = leaves.solve(Arc::clone(&graph), edge.clone()) => panic!("the gate is closed"),
        () = world.started.notified() => {}
    }
    let leave = async {
        // It has joined before this message is taken in.
        engine.flush().await;
        drop(leaves);
        engine.flush().await;
        world.gate.notify_one();
    };
    let (solved, ()) = tokio::join!(stays.solve(Arc::clone(&graph), edge.clone()), leave);
    assert_eq!(solved.unwrap(), Some(1));
    assert_eq!(world.runs.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_is_interrupted_although_everyone_stays_has_failed() {
    let (engine, world) = engine();
    let (graph, edge) = chain(&["flaky"]);
    world.gate.notify_one();
    let error = job(&engine).solve(graph, edge).await.unwrap_err();
    assert_eq!(error.to_string(), "the client is gone");
}

#[tokio::test]
async fn a_job_may_bring_a_cache_of_its_own() {
    let world = Arc::new(World::default());
    let (graph, edge) = chain(&["one", "two"]);
    let cache = Arc::new(LinkStore::new(MemoryKeyValue::default()));
    // The cache has the result of a build elsewhere, which is reached over its input alone.
    let key = |number: usize| {
        let vertex = graph.vertices().nth(number).unwrap();
        CacheKey::operation(&CacheMap::plain(vertex.digest.clone(), vertex.inputs.len()), 0)
    };
    let input = kiln_cache::InputKey { record: key(0), selector: None };
    let two = CacheKey::derived(key(1), &[vec![input]]);
    let record = SavedRecord { key: two, operation: key(1), inputs: vec![(0, input)] };
    let result = kiln_cache::SavedResult { created: 1, id: "elsewhere".into() };
    cache.save(&Saving { records: vec![record], results: vec![(two, result)] });
    world.saved.lock().unwrap().insert("elsewhere".into(), 42);
    let engine = start(&world, LinkStore::new(MemoryKeyValue::default()));
    let options = JobOptions { caches: vec![cache], ..JobOptions::default() };
    let with = engine.open(options);
    assert_eq!(with.solve(Arc::clone(&graph), edge.clone()).await.unwrap(), Some(42));
    engine.flush().await;
    drop(with);
    // What it gave is in the engine's own cache now.
    assert_eq!(job(&engine).solve(graph, edge).await.unwrap(), Some(42));
    assert_eq!(world.runs.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_way_to_a_result_is_in_the_cache() {
    let world = Arc::new(World::default());
    let cache = Arc::new(LinkStore::new(MemoryKeyValue::default()));
    let operators = Arc::new(Adder(Arc::clone(&world)));
    let engine = Engine::start(operators, Arc::clone(&cache) as _, &EngineOptions::default());
    let (graph, edge) = chain(&["one", "two"]);
    let job = job(&engine);
    job.solve(graph, edge.clone()).await.unwrap();
    engine.flush().await;
    let trail = job.trail(edge).await;
    let names: Vec<&str> = trail.iter().map(|step| step.vertex.name.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
    let records: Vec<_> = trail.into_iter().flat_map(|step| step.records).collect();
    let graph = cache.export(&records).unwrap();
    let results: Vec<usize> = graph.records.iter().map(|record| record.results.len()).collect();
    assert_eq!(results, [1, 1]);
}

#[tokio::test]
async fn asking_for_what_a_graph_does_not_have_is_an_error() {
    let (engine, _) = engine();
    let (graph, _) = chain(&["one"]);
    let (_, elsewhere) = chain(&["two"]);
    let error = job(&engine).solve(graph, elsewhere).await.unwrap_err();
    assert_eq!((error.error.kind, error.vertex.is_none()), (ErrorKind::Invalid, true));
}

/// A chain that is long and a vertex that is wide, cold and cached, while a small build is there.
#[tokio::test]
async fn large_graphs_are_built_and_found_again() {
    const SIZE: usize = 3_000;
    let (engine, world) = engine();
    let names: Vec<String> = (0..SIZE).map(|number| format!("step {number}")).collect();
    let long = chain(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let all: Vec<usize> = (0..SIZE).collect();
    let inputs = names.iter().map(|name| (name.as_str(), [].as_slice()));
    let wide = graph(&inputs.chain([("all", all.as_slice())]).collect::<Vec<_>>());
    let small = chain(&["small"]);
    for _ in 0..2 {
        let solve = |(graph, edge): &(Arc<Graph>, Edge)| {
            let (job, graph, edge) = (job(&engine), Arc::clone(graph), edge.clone());
            async move { job.solve(graph, edge).await.unwrap().unwrap() }
        };
        let built = tokio::join!(solve(&long), solve(&wide), solve(&small));
        assert_eq!(built, (SIZE as u64, SIZE as u64 + 1, 1));
        engine.flush().await;
    }
    // The first step is the same in both.
    assert_eq!(world.runs.load(Ordering::SeqCst), 2 * SIZE + 1);
}

#[test]
fn an_error_about_nothing_has_no_vertex() {
    let error = crate::SolveError::<u64>::new(None, OpError::new(ErrorKind::Invalid, "no"));
    assert_eq!(format!("{error} {error:?}").matches("no").count(), 2);
    let sender = Sender::default();
    assert!(format!("{:?}", JobOptions::new("session", sender)).contains("session"));
}

#[tokio::test]
async fn what_ran_is_accounted_for_with_its_inputs_and_a_build_without_it_has_no_account() {
    let (engine, _) = engine();
    let (graph, edge) = chain(&["one", "looks"]);
    let first = job(&engine);
    first.solve(Arc::clone(&graph), edge.clone()).await.unwrap();
    let account = first.account().await;
    let names: Vec<_> = account.iter().map(|one| (one.vertex.name.as_str(), one.fate)).collect();
    assert_eq!(names, [("one", Fate::Ran), ("looks", Fate::Ran)]);
    let [input] = &account[1].inputs[..] else { panic!("{account:?}") };
    assert_eq!(input.edge.vertex, account[0].vertex.id);
    assert_eq!(input.content, Some(Digest::sha256("1")));
    assert_eq!(account[1].results[&0], Some(2));
    assert!(account.iter().all(|one| one.maps.len() == 1 && !one.was_found));
    engine.flush().await;
    drop(first);
    let second = job(&engine);
    second.solve(graph, edge).await.unwrap();
    assert!(second.account().await.is_empty());
}

#[tokio::test]
async fn a_step_that_failed_is_accounted_for_and_what_waited_for_it_did_not_run() {
    let (engine, _) = engine();
    let (graph, edge) = chain(&["one", "bad", "three"]);
    let job = job(&engine);
    job.solve(graph, edge).await.unwrap_err();
    let account = job.account().await;
    let fates: Vec<_> = account.iter().map(|one| (one.fate, one.has_run)).collect();
    assert_eq!(fates, [(Fate::Ran, true), (Fate::Failed, true), (Fate::Failed, false)]);
}
