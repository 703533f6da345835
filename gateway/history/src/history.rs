//! The history of a daemon: what begins, ends, is asked for, pinned and forgotten.

use std::io::BufReader;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures::stream::{self, Stream, StreamExt as _};
use kiln_oci::Digest;
use kiln_pb::control::{
    BuildHistoryEvent, BuildHistoryEventType, BuildHistoryRecord, BuildHistoryRequest,
    StatusResponse,
};
use kiln_store::Store;
use tokio::sync::{broadcast, watch};

use crate::archive::Archive;
use crate::blobs::BlobFile;
use crate::error::{HistoryError, OpenError};
use crate::listener;
use crate::log;
use crate::policy::Policy;
use crate::question::Question;
use crate::running::{Ended, Running, Table};
use crate::trace::SentSpan;

/// How many events a listener may be behind.
const MAX_BEHIND: usize = 256;
/// How long is waited for builds that are being written down.
const WRITING: Duration = Duration::from_secs(30);
/// How often records are looked at that may have become too old.
const COLLECTION: Duration = Duration::from_secs(120);

/// The history of a daemon; cheap to clone.
#[derive(Clone, Debug)]
pub struct History(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    archive: Archive,
    policy: Policy,
    table: Mutex<Table>,
    /// Changes when a build leaves the table.
    left: watch::Sender<u64>,
    events: broadcast::Sender<Arc<BuildHistoryEvent>>,
    closed: watch::Sender<bool>,
}

impl History {
    /// Opens what is remembered in a state directory, and forgets from now on what the policy says.
    /// Must be called on a runtime.
    ///
    /// # Errors
    ///
    /// If the directory cannot be used. What is damaged in it is no error: it is gone.
    pub fn open(store: &Store, policy: Policy) -> Result<Self, OpenError> {
        let history = Self(Arc::new(Shared {
            archive: Archive::open(store)?,
            policy,
            table: Mutex::default(),
            left: watch::Sender::default(),
            events: broadcast::Sender::new(MAX_BEHIND),
            closed: watch::Sender::default(),
        }));
        history.collect_from_time_to_time();
        Ok(history)
    }

    /// A build begins: listeners hear of it.
    pub fn begin(&self, record: BuildHistoryRecord) -> Running {
        let number = self.table().add(record.clone());
        self.send(BuildHistoryEventType::Started, record);
        Running { history: self.clone(), number }
    }

    /// What a request asks for: builds that run, then those that have ended, the newest first, then
    /// events without end, unless it is to exit early.
    ///
    /// # Errors
    ///
    /// If it makes no sense, or records cannot be read.
    pub async fn listen(
        &self,
        request: &BuildHistoryRequest,
    ) -> Result<impl Stream<Item = Result<BuildHistoryEvent, HistoryError>> + use<>, HistoryError>
    {
        let question = Question::parse(request, SystemTime::now())?;
        if request.early_exit {
            self.written(question.build.as_deref()).await?;
        }
        let receiver = self.0.events.subscribe();
        let running: Vec<_> = self.table().records().cloned().collect();
        let running = running.into_iter().filter(|record| question.wants(record));
        let mut first: Vec<_> =
            running.map(|record| event(BuildHistoryEventType::Started, record)).collect();
        let (question, ended) = match request.active_only {
            true => (question, Vec::new()),
            false => self.ended(question).await?,
        };
        first.extend(ended.into_iter().map(|rec| event(BuildHistoryEventType::Complete, rec)));
        let first = stream::iter(first.into_iter().map(Ok));
        Ok(match request.early_exit {
            true => first.left_stream(),
            false => {
                let closed = self.0.closed.subscribe();
                first.chain(listener::events(question, receiver, closed)).right_stream()
            }
        })
    }

    /// The records of ended builds that are asked for.
    async fn ended(
        &self,
        question: Question,
    ) -> Result<(Question, Vec<BuildHistoryRecord>), HistoryError> {
        self.blocking(move |archive| {
            let mut found = match &question.build {
                Some(build) => archive.get(build)?.into_iter().collect(),
                None => archive.find(|record| question.wants(record))?,
            };
            found.retain(|record| question.wants(record));
            question.limit(&mut found);
            Ok((question, found))
        })
        .await
    }

    /// Pins a record, so that it stays whatever the policy says, or undoes that.
    ///
    /// # Errors
    ///
    /// [`HistoryError::NotFound`], or that it cannot be written.
    pub async fn pin(&self, build: &str, pinned: bool) -> Result<(), HistoryError> {
        self.written(Some(build)).await?;
        let id = build.to_owned();
        let changed = self.blocking(move |archive| archive.pin(&id, pinned)).await?;
        if let Some(record) = changed {
            self.send(BuildHistoryEventType::Complete, record);
        }
        Ok(())
    }

    /// Adds spans that the client of a build sent to its trace, once it has ended.
    ///
    /// # Errors
    ///
    /// [`HistoryError::NotFound`], or that it cannot be written.
    pub async fn add_spans(&self, build: &str, spans: Vec<SentSpan>) -> Result<(), HistoryError> {
        self.written(Some(build)).await?;
        let id = build.to_owned();
        let changed = self.blocking(move |archive| archive.add_spans(&id, &spans)).await?;
        if let Some(record) = changed {
            self.send(BuildHistoryEventType::Complete, record);
        }
        Ok(())
    }

    /// Forgets a build. One that still runs is not remembered when it ends.
    ///
    /// # Errors
    ///
    /// [`HistoryError::NotFound`], or that it cannot be written.
    pub async fn forget(&self, build: &str) -> Result<(), HistoryError> {
        self.written(Some(build)).await?;
        let running = self.table().forget(build);
        let id = build.to_owned();
        match self.blocking(move |archive| archive.remove(&id)).await {
            Err(HistoryError::NotFound(_)) if running => {}
            removed => removed?,
        }
        self.send_deleted(build);
        Ok(())
    }

    /// Waits until builds that have ended are written down: all, or those of an id.
    ///
    /// # Errors
    ///
    /// If that takes more than half a minute.
    pub async fn written(&self, build: Option<&str>) -> Result<(), HistoryError> {
        let pending = self.table().ended(build);
        let mut left = self.0.left.subscribe();
        let gone = left.wait_for(|_| !self.table().has_any(&pending));
        match tokio::time::timeout(WRITING, gone).await {
            Ok(gone) => gone.map(drop).map_err(|_| HistoryError::Closed),
            Err(_) => Err(HistoryError::Busy),
        }
    }

    /// The progress of a build that is remembered, from its first message; `None` if it is not.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub async fn log(
        &self,
        build: &str,
    ) -> Result<
        Option<impl Stream<Item = Result<StatusResponse, HistoryError>> + use<>>,
        HistoryError,
    > {
        let id = build.to_owned();
        let record = self.blocking(move |archive| archive.get(&id)).await?;
        let digest = record.and_then(|record| record.logs?.digest.parse::<Digest>().ok());
        let Some(blob) = digest.and_then(|digest| self.blob(&digest)) else { return Ok(None) };
        let opened = std::fs::File::open(&blob.path);
        let file = opened.map_err(HistoryError::file("read", &blob.path))?;
        let state = Some((BufReader::new(file), blob.path));
        Ok(Some(stream::unfold(state, |state| async {
            let (mut file, path) = state?;
            let read = move || (log::next(&mut file), file);
            let (message, file) = tokio::task::spawn_blocking(read).await.ok()?;
            match message {
                Ok(message) => Some((Ok(message?), Some((file, path)))),
                Err(error) => Some((Err(HistoryError::file("read", &path)(error)), None)),
            }
        })))
    }

    /// Ended builds, the newest first, each with what is remembered beside it under a media type, if
    /// there is such a thing; `most` at most. Builds that are being written down are waited for.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub async fn attached(
        &self,
        kind: &str,
        most: usize,
    ) -> Result<Vec<(BuildHistoryRecord, Option<Vec<u8>>)>, HistoryError> {
        self.written(None).await?;
        let kind = kind.to_owned();
        self.blocking(move |archive| {
            let mut records = archive.find(|_| true)?;
            let time = |record: &BuildHistoryRecord| {
                record.created_at.map(|time| (time.seconds, time.nanos))
            };
            records.sort_by_key(|record| std::cmp::Reverse(time(record)));
            records.truncate(most);
            let with = |record: BuildHistoryRecord| {
                let attached = archive.attachment(&record.r#ref, &kind);
                // What cannot be read is not there.
                (record, attached.ok().flatten())
            };
            Ok(records.into_iter().map(with).collect())
        })
        .await
    }

    /// A blob of a record, if it is there.
    pub fn blob(&self, digest: &Digest) -> Option<BlobFile> {
        self.0.archive.blobs().get(digest)
    }

    /// All blobs of records.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read.
    pub async fn blobs(&self) -> Result<Vec<BlobFile>, HistoryError> {
        let listed = |archive: &Archive| archive.blobs().all();
        let path = std::path::Path::new("history");
        self.blocking(move |archive| listed(archive).map_err(HistoryError::file("list", path)))
            .await
    }

    /// Ends the streams of all listeners, now and later.
    pub fn close(&self) {
        self.0.closed.send_replace(true);
    }

    pub(crate) fn set_ended(&self, number: u64) {
        self.table().set_ended(number);
    }

    /// Writes a build down that has ended.
    pub(crate) async fn write(&self, number: u64, ended: Ended) {
        if self.table().is_forgotten(number) {
            return;
        }
        let mut record = ended.record.clone();
        record.error.clone_from(&ended.error);
        match self.blocking(move |archive| archive.insert(ended)).await {
            Ok(written) => record = written,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, build = record.r#ref, "a build is not remembered");
            }
        }
        self.table().remove(number);
        self.send(BuildHistoryEventType::Complete, record);
        self.0.left.send_modify(|count| *count += 1);
        self.collect().await;
    }

    /// Takes a build out of the table that was not written down.
    pub(crate) fn leave(&self, number: u64) {
        let removed = self.table().remove(number);
        if let Some((build, forgotten)) = removed {
            if !forgotten {
                self.send_deleted(&build);
            }
            self.0.left.send_modify(|count| *count += 1);
        }
    }

    /// Forgets what is too old.
    async fn collect(&self) {
        let policy = self.0.policy;
        let collected = self.blocking(move |archive| archive.collect(policy, SystemTime::now()));
        match collected.await {
            Ok(builds) => builds.iter().for_each(|build| self.send_deleted(build)),
            // At the next start.
            Err(HistoryError::Closed) => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "old builds are not forgotten");
            }
        }
    }

    fn collect_from_time_to_time(&self) {
        let shared = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            while let Some(shared) = shared.upgrade() {
                Self(shared).collect().await;
                tokio::time::sleep(COLLECTION).await;
            }
        });
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Archive) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, HistoryError> {
        let shared = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&shared.archive)).await;
        done.unwrap_or(Err(HistoryError::Closed))
    }

    fn send_deleted(&self, build: &str) {
        let record =
            BuildHistoryRecord { r#ref: build.to_owned(), ..BuildHistoryRecord::default() };
        self.send(BuildHistoryEventType::Deleted, record);
    }

    fn send(&self, kind: BuildHistoryEventType, record: BuildHistoryRecord) {
        // There may be no listeners.
        self.0.events.send(Arc::new(event(kind, record))).ok();
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn event(kind: BuildHistoryEventType, record: BuildHistoryRecord) -> BuildHistoryEvent {
    BuildHistoryEvent { r#type: kind.into(), record: Some(record) }
}
