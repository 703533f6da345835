//! The operator of file operations: a short program of actions on mounted results.
//!
//! Actions that follow each other work on the same writable directory; where a result is needed
//! twice (as an output, or as the source of a copy) it is committed first.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use kiln_container::{blocking, failed, files, requester};
use kiln_engine::{
    Content, ErrorKind, ExecError, JobContext, Keyed, OpError, Operator, Output, Subject,
};
use kiln_graph::{FileAction, FileInput, FileOp, FileOwner, FileStep, FileUser, Op, Vertex};
use kiln_handle::Handle;
use kiln_keys::ContentQuery;
use kiln_store::{Meter, Mounted, MutableRef, Ref, Requester, Store};

use crate::files as actions;
use crate::files::{FileError, Ids, Implied};
use crate::vertex_map::{VertexMap, content_of};
use crate::worker::{Inner, owned, path_of, view};

pub(crate) struct FileOperator {
    worker: Handle<Inner>,
    vertex: Arc<Vertex>,
    map: VertexMap,
}

impl FileOperator {
    pub(crate) fn new(worker: Handle<Inner>, vertex: Arc<Vertex>) -> Self {
        Self { worker, vertex, map: VertexMap::default() }
    }

    fn op(&self) -> Result<&FileOp, OpError> {
        match &self.vertex.op {
            Op::File(op) => Ok(op),
            _ => Err(OpError::new(ErrorKind::Invalid, "not a file operation")),
        }
    }
}

#[async_trait]
impl Operator<Ref> for FileOperator {
    async fn cache_map(&self, _: &JobContext, _: usize) -> Result<Keyed, OpError> {
        self.map.of(&self.vertex).cloned().map(Keyed::from)
    }

    fn preprocess<'a>(
        &'a self,
        job: &'a JobContext,
        _: usize,
        result: &'a Output<Ref>,
    ) -> BoxFuture<'a, Result<(), OpError>> {
        // It will be mounted: what is not here comes while other inputs are still made.
        Box::pin(async move { files(result.as_ref(), &requester(job)).await.map(drop) })
    }

    async fn content(
        &self,
        job: &JobContext,
        _: usize,
        query: &ContentQuery,
        result: &Output<Ref>,
    ) -> Result<Content, OpError> {
        content_of(&self.worker, job, query.clone(), result.as_ref()).await
    }

    async fn exec(
        &self,
        job: &JobContext,
        inputs: Vec<Output<Ref>>,
    ) -> Result<Vec<Output<Ref>>, ExecError<Ref>> {
        let op = self.op()?;
        let mut run = Run {
            worker: &self.worker,
            requester: requester(job),
            op,
            inputs,
            uses: uses(op),
            results: BTreeMap::new(),
        };
        for number in 0..op.steps.len() {
            if let Err(error) = run.step(number).await {
                let error = error.about(Subject::FileAction(number));
                return Err(ExecError { error, mounts: run.left().await });
            }
        }
        Ok(run.outputs().await?)
    }
}

fn owner(step: &FileStep) -> Option<&FileOwner> {
    match &step.action {
        FileAction::Copy(copy) => copy.owner.as_ref(),
        FileAction::MakeFile { owner, .. }
        | FileAction::MakeDir { owner, .. }
        | FileAction::Symlink { owner, .. } => owner.as_ref(),
        FileAction::Remove { .. } => None,
    }
}

/// The owners of a step with the lists they are looked up in.
fn named(step: &FileStep) -> impl Iterator<Item = (&FileUser, &'static str)> {
    let owner = owner(step);
    let user = owner.and_then(|owner| owner.user.as_ref()).map(|user| (user, "/etc/passwd"));
    let group = owner.and_then(|owner| owner.group.as_ref()).map(|group| (group, "/etc/group"));
    user.into_iter().chain(group)
}

/// What an action made.
enum FileTarget {
    /// Still writable.
    Open(MutableRef),
    /// Finished.
    Closed(Ref),
}

struct Run<'a> {
    worker: &'a Inner,
    requester: Requester,
    op: &'a FileOp,
    inputs: Vec<Output<Ref>>,
    /// How often the result of each action is needed.
    uses: Vec<usize>,
    /// By the number of the action.
    results: BTreeMap<usize, FileTarget>,
}

/// How often the result of each action is needed.
fn uses(op: &FileOp) -> Vec<usize> {
    let mut uses: Vec<_> = op.steps.iter().map(|step| usize::from(step.output.is_some())).collect();
    for step in &op.steps {
        let lists = named(step).filter_map(|(user, _)| match user {
            FileUser::Name { input, .. } => Some(*input),
            FileUser::Id(_) => None,
        });
        for input in lists.chain([step.input, step.secondary]) {
            if let FileInput::Action(action) = input
                && let Some(count) = uses.get_mut(action)
            {
                *count += 1;
            }
        }
    }
    uses
}

impl Run<'_> {
    /// The finished result of an input.
    async fn finished(&mut self, input: FileInput) -> Result<Output<Ref>, OpError> {
        match input {
            FileInput::Scratch => Ok(None),
            FileInput::Vertex(index) => Ok(self.inputs.get(index).cloned().flatten()),
            FileInput::Action(action) => match self.results.remove(&action) {
                None => Ok(None),
                Some(made) => {
                    let closed = match made {
                        FileTarget::Closed(closed) => closed,
                        FileTarget::Open(open) => {
                            open.commit().await.map_err(|error| failed(&error))?
                        }
                    };
                    self.results.insert(action, FileTarget::Closed(closed.clone()));
                    Ok(Some(closed))
                }
            },
        }
    }

    /// A writable directory on top of an input.
    async fn writable(&mut self, input: FileInput) -> Result<MutableRef, OpError> {
        if let FileInput::Action(action) = input
            && self.uses.get(action) == Some(&1)
            && let Some(FileTarget::Open(_)) = self.results.get(&action)
            && let Some(FileTarget::Open(open)) = self.results.remove(&action)
        {
            return Ok(open);
        }
        let parent = self.finished(input).await?;
        let parent = files(parent.as_ref(), &self.requester).await?;
        self.worker.store.prepare(parent.as_ref()).await.map_err(|error| failed(&error))
    }

    async fn step(&mut self, number: usize) -> Result<(), OpError> {
        let step = self.op.steps[number].clone();
        let from = self.finished(step.secondary).await?;
        let from = view(from.as_ref(), &self.requester).await?;
        // A name is looked up in what another input holds, or in what is being changed.
        let mut lists: Vec<(FileInput, Option<Mounted>)> = Vec::new();
        for (user, _) in named(&step) {
            if let FileUser::Name { input, .. } = user
                && *input != step.input
                && !lists.iter().any(|(known, _)| known == input)
            {
                let found = self.finished(*input).await?;
                lists.push((*input, view(found.as_ref(), &self.requester).await?));
            }
        }
        let mut target = self.writable(step.input).await?;
        let mounted = target.mount().await.map_err(|error| failed(&error))?;
        let mut implied = target.take_implied();
        // An image without layers is an empty directory.
        let store = self.worker.store.clone();
        let empty = store.root().join("empty");
        let changed = blocking(move || {
            let list = |input: FileInput| {
                let other = lists.iter().find(|(known, _)| *known == input);
                match (input, other) {
                    (FileInput::Scratch, _) => None,
                    (_, Some((_, view))) => owned(path_of(view.as_ref())),
                    (_, None) => Some(mounted.path().to_owned()),
                }
            };
            let from = path_of(from.as_ref()).unwrap_or(&empty);
            let changed = change(&step, from, mounted.path(), &list, &mut implied, &store);
            Ok((changed.map_err(|error| operator_error(&error)), implied))
        })
        .await;
        let changed = changed.and_then(|(changed, implied)| {
            target.set_implied(implied);
            changed
        });
        // What a failed action was at is there to be looked at.
        self.results.insert(number, FileTarget::Open(target));
        changed
    }

    /// For every action what it was at, now that one has failed, for those who look into that.
    async fn left(mut self) -> Vec<Output<Ref>> {
        let mut left = Vec::with_capacity(self.op.steps.len());
        for number in 0..self.op.steps.len() {
            left.push(self.finished(FileInput::Action(number)).await.ok().flatten());
        }
        left
    }

    async fn outputs(mut self) -> Result<Vec<Output<Ref>>, OpError> {
        let mut outputs = BTreeMap::new();
        for number in 0..self.op.steps.len() {
            if let Some(output) = self.op.steps[number].output {
                outputs.insert(output, self.finished(FileInput::Action(number)).await?);
            }
        }
        let count = outputs.keys().max().map_or(0, |last| last + 1);
        Ok((0..count).map(|output| outputs.get(&output).cloned().flatten()).collect())
    }
}

fn operator_error(error: &FileError) -> OpError {
    let kind = match error {
        error if error.is_full() => ErrorKind::Exhausted,
        FileError::Missing(_) | FileError::NotFound(_) => ErrorKind::NotFound,
        FileError::Invalid(_) | FileError::Archive { .. } | FileError::InTheWay(_) => {
            ErrorKind::Invalid
        }
        FileError::Io { .. } => ErrorKind::Failed,
    };
    OpError::new(kind, error.to_string())
}

/// Does one action. Directories that it makes on its way are added to `implied`.
fn change(
    step: &FileStep,
    from: &std::path::Path,
    root: &std::path::Path,
    list: &dyn Fn(FileInput) -> Option<std::path::PathBuf>,
    implied: &mut Implied,
    store: &Store,
) -> Result<(), FileError> {
    let ids = match owner(step) {
        None => None,
        Some(owner) => {
            let path = |user: &FileUser| match user {
                FileUser::Id(_) => None,
                FileUser::Name { input, .. } => list(*input),
            };
            let user = owner.user.as_ref().map(|user| (user, path(user)));
            let group = owner.group.as_ref().map(|group| (group, path(group)));
            let user = user.as_ref().map(|(user, path)| (*user, path.as_deref()));
            let group = group.as_ref().map(|(group, path)| (*group, path.as_deref()));
            Some(actions::find_owner(user, group)?)
        }
    };
    // What is made belongs to root unless it is said otherwise; copies keep their owner.
    let made = Some(ids.unwrap_or(Ids { uid: 0, gid: 0 }));
    match &step.action {
        FileAction::Copy(copy) => {
            let meter = RefCell::new(Meter::of(store));
            let allocate = |bytes| meter.borrow_mut().add_blocking(bytes);
            actions::copy(from, root, copy, ids, implied, &allocate)
        }
        FileAction::MakeFile { path, mode, data, timestamp, .. } => {
            actions::make_file(root, path, *mode, data, made, *timestamp)
        }
        FileAction::MakeDir { path, mode, make_parents, timestamp, .. } => {
            actions::make_dir(root, path, *mode, *make_parents, made, *timestamp, implied)
        }
        FileAction::Remove { path, allow_not_found, allow_wildcard } => {
            actions::remove(root, path, *allow_not_found, *allow_wildcard)
        }
        FileAction::Symlink { target, path, timestamp, .. } => {
            actions::make_symlink(root, target, path, made, *timestamp)
        }
    }
}
