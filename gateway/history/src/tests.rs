//! Stories of builds that are remembered, across restarts and damage.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use kiln_metadata::{Durability, FILE, Metadata, copy};
use kiln_oci::Digest;
use kiln_pb::control::{
    BuildHistoryEvent, BuildHistoryRecord, BuildHistoryRequest, StatusResponse, Vertex,
};
use kiln_pb::rpc;
use kiln_store::{Store, StoreOptions};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::{Document, Ended, History, HistoryError, Policy};

/// So long, and so many, that nothing is forgotten.
const ALL: Policy = Policy { max_age: Duration::MAX, max_entries: 100 };
/// The last one.
const ONE: Policy = Policy { max_age: Duration::ZERO, max_entries: 1 };

/// A state directory with a history.
struct Stage {
    root: TempDir,
    store: Store,
    history: History,
}

impl Stage {
    fn new(policy: Policy) -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path(), StoreOptions::default()).unwrap();
        Self::at(root, store, policy)
    }

    fn at(root: TempDir, store: Store, policy: Policy) -> Self {
        let history = History::open(&store, policy).unwrap();
        Self { root, store, history }
    }

    /// The history after a restart, before which something was done to the directory.
    async fn restarted(self, policy: Policy, meanwhile: impl FnOnce(PathBuf)) -> Self {
        let Self { root, store, history } = self;
        history.written(None).await.unwrap();
        drop((store, history));
        // What still collects in the background ends soon.
        while Metadata::open(root.path(), None).is_err() {
            tokio::task::yield_now().await;
        }
        meanwhile(root.path().to_owned());
        let store = Store::open(root.path(), StoreOptions::default()).unwrap();
        Self::at(root, store, policy)
    }

    /// A build that begins and ends.
    fn build(&self, id: &str, age_seconds: u64, ended: Ended) {
        let at = SystemTime::now() - Duration::from_secs(age_seconds);
        let record = BuildHistoryRecord { created_at: Some(at.into()), ..record(id) };
        let running = self.history.begin(record.clone());
        let record = BuildHistoryRecord { completed_at: Some(at.into()), ..record };
        running.finish(std::future::ready(Ended { record, ..ended }));
    }

    async fn asked(&self, request: BuildHistoryRequest) -> Vec<String> {
        let request = BuildHistoryRequest { early_exit: true, ..request };
        let events = self.history.listen(&request).await.unwrap();
        events.map(|event| shown(&event.unwrap())).collect().await
    }

    async fn all(&self) -> Vec<String> {
        self.asked(BuildHistoryRequest::default()).await
    }

    async fn record(&self, id: &str) -> Option<BuildHistoryRecord> {
        let request =
            BuildHistoryRequest { early_exit: true, r#ref: id.into(), ..Default::default() };
        let events = self.history.listen(&request).await.unwrap();
        let events: Vec<_> = events.try_collect().await.unwrap();
        events.into_iter().next()?.record
    }

    fn files(&self) -> usize {
        fs::read_dir(self.root.path().join("history")).unwrap().count()
    }
}

fn record(id: &str) -> BuildHistoryRecord {
    BuildHistoryRecord { r#ref: id.to_owned(), ..BuildHistoryRecord::default() }
}

/// An event in short: `started a`.
fn shown(event: &BuildHistoryEvent) -> String {
    let kind = event.r#type().as_str_name().to_lowercase();
    format!("{kind} {}", event.record.as_ref().unwrap().r#ref)
}

/// Progress that says something of its own.
fn log(name: &str) -> Vec<Arc<StatusResponse>> {
    let vertex = Vertex { name: name.to_owned(), ..Vertex::default() };
    vec![Arc::new(StatusResponse { vertexes: vec![vertex], ..StatusResponse::default() })]
}

fn error() -> rpc::Status {
    let details = vec![prost_types::Any { type_url: "x/y".into(), value: vec![1] }];
    rpc::Status { code: 2, message: "exit code: 1".into(), details }
}

#[tokio::test]
async fn a_failed_build_is_remembered_with_its_log_and_the_whole_error() {
    let stage = Stage::new(ALL);
    stage.build("a", 0, Ended { log: log("RUN false"), error: Some(error()), ..Ended::default() });
    let stage = {
        let seen = stage.record("a").await.unwrap();
        let stage = stage.restarted(ALL, |_| {}).await;
        assert_eq!(stage.record("a").await.unwrap(), seen, "the same after a restart");
        stage
    };
    let record = stage.record("a").await.unwrap();
    let short = record.error.unwrap();
    assert_eq!((short.message.as_str(), short.details.len()), ("exit code: 1", 0));
    let whole = record.external_error.unwrap();
    let digest: Digest = whole.digest.parse().unwrap();
    let blob = stage.history.blob(&digest).unwrap();
    assert_eq!(i64::try_from(blob.size).unwrap(), whole.size);
    let content = fs::read(blob.path).unwrap();
    let decoded = <rpc::Status as prost::Message>::decode(&content[..]).unwrap();
    assert_eq!(decoded, error());
    assert_eq!(record.logs.unwrap().media_type, crate::LOG_MEDIA_TYPE);
    let replayed: Vec<_> =
        stage.history.log("a").await.unwrap().unwrap().try_collect().await.unwrap();
    assert_eq!(replayed[0], *log("RUN false")[0]);
    assert!(stage.history.log("b").await.unwrap().is_none());
}

#[tokio::test]
async fn who_asks_for_ended_builds_waits_until_they_are_written() {
    let stage = Stage::new(ALL);
    let (sender, receiver) = oneshot::channel();
    let running = stage.history.begin(record("a"));
    assert_eq!(stage.all().await, ["started a"]);
    running.finish(receiver.map(Result::unwrap));
    let asked = stage.all();
    tokio::pin!(asked);
    assert_eq!(futures::poll!(&mut asked), std::task::Poll::Pending);
    // Other builds are not waited for.
    let about = |id: &str| BuildHistoryRequest { r#ref: id.into(), ..Default::default() };
    assert_eq!(stage.asked(about("b")).await, [""; 0]);
    sender.send(Ended { record: record("a"), ..Ended::default() }).unwrap();
    assert_eq!(asked.await, ["complete a"]);
}

#[tokio::test]
async fn a_listener_hears_what_happens_after_what_there_is() {
    let stage = Stage::new(ALL);
    stage.build("a", 0, Ended::default());
    stage.history.written(None).await.unwrap();
    let running = stage.history.begin(record("b"));
    let request = BuildHistoryRequest { filter: vec!["ref!=c".into()], ..Default::default() };
    let mut events = Box::pin(stage.history.listen(&request).await.unwrap());
    stage.build("c", 0, Ended::default());
    stage.history.written(None).await.unwrap();
    running.finish(std::future::ready(Ended { record: record("b"), ..Ended::default() }));
    stage.history.written(None).await.unwrap();
    stage.history.pin("a", true).await.unwrap();
    stage.history.pin("a", true).await.unwrap();
    stage.history.forget("b").await.unwrap();
    drop(stage.history.begin(record("d")));
    let wanted = [
        "started b",
        "complete a",
        "complete b",
        "complete a",
        "deleted b",
        "started d",
        "deleted d",
    ];
    for wanted in wanted {
        assert_eq!(shown(&events.next().await.unwrap().unwrap()), wanted);
    }
    stage.history.close();
    assert!(events.next().await.is_none());
    let pinned = stage.record("a").await.unwrap();
    assert_eq!((pinned.pinned, pinned.generation), (true, 1));
    assert_eq!(stage.record("b").await, None);
}

#[tokio::test]
async fn a_listener_that_is_too_slow_is_told_and_hears_nothing_wrong() {
    let stage = Stage::new(ALL);
    let mut events = Box::pin(stage.history.listen(&Default::default()).await.unwrap());
    for _ in 0..300 {
        drop(stage.history.begin(record("a")));
    }
    assert!(matches!(events.next().await, Some(Err(HistoryError::Behind(_)))));
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn only_running_builds_and_only_so_many_ended_ones() {
    let stage = Stage::new(ALL);
    for (id, age) in [("old", 300), ("newer", 200), ("newest", 100)] {
        stage.build(id, age, Ended::default());
    }
    let _running = stage.history.begin(record("now"));
    let request = BuildHistoryRequest { active_only: true, ..Default::default() };
    assert_eq!(stage.asked(request).await, ["started now"]);
    let request = BuildHistoryRequest { limit: 2, ..Default::default() };
    assert_eq!(stage.asked(request).await, ["started now", "complete newest", "complete newer"]);
}

#[tokio::test]
async fn what_the_policy_says_goes_with_its_blobs_and_pinned_ones_stay() {
    let stage = Stage::new(ALL);
    for (id, age) in [("pinned", 400), ("old", 300), ("new", 100)] {
        let documents = vec![Document { bytes: "shared".into() }];
        stage.build(id, age, Ended { log: log(id), documents, ..Ended::default() });
    }
    stage.history.written(None).await.unwrap();
    stage.history.pin("pinned", true).await.unwrap();
    assert_eq!(stage.files(), 7, "three logs, three traces, and a document");
    let stage = stage.restarted(ONE, |_| {}).await;
    stage.build("last", 0, Ended { log: log("last"), ..Ended::default() });
    // Two logs, two traces and a document are left, once the others are collected.
    while stage.all().await != ["complete last", "complete pinned"] || stage.files() != 5 {
        tokio::task::yield_now().await;
    }
    assert!(stage.history.blob(&Digest::sha256("shared")).is_some());
    stage.history.forget("pinned").await.unwrap();
    assert!(stage.history.blob(&Digest::sha256("shared")).is_none());
    let error = stage.history.forget("pinned").await.unwrap_err();
    assert_eq!(error.to_string(), "no build pinned is in the history");
}

#[tokio::test]
async fn a_running_build_that_is_forgotten_is_not_remembered_when_it_ends() {
    let stage = Stage::new(ALL);
    let running = stage.history.begin(record("a"));
    stage.history.forget("a").await.unwrap();
    assert_eq!(stage.all().await, [""; 0]);
    running.finish(std::future::ready(Ended { record: record("a"), ..Ended::default() }));
    assert_eq!(stage.all().await, [""; 0]);
    assert_eq!(stage.files(), 0);
}

#[tokio::test]
async fn what_is_damaged_is_gone_and_the_rest_is_not() {
    let stage = Stage::new(ALL);
    for id in ["a", "b"] {
        stage.build(id, 0, Ended { log: log(id), ..Ended::default() });
    }
    let lost = stage.record("a").await.unwrap().logs.unwrap().digest;
    let stage = stage
        .restarted(ALL, |root| {
            let directory = root.join("history");
            fs::remove_file(directory.join(lost.strip_prefix("sha256:").unwrap())).unwrap();
            fs::write(directory.join("unfinished-0"), "x").unwrap();
            fs::write(directory.join(Digest::sha256("orphan").hex()), "orphan").unwrap();
        })
        .await;
    assert_eq!(stage.all().await, ["complete b"]);
    assert_eq!(stage.files(), 2, "a log and a trace");
    let garbage = |root: PathBuf| fs::write(root.join(FILE), "no database").unwrap();
    let stage = stage.restarted(ALL, garbage).await;
    assert_eq!(stage.all().await, [""; 0]);
    assert_eq!(stage.files(), 0);
    stage.build("c", 0, Ended::default());
    assert_eq!(stage.all().await, ["complete c"]);
}

/// Moves the history into the file that it had for itself, as an older daemon left it.
fn as_it_was(root: PathBuf) {
    use redb::{ReadableDatabase as _, TableDefinition};
    let metadata = redb::Database::open(root.join(FILE)).unwrap();
    let earlier = redb::Database::create(root.join("history.redb")).unwrap();
    let (from, to) = (metadata.begin_read().unwrap(), earlier.begin_write().unwrap());
    let (new, old) = (TableDefinition::<&str, &[u8]>::new("history.records"), "records");
    copy(&from, new, &to, TableDefinition::new(old)).unwrap();
    for (new, old) in [("history.blobs", "blobs"), ("history.attachments", "attachments")] {
        let new = TableDefinition::<&str, &str>::new(new);
        copy(&from, new, &to, TableDefinition::new(old)).unwrap();
    }
    to.commit().unwrap();
    drop((from, metadata));
    fs::remove_file(root.join(FILE)).unwrap();
}

#[tokio::test]
async fn builds_are_remembered_that_were_so_in_a_file_of_its_own() {
    let stage = Stage::new(ALL);
    let attachments = [("a/b".to_owned(), "steps".into())];
    stage.build("a", 0, Ended { attachments: attachments.into(), ..Ended::default() });
    let stage = stage.restarted(ALL, as_it_was).await;
    assert_eq!(stage.all().await, ["complete a"]);
    assert_eq!(stage.history.attached("a/b", 1).await.unwrap()[0].1, Some(b"steps".to_vec()));
    assert!(!stage.root.path().join("history.redb").exists());
}

/// What others write to the same database does not depend on what becomes of the history.
#[tokio::test]
async fn a_history_of_another_version_is_begun_anew_and_the_store_stays() {
    let stage = Stage::new(ALL);
    stage.build("a", 0, Ended { log: log("a"), ..Ended::default() });
    let kept = stage.store.prepare(None).await.unwrap().commit().await.unwrap();
    kept.keep(kiln_store::RecordInfo::default()).await.unwrap();
    let id = kept.id().to_owned();
    drop(kept);
    let later = |root: PathBuf| {
        let metadata = Metadata::open(&root, None).unwrap();
        let schemas = redb::TableDefinition::<&str, u64>::new("schemas");
        let written = metadata.write(Durability::Immediate, |transaction| {
            transaction.open_table(schemas)?.insert("history", 99)?;
            Ok(())
        });
        written.unwrap();
    };
    let stage = stage.restarted(ALL, later).await;
    assert_eq!(stage.all().await, [""; 0]);
    assert_eq!(stage.files(), 0);
    stage.store.load(&id).unwrap();
}

#[tokio::test]
async fn others_cannot_read_what_is_remembered() {
    let stage = Stage::new(ALL);
    stage.build("a", 0, Ended { log: log("a"), ..Ended::default() });
    stage.history.written(None).await.unwrap();
    let directory = stage.root.path().join("history");
    let blob = fs::read_dir(&directory).unwrap().next().unwrap().unwrap().path();
    for path in [directory, blob, stage.root.path().join(FILE)] {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
}

#[tokio::test]
async fn what_is_attached_is_found_after_a_restart_and_goes_with_its_build() {
    let stage = Stage::new(ALL);
    let attachments = [("a/b".to_owned(), "steps".into())];
    stage.build("with", 200, Ended { attachments: attachments.into(), ..Ended::default() });
    stage.build("without", 100, Ended::default());
    let stage = stage.restarted(ALL, |_| {}).await;
    let attached = stage.history.attached("a/b", 9).await.unwrap();
    let attached: Vec<_> =
        attached.into_iter().map(|(record, bytes)| (record.r#ref, bytes)).collect();
    let steps = Some(b"steps".to_vec());
    assert_eq!(attached, [("without".to_owned(), None), ("with".to_owned(), steps)]);
    assert_eq!(stage.history.attached("c/d", 1).await.unwrap()[0].1, None);
    stage.history.forget("with").await.unwrap();
    assert!(stage.history.blob(&Digest::sha256("steps")).is_none());
}
