//! The task that owns the scheduler: actions go out as tasks, their ends come back as events.
//!
//! Everything the driver knows is changed here and nowhere else, one message at a time, so there is
//! no lock to hold across an await.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_cache::{CacheKey, CacheRecord, CacheStore};
use kiln_graph::{Edge, Graph, Op, Vertex};
use kiln_oci::Digest;
use kiln_progress::{FanOut, Sender, Vertex as Shown};
use kiln_solver::{Action, Event, JobId, RequestId, Scheduler, Task, TaskId, Work};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use crate::{
    ErrorKind, Job, JobContext, OpError, Operator, Operators, Output, Sessions, SolveError,
};

/// How long a result waits before it is saved, unless somebody waits for it: writing to the disk
/// slows down the next step, and many quick steps are saved together.
const SAVE_DELAY: Duration = Duration::from_millis(50);

/// How an engine works.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Processes that run at the same time; `None` is no limit.
    pub max_parallelism: Option<usize>,
    /// Differs between runs of the program.
    pub unique: String,
}

/// Performs builds. Cheap to clone; stops when the last clone and the last job are gone.
pub struct Engine<R> {
    messages: mpsc::UnboundedSender<Message<R>>,
    jobs: Arc<AtomicU64>,
    requests: Arc<AtomicU64>,
}

impl<R> Clone for Engine<R> {
    fn clone(&self) -> Self {
        Self {
            messages: self.messages.clone(),
            jobs: Arc::clone(&self.jobs),
            requests: Arc::clone(&self.requests),
        }
    }
}

impl<R> std::fmt::Debug for Engine<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

pub(crate) enum Message<R> {
    Opened { job: JobId, session: String, progress: Sender },
    Wanted { job: JobId, request: RequestId, graph: Arc<Graph>, edge: Edge, answer: Answer<R> },
    Closed(JobId),
    Ended(TaskId, Ended<R>),
    Flush(oneshot::Sender<()>),
}

type Answer<R> = oneshot::Sender<Result<Output<R>, SolveError>>;

/// How a task ended.
pub(crate) enum Ended<R> {
    Mapped(kiln_cache::CacheMap),
    Found(Option<CacheRecord>),
    Digested(Digest),
    Loaded(Vec<(usize, Output<R>)>),
    NotLoaded,
    Executed(Vec<Output<R>>),
    Saved,
    Failed(OpError),
}

impl<R: Clone + Send + Sync + 'static> Engine<R> {
    /// Starts an engine on the current runtime.
    pub fn start(
        operators: Arc<dyn Operators<R>>,
        cache: Arc<dyn CacheStore>,
        options: EngineOptions,
    ) -> Self {
        let (messages, inbox) = mpsc::unbounded_channel();
        let driver = Driver {
            scheduler: Scheduler::new(options.unique),
            operators,
            cache,
            // A weak sender: the driver must not keep itself alive.
            messages: messages.downgrade(),
            permits: options.max_parallelism.map(|limit| Arc::new(Semaphore::new(limit))),
            jobs: BTreeMap::new(),
            works: BTreeMap::new(),
            tasks: BTreeMap::new(),
            answers: BTreeMap::new(),
            saving: 0,
            flushes: Vec::new(),
            hurry: watch::Sender::new(()),
        };
        tokio::spawn(driver.run(inbox));
        Self { messages, jobs: Arc::new(AtomicU64::new(1)), requests: Arc::new(AtomicU64::new(1)) }
    }

    /// Opens a job: what it wants may use `session`, and what happens is told to `progress`.
    pub fn open(&self, session: &str, progress: Sender) -> Job<R> {
        let id = JobId(self.jobs.fetch_add(1, Ordering::Relaxed));
        self.messages.send(Message::Opened { job: id, session: session.to_owned(), progress }).ok();
        Job { id, messages: self.messages.clone(), requests: Arc::clone(&self.requests) }
    }

    /// Waits until all results so far are saved.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        self.messages.send(Message::Flush(done)).ok();
        wait.await.ok();
    }
}

/// What the driver keeps of a vertex.
struct Working<R> {
    vertex: Arc<Vertex>,
    /// The digests of its inputs, as those who watch know them.
    inputs: Vec<Digest>,
    operator: Option<Arc<dyn Operator<R>>>,
    results: BTreeMap<usize, Output<R>>,
    fan: FanOut,
    sessions: Sessions,
    started: Option<SystemTime>,
}

struct Driver<R> {
    scheduler: Scheduler<SolveError>,
    operators: Arc<dyn Operators<R>>,
    cache: Arc<dyn CacheStore>,
    messages: mpsc::WeakUnboundedSender<Message<R>>,
    permits: Option<Arc<Semaphore>>,
    jobs: BTreeMap<JobId, (String, Sender)>,
    works: BTreeMap<Digest, Working<R>>,
    tasks: BTreeMap<TaskId, (Task, AbortHandle)>,
    answers: BTreeMap<RequestId, (JobId, Edge, Answer<R>)>,
    saving: usize,
    flushes: Vec<oneshot::Sender<()>>,
    /// Changes when somebody waits for what is to be saved.
    hurry: watch::Sender<()>,
}

impl<R: Clone + Send + Sync + 'static> Driver<R> {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Message<R>>) {
        while let Some(message) = inbox.recv().await {
            self.receive(message);
        }
    }

    fn receive(&mut self, message: Message<R>) {
        match message {
            Message::Opened { job, session, progress } => {
                drop(self.jobs.insert(job, (session, progress)));
            }
            Message::Wanted { job, request, graph, edge, answer } => {
                self.join(job, &graph, &edge);
                self.answers.insert(request, (job, edge.clone(), answer));
                self.decide(Event::Wanted { job, request, graph, edge });
            }
            Message::Closed(job) => {
                self.jobs.remove(&job);
                self.answers.retain(|_, (owner, ..)| *owner != job);
                self.decide(Event::Closed(job));
                for working in self.works.values() {
                    working.fan.remove(job.0);
                    working.sessions.remove(job);
                }
            }
            Message::Ended(task, ended) => self.ended(task, ended),
            Message::Flush(done) => {
                self.flushes.push(done);
                self.hurry.send_replace(());
                self.settle();
            }
        }
    }

    /// Lets a job watch all vertices that its wish may need.
    fn join(&mut self, job: JobId, graph: &Graph, edge: &Edge) {
        let Some((session, progress)) = self.jobs.get(&job) else { return };
        let mut open = vec![&edge.vertex];
        let mut seen = std::collections::BTreeSet::new();
        let mut order = Vec::new();
        while let Some(id) = open.pop() {
            let Some(vertex) = graph.vertex(id) else { continue };
            if seen.insert(id) {
                open.extend(vertex.inputs.iter().map(|input| &input.vertex));
                order.push(vertex);
            }
        }
        for vertex in order.into_iter().rev() {
            let working =
                self.works.entry(vertex.id.clone()).or_insert_with(|| Working::new(vertex, graph));
            working.sessions.add(job, session);
            working.fan.add(job.0, progress.clone());
        }
    }

    fn decide(&mut self, event: Event<SolveError>) {
        for action in self.scheduler.handle(event) {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action<SolveError>) {
        match action {
            Action::Start(task) => self.start(task),
            Action::Cancel(id) => {
                let Some((task, handle)) = self.tasks.remove(&id) else { return };
                handle.abort();
                if task.work == Work::Exec {
                    self.show_end(&task.vertex, "context canceled");
                }
            }
            Action::Cached(id) => {
                let Some(working) = self.works.get(&id) else { return };
                let now = SystemTime::now();
                let shown = working.shown();
                let cached =
                    Shown { cached: true, started: Some(now), completed: Some(now), ..shown };
                working.fan.sender().vertex(cached);
            }
            Action::Forget(key) => {
                let cache = Arc::clone(&self.cache);
                tokio::task::spawn_blocking(move || cache.remove(&key));
            }
            Action::Drop(id) => drop(self.works.remove(&id)),
            Action::Finish(request, result) => {
                let Some((_, edge, answer)) = self.answers.remove(&request) else { return };
                let results = self.works.get(&edge.vertex).map(|working| &working.results);
                let output = results.and_then(|results| results.get(&edge.index)).cloned();
                // Whoever asked may have gone.
                answer.send(result.map(|()| output.unwrap_or_default())).ok();
            }
        }
    }

    fn start(&mut self, task: Task) {
        let Some(messages) = self.messages.upgrade() else { return };
        let id = task.id;
        let work = self.perform(&task);
        if matches!(task.work, Work::Save { .. } | Work::Link { .. }) {
            self.saving += 1;
        }
        let handle = tokio::spawn(async move {
            let ended = work.await;
            messages.send(Message::Ended(id, ended)).ok();
        });
        self.tasks.insert(id, (task, handle.abort_handle()));
    }

    fn operator(&mut self, id: &Digest) -> Result<Arc<dyn Operator<R>>, OpError> {
        let working = self.works.get_mut(id).ok_or_else(gone)?;
        if let Some(operator) = &working.operator {
            return Ok(Arc::clone(operator));
        }
        let operator = self.operators.operator(&working.vertex)?;
        working.operator = Some(Arc::clone(&operator));
        Ok(operator)
    }

    fn input(&self, edge: &Edge) -> Output<R> {
        let results = self.works.get(&edge.vertex).map(|working| &working.results);
        results.and_then(|results| results.get(&edge.index)).cloned().unwrap_or_default()
    }

    /// The work of a task, as a future that says how it ended.
    fn perform(&mut self, task: &Task) -> futures::future::BoxFuture<'static, Ended<R>> {
        match &task.work {
            Work::Map | Work::Digest(_) | Work::Exec => {
                let operator = self.operator(&task.vertex);
                let (operator, working) = match (operator, self.works.get(&task.vertex)) {
                    (Ok(operator), Some(working)) => (operator, working),
                    (Err(error), _) => return Box::pin(async { Ended::Failed(error) }),
                    (_, None) => return Box::pin(async { Ended::Failed(gone()) }),
                };
                let job = working.context();
                match &task.work {
                    Work::Digest(number) => {
                        let number = *number;
                        let input = self.input(&working.vertex.inputs[number]);
                        Box::pin(async move {
                            operator
                                .content(&job, number, &input)
                                .await
                                .map_or_else(Ended::Failed, Ended::Digested)
                        })
                    }
                    Work::Exec => {
                        let inputs =
                            working.vertex.inputs.iter().map(|edge| self.input(edge)).collect();
                        let outputs = working.vertex.op.outputs();
                        let permits = self
                            .permits
                            .clone()
                            .filter(|_| matches!(working.vertex.op, Op::Exec(_)));
                        let now = SystemTime::now();
                        if let Some(working) = self.works.get_mut(&task.vertex) {
                            working.started = Some(now);
                            let shown = Shown { started: Some(now), ..working.shown() };
                            working.fan.sender().vertex(shown);
                        }
                        Box::pin(async move {
                            let _permit = match permits {
                                Some(permits) => permits.acquire_owned().await.ok(),
                                None => None,
                            };
                            match operator.exec(&job, inputs).await {
                                Ok(results) if results.len() >= outputs => Ended::Executed(results),
                                Ok(results) => Ended::Failed(OpError::new(
                                    ErrorKind::Failed,
                                    format!(
                                        "the operation gave {} of {outputs} results",
                                        results.len()
                                    ),
                                )),
                                Err(error) => Ended::Failed(error),
                            }
                        })
                    }
                    _ => Box::pin(async move {
                        operator.cache_map(&job).await.map_or_else(Ended::Failed, Ended::Mapped)
                    }),
                }
            }
            Work::Lookup(key) => {
                let (cache, key) = (Arc::clone(&self.cache), key.clone());
                let operators = Arc::clone(&self.operators);
                Box::pin(async move { Ended::Found(find(cache, &*operators, key).await) })
            }
            Work::Load(outputs) => {
                let record = self.scheduler.record(&task.vertex).cloned();
                let (operators, outputs) = (Arc::clone(&self.operators), outputs.clone());
                Box::pin(async move {
                    load(&*operators, record, outputs).await.map_or(Ended::NotLoaded, Ended::Loaded)
                })
            }
            Work::Save { key, also } => {
                let Some(working) = self.works.get(&task.vertex) else {
                    return Box::pin(async { Ended::Saved });
                };
                let (vertex, results) = (
                    Arc::clone(&working.vertex),
                    working.results.values().cloned().collect::<Vec<_>>(),
                );
                let (operators, cache) = (Arc::clone(&self.operators), Arc::clone(&self.cache));
                let (key, also) = (key.clone(), also.clone());
                let mut hurry = self.hurry.subscribe();
                Box::pin(async move {
                    tokio::time::timeout(SAVE_DELAY, hurry.changed()).await.ok();
                    match operators.save(&vertex, &results).await {
                        Ok(results) => {
                            let record = CacheRecord {
                                key,
                                results,
                                description: vertex.name.clone(),
                                created: now(),
                            };
                            tokio::task::spawn_blocking(move || cache.put(&record, also.as_ref()))
                                .await
                                .ok();
                        }
                        Err(error) => {
                            tracing::warn!(vertex = %vertex.name, %error, "a result could not be kept");
                        }
                    }
                    Ended::Saved
                })
            }
            Work::Link { from } => {
                let record = self.scheduler.record(&task.vertex).cloned();
                let (cache, from) = (Arc::clone(&self.cache), from.clone());
                Box::pin(async move {
                    if let Some(record) = record {
                        tokio::task::spawn_blocking(move || cache.put(&record, Some(&from)))
                            .await
                            .ok();
                    }
                    Ended::Saved
                })
            }
        }
    }

    fn ended(&mut self, id: TaskId, ended: Ended<R>) {
        // A task that was cancelled as it ended has nothing to say any more.
        let Some((task, _)) = self.tasks.remove(&id) else { return };
        let event = match ended {
            Ended::Mapped(map) => Event::Mapped(id, map),
            Ended::Found(record) => Event::Found(id, record),
            Ended::Digested(digest) => Event::Digested(id, digest),
            Ended::NotLoaded => Event::NotLoaded(id),
            Ended::Loaded(results) => {
                self.keep(&task.vertex, results);
                Event::Loaded(id)
            }
            Ended::Executed(results) => {
                let count = results.len();
                self.keep(&task.vertex, results.into_iter().enumerate());
                self.show_end(&task.vertex, "");
                Event::Executed(id, count)
            }
            Ended::Saved => {
                self.saving -= 1;
                Event::Saved(id)
            }
            Ended::Failed(error) => match self.works.get(&task.vertex) {
                None => return,
                Some(working) => {
                    let vertex = Arc::clone(&working.vertex);
                    self.show_failure(&task.vertex, &error.message);
                    Event::Failed(id, SolveError { vertex, error })
                }
            },
        };
        let saved = matches!(event, Event::Saved(_));
        self.decide(event);
        if saved {
            self.settle();
        }
    }

    /// Once everything is saved, takes it to the disk and tells who waits for that.
    fn settle(&mut self) {
        if self.saving > 0 {
            return;
        }
        let (cache, waiting) = (Arc::clone(&self.cache), std::mem::take(&mut self.flushes));
        tokio::task::spawn_blocking(move || {
            cache.flush();
            for done in waiting {
                done.send(()).ok();
            }
        });
    }

    fn keep(&mut self, id: &Digest, results: impl IntoIterator<Item = (usize, Output<R>)>) {
        if let Some(working) = self.works.get_mut(id) {
            working.results.extend(results);
        }
    }

    fn show_end(&mut self, id: &Digest, error: &str) {
        let Some(working) = self.works.get_mut(id) else { return };
        let started = working.started.take();
        let completed = Some(SystemTime::now());
        let shown = Shown { started, completed, error: error.to_owned(), ..working.shown() };
        working.fan.sender().vertex(shown);
    }

    /// A vertex may fail before it ran; then it is shown to start and end at once.
    fn show_failure(&mut self, id: &Digest, error: &str) {
        if let Some(working) = self.works.get_mut(id) {
            working.started.get_or_insert_with(SystemTime::now);
        }
        self.show_end(id, error);
    }
}

impl<R> Working<R> {
    fn new(vertex: &Arc<Vertex>, graph: &Graph) -> Self {
        let digest = |edge: &Edge| graph.vertex(&edge.vertex).map(|input| input.digest.clone());
        let working = Self {
            vertex: Arc::clone(vertex),
            inputs: vertex.inputs.iter().filter_map(digest).collect(),
            operator: None,
            results: BTreeMap::new(),
            fan: FanOut::default(),
            sessions: Sessions::default(),
            started: None,
        };
        working.fan.sender().vertex(working.shown());
        working
    }

    fn shown(&self) -> Shown {
        let group = self.vertex.metadata.progress_group.as_ref();
        Shown {
            progress_group: group.map(|group| {
                kiln_progress::wire::progress_group(&group.id, &group.name, group.weak)
            }),
            inputs: self.inputs.clone(),
            ..Shown::new(self.vertex.digest.clone(), self.vertex.name.clone())
        }
    }

    fn context(&self) -> JobContext {
        JobContext {
            vertex: self.vertex.digest.clone(),
            progress: self.fan.sender(),
            sessions: self.sessions.clone(),
        }
    }
}

/// Looks a key up. A record whose results are gone is forgotten: it must not be shown as cached.
async fn find<R>(
    cache: Arc<dyn CacheStore>,
    operators: &dyn Operators<R>,
    key: CacheKey,
) -> Option<CacheRecord> {
    let reader = Arc::clone(&cache);
    // A panic of the store is a miss like any other trouble it has.
    let found = tokio::task::spawn_blocking(move || reader.get(&key)).await.ok().flatten()?;
    for saved in found.results.iter().flatten() {
        if operators.load(saved).await.is_none() {
            tokio::task::spawn_blocking(move || cache.remove(&found.key));
            return None;
        }
    }
    Some(found)
}

/// Loads some outputs of a record; all or nothing.
async fn load<R>(
    operators: &dyn Operators<R>,
    record: Option<CacheRecord>,
    outputs: Vec<usize>,
) -> Option<Vec<(usize, Output<R>)>> {
    let record = record?;
    let mut results = Vec::with_capacity(outputs.len());
    for output in outputs {
        let result = match record.results.get(output)? {
            Some(saved) => Some(operators.load(saved).await?),
            None => None,
        };
        results.push((output, result));
    }
    Some(results)
}

fn gone() -> OpError {
    OpError::new(ErrorKind::Cancelled, "the vertex is gone")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
