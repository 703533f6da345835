//! What clients read of builds that have run: records, logs, errors, over the socket of a daemon.

use async_trait::async_trait;
use futures::TryStreamExt as _;
use kiln_client::{Client, Session, SolveOptions, new_id};
use kiln_frontend::{Bridge, BuildResult, Frontend, FrontendError, Ref};
use kiln_wire::proto::content::content_client::ContentClient;
use kiln_wire::proto::content::{InfoRequest, ListContentRequest, ReadContentRequest};
use kiln_wire::proto::control::control_client::ControlClient;
use kiln_wire::proto::control::{
    BuildHistoryEvent, BuildHistoryRecord, BuildHistoryRequest, StatusRequest,
    UpdateBuildHistoryRequest,
};
use tonic::Code;

use crate::kilnd::Kilnd;

/// Says no, or has nothing to build.
struct Scripted {
    fails: bool,
}

#[async_trait]
impl Frontend for Scripted {
    async fn build(&self, _: &dyn Bridge) -> Result<BuildResult<Ref>, FrontendError> {
        match self.fails {
            true => Err(FrontendError::invalid("line 3 makes no sense")),
            false => Ok(BuildResult::single(None)),
        }
    }
}

/// A build with an id of its own; whether it succeeded is as the frontend has it.
async fn build(client: &Client, fails: bool) -> String {
    build_with(client, fails, SolveOptions::default()).await
}

async fn build_with(client: &Client, fails: bool, options: SolveOptions) -> String {
    let id = new_id();
    let options = SolveOptions { id: id.clone(), ..options };
    let (progress, _) = kiln_progress::channel();
    let built = client.build(options, Session::default(), &Scripted { fails }, progress).await;
    assert_eq!(built.is_err(), fails);
    id
}

async fn asked(client: &Client, request: BuildHistoryRequest) -> Vec<BuildHistoryEvent> {
    let request = BuildHistoryRequest { early_exit: true, ..request };
    let events = ControlClient::new(client.channel()).listen_build_history(request).await.unwrap();
    events.into_inner().try_collect().await.unwrap()
}

async fn record(client: &Client, id: &str) -> BuildHistoryRecord {
    let request = BuildHistoryRequest { r#ref: id.to_owned(), ..BuildHistoryRequest::default() };
    let mut events = asked(client, request).await;
    assert_eq!(events.len(), 1, "{events:?}");
    events.remove(0).record.unwrap()
}

async fn update(client: &Client, request: UpdateBuildHistoryRequest) -> Result<(), tonic::Status> {
    ControlClient::new(client.channel()).update_build_history(request).await.map(drop)
}

async fn blob(client: &Client, digest: &str) -> Vec<u8> {
    let request = ReadContentRequest { digest: digest.to_owned(), ..ReadContentRequest::default() };
    let chunks = ContentClient::new(client.channel()).read(request).await.unwrap().into_inner();
    chunks.map_ok(|chunk| chunk.data).try_collect::<Vec<_>>().await.unwrap().concat()
}

#[tokio::test]
async fn a_build_that_failed_is_remembered_with_its_error_even_by_a_daemon_that_was_killed() {
    let mut daemon = Kilnd::start();
    let client = daemon.client().await;
    let (good, bad) = (build(&client, false).await, build(&client, true).await);
    let seen = record(&client, &bad).await;
    daemon.restart();
    let client = daemon.client().await;
    assert_eq!(record(&client, &bad).await, seen);
    assert!(seen.created_at.is_some() && seen.completed_at.is_some());
    assert!(seen.error.unwrap().message.contains("line 3 makes no sense"));
    let error = seen.external_error.unwrap();
    let content = blob(&client, &error.digest).await;
    assert_eq!(i64::try_from(content.len()).unwrap(), error.size);
    assert_eq!(record(&client, &good).await.error, None);
    // The newest first; filters are over all of them.
    let all = asked(&client, BuildHistoryRequest::default()).await;
    let ids: Vec<_> = all.into_iter().map(|event| event.record.unwrap().r#ref).collect();
    assert_eq!(ids, [bad.clone(), good.clone()]);
    let filter = vec!["status==error".to_owned()];
    let found = asked(&client, BuildHistoryRequest { filter, ..Default::default() }).await;
    assert_eq!(found.len(), 1);
    // The progress of a build is that of its log.
    let status = StatusRequest { r#ref: good };
    let messages = ControlClient::new(client.channel()).status(status).await.unwrap();
    assert!(messages.metadata().get("buildkit-current-timestamp").is_some());
    messages.into_inner().try_collect::<Vec<_>>().await.unwrap();
}

#[tokio::test]
async fn what_is_deleted_is_gone_with_its_blobs() {
    let daemon = Kilnd::start();
    let client = daemon.client().await;
    let id = build(&client, true).await;
    let request = UpdateBuildHistoryRequest { r#ref: id, ..Default::default() };
    update(&client, UpdateBuildHistoryRequest { pinned: true, ..request.clone() }).await.unwrap();
    assert!(record(&client, &request.r#ref).await.pinned);
    let digest = record(&client, &request.r#ref).await.external_error.unwrap().digest;
    let mut content = ContentClient::new(client.channel());
    content.info(InfoRequest { digest: digest.clone() }).await.unwrap();
    update(&client, UpdateBuildHistoryRequest { finalize: true, ..request.clone() }).await.unwrap();
    let delete = UpdateBuildHistoryRequest { delete: true, ..request };
    update(&client, delete.clone()).await.unwrap();
    assert_eq!(update(&client, delete).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(asked(&client, BuildHistoryRequest::default()).await, []);
    let missing = content.info(InfoRequest { digest }).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    let left = content.list(ListContentRequest::default()).await.unwrap().into_inner();
    assert_eq!(left.try_collect::<Vec<_>>().await.unwrap(), []);
}

#[tokio::test]
async fn a_build_of_a_tools_own_is_not_remembered() {
    let daemon = Kilnd::start();
    let client = daemon.client().await;
    build_with(&client, false, SolveOptions { internal: true, ..SolveOptions::default() }).await;
    assert_eq!(asked(&client, BuildHistoryRequest::default()).await, []);
}

#[tokio::test]
async fn what_is_outside_of_the_history_cannot_be_read_as_content() {
    let daemon = Kilnd::start();
    let client = daemon.client().await;
    let mut content = ContentClient::new(client.channel());
    for digest in ["", "../workerid", "sha256:../../workerid", "sha512:00"] {
        let error = content.info(InfoRequest { digest: digest.into() }).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{digest}: {error}");
    }
}
