//! Stories about whole builds, with a worker whose results are numbers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use kiln_cache::{CacheMap, MemoryStore};
use kiln_graph::{Edge, Entitlements, Graph, LoadContext, Vertex};
use kiln_oci::{Digest, Platform};
use kiln_progress::Progress;
use kiln_wire::pb;
use prost::Message;

use crate::{Engine, EngineOptions, ErrorKind, JobContext, OpError, Operator, Operators, Output};

/// Adds one to the sum of its inputs; `slow` takes a while, `bad` fails.
#[derive(Default)]
struct Adder {
    runs: Arc<AtomicUsize>,
    saved: Mutex<BTreeMap<String, u64>>,
}

struct Add {
    vertex: Arc<Vertex>,
    runs: Arc<AtomicUsize>,
}

#[async_trait]
impl Operator<u64> for Add {
    async fn cache_map(&self, _: &JobContext) -> Result<CacheMap, OpError> {
        Ok(CacheMap::new(self.vertex.digest.clone(), self.vertex.inputs.len()))
    }

    async fn content(
        &self,
        _: &JobContext,
        _: usize,
        result: &Output<u64>,
    ) -> Result<Digest, OpError> {
        Ok(Digest::sha256(result.unwrap_or_default().to_string()))
    }

    async fn exec(
        &self,
        _: &JobContext,
        inputs: Vec<Output<u64>>,
    ) -> Result<Vec<Output<u64>>, OpError> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        match self.vertex.name.as_str() {
            "slow" => tokio::time::sleep(Duration::from_millis(50)).await,
            "hangs" => std::future::pending().await,
            "bad" => return Err(OpError::new(ErrorKind::Failed, "exit code: 1")),
            _ => {}
        }
        Ok(vec![Some(1 + inputs.into_iter().flatten().sum::<u64>())])
    }
}

#[async_trait]
impl Operators<u64> for Adder {
    fn operator(&self, vertex: &Arc<Vertex>) -> Result<Arc<dyn Operator<u64>>, OpError> {
        Ok(Arc::new(Add { vertex: Arc::clone(vertex), runs: Arc::clone(&self.runs) }))
    }

    async fn save(
        &self,
        _: &Vertex,
        results: &[Output<u64>],
    ) -> Result<Vec<Option<String>>, OpError> {
        let text = |value: &u64| value.to_string();
        self.saved
            .lock()
            .unwrap()
            .extend(results.iter().flatten().map(|value| (text(value), *value)));
        Ok(results.iter().map(|result| result.as_ref().map(text)).collect())
    }

    async fn load(&self, saved: &str) -> Option<u64> {
        self.saved.lock().unwrap().get(saved).copied()
    }
}

/// A chain of operations with these names.
fn chain(names: &[&str]) -> (Arc<Graph>, Edge) {
    let mut definition = pb::Definition::default();
    let mut last: Option<pb::Input> = None;
    for name in names {
        let merge =
            pb::MergeOp { inputs: last.iter().map(|_| pb::MergeInput { input: 0 }).collect() };
        let op = pb::Op {
            inputs: last.into_iter().collect(),
            op: Some(pb::op::Op::Merge(merge)),
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
        last = Some(pb::Input { digest, index: 0 });
    }
    let terminal = pb::Op { inputs: last.into_iter().collect(), ..Default::default() };
    definition.def.push(terminal.encode_to_vec().into());
    let context = LoadContext {
        default_platform: Platform::new("linux", "amd64"),
        session: String::new(),
        entitlements: Entitlements::default(),
    };
    let graph = Arc::new(Graph::load(&definition, &context).unwrap());
    let edge = graph.root().unwrap().clone();
    (graph, edge)
}

fn engine() -> (Engine<u64>, Arc<AtomicUsize>) {
    let adder = Adder::default();
    let runs = Arc::clone(&adder.runs);
    let options = EngineOptions { max_parallelism: None, unique: "run".into() };
    (Engine::start(Arc::new(adder), Arc::new(MemoryStore::default()), options), runs)
}

#[tokio::test]
async fn a_second_build_runs_nothing_and_says_so() {
    let (engine, runs) = engine();
    let (graph, edge) = chain(&["one", "two", "three"]);
    let first = engine.open("", kiln_progress::Sender::default());
    assert_eq!(first.solve(Arc::clone(&graph), edge.clone()).await.unwrap(), Some(3));
    engine.flush().await;
    drop(first);
    let (sender, mut watched) = kiln_progress::channel();
    let second = engine.open("", sender);
    assert_eq!(second.solve(graph, edge).await.unwrap(), Some(3));
    assert_eq!(runs.load(Ordering::SeqCst), 3);
    drop(second);
    engine.flush().await;
    let mut cached = Vec::new();
    while let Ok(progress) = watched.try_recv() {
        if let Progress::Vertex(vertex) = progress
            && vertex.cached
        {
            cached.push(vertex.name);
        }
    }
    cached.sort();
    assert_eq!(cached, ["one", "three", "two"]);
}

#[tokio::test]
async fn two_builds_at_once_run_a_vertex_once() {
    let (engine, runs) = engine();
    let (graph, edge) = chain(&["one", "slow"]);
    let (a, b) = (engine.open("a", Default::default()), engine.open("b", Default::default()));
    let both = tokio::join!(a.solve(Arc::clone(&graph), edge.clone()), b.solve(graph, edge));
    assert_eq!((both.0.unwrap(), both.1.unwrap()), (Some(2), Some(2)));
    assert_eq!(runs.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_failure_names_the_vertex_and_is_tried_again() {
    let (engine, runs) = engine();
    let (graph, edge) = chain(&["one", "bad", "three"]);
    let job = engine.open("", Default::default());
    for _ in 0..2 {
        let error = job.solve(Arc::clone(&graph), edge.clone()).await.unwrap_err();
        assert_eq!(
            (error.vertex.name.as_str(), error.to_string().as_str()),
            ("bad", "exit code: 1")
        );
    }
    assert_eq!(runs.load(Ordering::SeqCst), 3, "one, bad, and bad again");
}

#[tokio::test]
async fn dropping_the_only_job_cancels_what_runs() {
    let (engine, runs) = engine();
    let (graph, edge) = chain(&["hangs"]);
    let (sender, mut watched) = kiln_progress::channel();
    let job = engine.open("", sender);
    let waiting = tokio::time::timeout(Duration::from_millis(50), job.solve(graph, edge)).await;
    assert!(waiting.is_err());
    drop(job);
    engine.flush().await;
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    let mut last = None;
    while let Ok(Progress::Vertex(vertex)) = watched.try_recv() {
        last = Some(vertex.error);
    }
    assert_eq!(last.as_deref(), Some("context canceled"));
}
