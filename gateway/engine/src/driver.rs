//! The task that owns the scheduler: actions go out as tasks, their ends come back as events.
//!
//! Everything the driver knows is changed here and nowhere else, one message at a time, so there is
//! no lock to hold across an await. What follows from a message is worked out in slices, and messages
//! that came meanwhile are taken in between, so that a large graph does not keep others waiting.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use kiln_cache::{CacheSource, CacheStore, Saving};
use kiln_graph::{Edge, Graph, Identifier, Op, Vertex};
use kiln_oci::Digest;
use kiln_solver::{
    Action, Event, JobId, RequestId, Scheduler, SourceId, Step, Task, TaskId, Trail, Work,
};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use crate::held::Held;
use crate::perform::{self, Ended, Failure, Performance, Preparing, ToSave};
use crate::{
    Account, EngineOptions, ErrorKind, JobOptions, OpError, Operator, Operators, Output, SolveError,
};

/// How many steps are worked out between two looks at the messages.
const SLICE: usize = 2_000;

/// How many messages are taken in between two slices.
const MESSAGES: usize = 256;

/// The most memory for lists of files that were looked at, of all builds, in bytes.
const MOST_LISTED: usize = 64 << 20;

pub(crate) enum Message<R> {
    Opened { job: JobId, options: JobOptions },
    AddCache { job: JobId, cache: Arc<dyn CacheSource> },
    Requested { job: JobId, request: RequestId, graph: Arc<Graph>, edge: Edge, answer: Answer<R> },
    Closed(JobId),
    Trail { edge: Edge, answer: oneshot::Sender<Vec<Step>> },
    Account { job: JobId, answer: oneshot::Sender<Vec<Account<R>>> },
    Ended(TaskId, Ended<R>),
    Flush(oneshot::Sender<()>),
}

type Answer<R> = oneshot::Sender<Result<Output<R>, SolveError<R>>>;

/// What the driver knows of a job.
struct OpenJob {
    options: JobOptions,
    /// The ids of its caches.
    caches: Vec<SourceId>,
    requests: Vec<RequestId>,
}

/// A task that runs.
struct Running {
    task: Task,
    handle: AbortHandle,
}

pub(crate) struct Driver<R> {
    scheduler: Scheduler<Arc<SolveError<R>>>,
    operators: Arc<dyn Operators<R>>,
    cache: Arc<dyn CacheStore>,
    /// Caches of jobs.
    caches: BTreeMap<SourceId, Arc<dyn CacheSource>>,
    next_cache: usize,
    messages: mpsc::WeakUnboundedSender<Message<R>>,
    permits: Option<Arc<Semaphore>>,
    jobs: HashMap<JobId, OpenJob>,
    held: HashMap<Digest, Held<R>>,
    /// The bytes of the lists in `held`.
    listed: usize,
    tasks: HashMap<TaskId, Running>,
    answers: HashMap<RequestId, Answer<R>>,
    /// How many tasks save something.
    saving: usize,
    flushes: Vec<oneshot::Sender<()>>,
    /// Changes when someone waits for what is to be saved.
    flush: watch::Sender<()>,
}

impl<R: Clone + Send + Sync + 'static> Driver<R> {
    pub(crate) fn new(
        operators: Arc<dyn Operators<R>>,
        cache: Arc<dyn CacheStore>,
        options: &EngineOptions,
        messages: &mpsc::UnboundedSender<Message<R>>,
    ) -> Self {
        Self {
            scheduler: Scheduler::default(),
            operators,
            cache,
            caches: BTreeMap::new(),
            next_cache: SourceId::MAIN.0 + 1,
            // A weak sender: the driver must not keep itself alive.
            messages: messages.downgrade(),
            permits: options.max_parallelism.map(|limit| Arc::new(Semaphore::new(limit))),
            jobs: HashMap::new(),
            held: HashMap::new(),
            listed: 0,
            tasks: HashMap::new(),
            answers: HashMap::new(),
            saving: 0,
            flushes: Vec::new(),
            flush: watch::Sender::new(()),
        }
    }

    pub(crate) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Message<R>>) {
        while let Some(message) = inbox.recv().await {
            self.receive(message);
            while self.scheduler.is_busy() {
                for action in self.scheduler.run(SLICE) {
                    self.act(action);
                }
                let waiting = std::iter::from_fn(|| inbox.try_recv().ok()).take(MESSAGES);
                waiting.collect::<Vec<_>>().into_iter().for_each(|message| self.receive(message));
                if self.scheduler.is_busy() {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    fn receive(&mut self, message: Message<R>) {
        match message {
            Message::Opened { job, options } => self.open(job, options),
            Message::AddCache { job, cache } => self.add_cache(job, cache),
            Message::Requested { job, request, graph, edge, answer } => {
                if let Some(open) = self.jobs.get_mut(&job) {
                    open.requests.push(request);
                    self.answers.insert(request, answer);
                    self.scheduler.handle(Event::Requested { job, request, graph, edge });
                }
            }
            Message::Closed(job) => self.close(job),
            Message::Trail { edge, answer } => self.trail(&edge, answer),
            Message::Account { job, answer } => {
                // Whoever asked may have gone.
                answer.send(self.account(job)).ok();
            }
            Message::Ended(task, ended) => self.ended(task, ended),
            Message::Flush(done) => {
                self.flushes.push(done);
                self.flush.send_replace(());
                self.flush_if_saved();
            }
        }
    }

    fn open(&mut self, job: JobId, options: JobOptions) {
        let ids = self.next_cache..self.next_cache + options.caches.len();
        self.next_cache = ids.end;
        let caches: Vec<SourceId> = ids.map(SourceId).collect();
        self.caches.extend(caches.iter().copied().zip(options.caches.iter().cloned()));
        self.jobs.insert(job, OpenJob { options, caches, requests: Vec::new() });
    }

    fn add_cache(&mut self, job: JobId, cache: Arc<dyn CacheSource>) {
        let Some(open) = self.jobs.get_mut(&job) else { return };
        let id = SourceId(self.next_cache);
        self.next_cache += 1;
        open.caches.push(id);
        self.caches.insert(id, cache);
    }

    fn close(&mut self, job: JobId) {
        let Some(closed) = self.jobs.remove(&job) else { return };
        for request in closed.requests {
            self.answers.remove(&request);
        }
        for cache in closed.caches {
            self.caches.remove(&cache);
        }
        self.scheduler.handle(Event::Closed(job));
    }

    /// Answers with the way to a result, once all of it is in the main cache.
    fn trail(&mut self, edge: &Edge, answer: oneshot::Sender<Vec<Step>>) {
        let Trail { steps, unsaved } = self.scheduler.trail(edge);
        let cache = Arc::clone(&self.cache);
        let saving = Saving { records: unsaved, results: Vec::new() };
        tokio::task::spawn_blocking(move || {
            cache.save(&saving);
            // Whoever asked may have gone.
            answer.send(steps).ok();
        });
    }

    /// Everything that a job has, if something of it ran that is not asked for every time.
    fn account(&self, job: JobId) -> Vec<Account<R>> {
        let accounts = self.scheduler.account(job, |vertex| !is_local(&vertex.op));
        let with_results = |account: kiln_solver::Account| {
            let held = self.held.get(&account.vertex.id);
            Account::new(account, held)
        };
        accounts.into_iter().map(with_results).collect()
    }

    fn act(&mut self, action: Action<Arc<SolveError<R>>>) {
        match action {
            Action::Join(job, vertex) => self.join(job, &vertex),
            Action::Leave(job, id) => {
                if let Some(held) = self.held.get_mut(&id) {
                    held.leave(job);
                }
            }
            Action::Start(task) => self.start(task),
            Action::Cancel(id) => {
                let Some(Running { task, handle }) = self.tasks.remove(&id) else { return };
                handle.abort();
                let held = self.held.get_mut(&task.vertex);
                if let (Work::Exec(_), Some(held)) = (&task.work, held) {
                    held.show_end("context canceled");
                }
            }
            Action::Cached(id) => {
                if let Some(held) = self.held.get(&id) {
                    held.show_cached();
                }
            }
            Action::Forget(source, result) if source == SourceId::MAIN => {
                let cache = Arc::clone(&self.cache);
                tokio::task::spawn_blocking(move || cache.forget(&result.id));
            }
            Action::Forget(..) => {}
            Action::Drop(id) => {
                let held = self.held.remove(&id);
                let lists = held.iter().flat_map(|held| held.listings.values());
                self.listed -= lists.map(Bytes::len).sum::<usize>();
            }
            Action::Finish(request, result) => self.finish(request, result),
        }
    }

    /// Lets a job watch a vertex, and the vertex use the job's session.
    fn join(&mut self, job: JobId, vertex: &Arc<Vertex>) {
        if !self.held.contains_key(&vertex.id) {
            // Inputs come before those that read them.
            let inputs = vertex.inputs.iter().filter_map(|input| self.held.get(&input.vertex));
            let inputs = inputs.map(|input| input.vertex.digest.clone()).collect();
            self.held.insert(vertex.id.clone(), Held::new(Arc::clone(vertex), inputs));
        }
        if let (Some(open), Some(held)) = (self.jobs.get(&job), self.held.get_mut(&vertex.id)) {
            held.join(job, &open.options);
        }
    }

    fn finish(&mut self, request: RequestId, result: Result<Edge, Arc<SolveError<R>>>) {
        let Some(answer) = self.answers.remove(&request) else { return };
        let result = result.map(|edge| self.result(&edge)).map_err(Arc::unwrap_or_clone);
        // Whoever asked may have gone.
        answer.send(result).ok();
    }

    fn result(&self, edge: &Edge) -> Output<R> {
        let results = self.held.get(&edge.vertex).map(|held| &held.results);
        results.and_then(|results| results.get(&edge.index)).cloned().unwrap_or_default()
    }

    // Tasks.

    fn start(&mut self, task: Task) {
        let Some(messages) = self.messages.upgrade() else { return };
        let id = task.id;
        let performance = match self.perform(&task) {
            Ok(performance) => performance,
            Err(error) => Box::pin(std::future::ready(Ended::Failed(error.into()))),
        };
        if let Work::Save { .. } = task.work {
            self.saving += 1;
        }
        let handle = tokio::spawn(async move {
            let ended = performance.await;
            messages.send(Message::Ended(id, ended)).ok();
        });
        self.tasks.insert(id, Running { task, handle: handle.abort_handle() });
    }

    /// What a task does.
    fn perform(&mut self, task: &Task) -> Result<Performance<R>, OpError> {
        let operators = Arc::clone(&self.operators);
        Ok(match &task.work {
            Work::Map(index) => {
                perform::map(self.operator(&task.vertex)?, self.context(task)?, *index)
            }
            Work::LookUp(lookup) => {
                let main: Arc<dyn CacheSource> = Arc::clone(&self.cache) as _;
                perform::look_up(main, self.caches_of(task), lookup.clone())
            }
            Work::Prepare { input, from, content, preprocess } => {
                let (result, content) = (self.result(from), content.clone());
                let preparing =
                    Preparing { input: *input, result, content, preprocess: *preprocess };
                perform::prepare(self.operator(&task.vertex)?, self.context(task)?, preparing)
            }
            Work::Load { from, .. } => {
                perform::load(operators, self.context(task)?, from.result.id.clone())
            }
            Work::Exec(inputs) => self.exec(task, inputs)?,
            Work::Save { records, results, created } => {
                let held = self.held.get(&task.vertex).ok_or_else(gone)?;
                let result = |output| held.results.get(output).cloned();
                let results = results.iter();
                let results =
                    results.filter_map(|(output, keys)| Some((result(output)?, keys.clone())));
                let to_save = ToSave {
                    vertex: Arc::clone(&held.vertex),
                    records: records.clone(),
                    results: results.collect(),
                    created: *created,
                };
                perform::save(operators, Arc::clone(&self.cache), to_save, self.flush.subscribe())
            }
        })
    }

    fn exec(&mut self, task: &Task, inputs: &[Edge]) -> Result<Performance<R>, OpError> {
        let inputs = inputs.iter().map(|edge| self.result(edge)).collect();
        let operator = self.operator(&task.vertex)?;
        let permits = self.permits.clone();
        let held = self.held.get_mut(&task.vertex).ok_or_else(gone)?;
        held.show_start();
        let permits = permits.filter(|_| matches!(held.vertex.op, Op::Exec(_)));
        let outputs = held.vertex.op.outputs();
        Ok(perform::exec(operator, held.context(), inputs, outputs, permits))
    }

    fn context(&self, task: &Task) -> Result<crate::JobContext, OpError> {
        self.held.get(&task.vertex).map(Held::context).ok_or_else(gone)
    }

    fn operator(&mut self, id: &Digest) -> Result<Arc<dyn Operator<R>>, OpError> {
        let held = self.held.get_mut(id).ok_or_else(gone)?;
        if let Some(operator) = &held.operator {
            return Ok(Arc::clone(operator));
        }
        let operator = self.operators.operator(&held.vertex)?;
        held.operator = Some(Arc::clone(&operator));
        Ok(operator)
    }

    /// The caches that are asked for a vertex besides the engine's own: those of all jobs that have it.
    fn caches_of(&self, task: &Task) -> Vec<(SourceId, Arc<dyn CacheSource>)> {
        let jobs = self.held.get(&task.vertex).map(Held::jobs);
        let jobs = jobs.unwrap_or_default().iter().filter_map(|job| self.jobs.get(job));
        let caches = jobs.flat_map(|job| &job.caches);
        caches.filter_map(|id| Some((*id, Arc::clone(self.caches.get(id)?)))).collect()
    }

    fn ended(&mut self, id: TaskId, ended: Ended<R>) {
        // A task that was cancelled as it ended has nothing to say any more.
        let Some(Running { task, .. }) = self.tasks.remove(&id) else { return };
        let held = self.held.get_mut(&task.vertex);
        let event = match ended {
            Ended::Mapped(map, is_last) => Event::Mapped(id, map, is_last),
            Ended::LookedUp(answers) => Event::LookedUp(id, answers),
            Ended::Prepared(content) => {
                if let (Some(held), Some(content), Work::Prepare { input, .. }) =
                    (held, &content, &task.work)
                {
                    // A vertex without a list can still be built; only less can be said about it.
                    let room = MOST_LISTED.saturating_sub(self.listed);
                    if content.listing.len() <= room && !held.listings.contains_key(input) {
                        self.listed += content.listing.len();
                        held.listings.insert(*input, content.listing.clone());
                    }
                }
                Event::Prepared(id, content.map(|content| content.digest))
            }
            Ended::NotLoaded => Event::NotLoaded(id),
            Ended::Loaded(result) => {
                if let (Some(held), Work::Load { output, .. }) = (held, &task.work) {
                    held.results.insert(*output, result);
                }
                Event::Loaded(id)
            }
            Ended::Executed(results) => {
                let count = results.len();
                if let Some(held) = held {
                    held.results.extend(results.into_iter().enumerate());
                    held.show_end("");
                }
                Event::Executed(id, count)
            }
            Ended::Saved => Event::Saved(id),
            Ended::Failed(failure) => failed(id, held, failure),
        };
        self.scheduler.handle(event);
        if let Work::Save { .. } = task.work {
            self.saving -= 1;
            self.flush_if_saved();
        }
    }

    /// Once everything is saved, takes it to the disk and answers who waits for that.
    fn flush_if_saved(&mut self) {
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
}

fn is_local(op: &Op) -> bool {
    matches!(op, Op::Source(source) if matches!(**source, Identifier::Local(_)))
}

/// What the failure of a task means.
fn failed<R>(
    id: TaskId,
    held: Option<&mut Held<R>>,
    failure: Failure<R>,
) -> Event<Arc<SolveError<R>>> {
    let Failure { error, inputs, mounts } = failure;
    let may_begin_again = matches!(error.kind, ErrorKind::Cancelled | ErrorKind::Unavailable);
    let vertex = held.map(|held| {
        held.show_failure(&error.message);
        Arc::clone(&held.vertex)
    });
    let error = Arc::new(SolveError { vertex, error, inputs, mounts });
    match may_begin_again {
        true => Event::Interrupted(id, error),
        false => Event::Failed(id, error),
    }
}

fn gone() -> OpError {
    OpError::new(ErrorKind::Cancelled, "the vertex is gone")
}
