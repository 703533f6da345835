//! Sessions with a client made by hand: how they begin, how they end, and what callers notice.

use std::time::Duration;

use futures::StreamExt;
use kiln_session::{CallError, Health, SessionError, SessionManager};
use kiln_wire::proto::control::BytesMessage;
use kiln_wire::proto::secrets::secrets_server::{Secrets, SecretsServer};
use kiln_wire::proto::secrets::{GetSecretRequest, GetSecretResponse};
use kiln_wire::{channel, tunnel};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

/// A second of patience in tests.
const SOON: Duration = Duration::from_secs(5);

struct Drawer;

#[tonic::async_trait]
impl Secrets for Drawer {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        match request.into_inner().id.as_str() {
            "slow" => std::future::pending().await,
            "large" => Ok(Response::new(GetSecretResponse { data: vec![0; 600 << 10].into() })),
            "mine" => Ok(Response::new(GetSecretResponse { data: "value".into() })),
            "broken" => Err(Status::internal("the drawer is stuck")),
            id => Err(Status::not_found(format!("secret {id}: not found"))),
        }
    }
}

/// The client's end of a session; dropping it hangs up.
struct Client {
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn metadata(id: &str, methods: &[&str]) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    metadata.insert("x-docker-expose-session-uuid", id.parse().unwrap());
    metadata.insert("x-docker-expose-session-sharedkey", "key".parse().unwrap());
    for method in methods {
        metadata.append("x-docker-expose-session-grpc-method", method.parse().unwrap());
    }
    metadata
}

/// Opens a session whose client serves secrets, and health if it is `healthy`.
async fn open(manager: &SessionManager, id: &str, healthy: bool) -> Client {
    let (to_daemon, at_daemon) = mpsc::channel::<Result<BytesMessage, Status>>(4);
    let outgoing = manager
        .handle(
            &metadata(id, &["/moby.buildkit.secrets.v1.Secrets/GetSecret"]),
            ReceiverStream::new(at_daemon),
        )
        .unwrap();
    let (io, mut from_client) = tunnel::join::<BytesMessage, _>(outgoing.map(Ok));
    let mut router = channel::server().add_service(SecretsServer::new(Drawer));
    if healthy {
        let (_, health) = tonic_health::server::health_reporter();
        router = router.add_service(health);
    }
    let serving = tokio::spawn(async move {
        let pump = async {
            while let Some(message) = from_client.next().await {
                if to_daemon.send(Ok(message)).await.is_err() {
                    break;
                }
            }
        };
        let (served, ()) = tokio::join!(channel::serve(router, io), pump);
        served.ok();
    });
    Client { serving }
}

#[tokio::test]
async fn a_build_may_come_before_its_session() {
    let manager = SessionManager::default();
    let waiting = tokio::spawn({
        let manager = manager.clone();
        async move { manager.get("prefix:early", SOON).await }
    });
    tokio::task::yield_now().await;
    let _client = open(&manager, "early", true).await;
    let caller = waiting.await.unwrap().unwrap();
    assert_eq!((caller.id(), caller.shared_key()), ("early", "key"));
    assert!(caller.supports("/moby.buildkit.secrets.v1.secrets/getsecret"));
    assert!(!caller.supports("/moby.filesync.v1.FileSync/DiffCopy"));
}

#[tokio::test]
async fn a_session_that_never_comes_is_not_found() {
    let error =
        SessionManager::default().get("nobody", Duration::from_millis(20)).await.unwrap_err();
    assert!(matches!(error, SessionError::NotFound { id, .. } if id == "nobody"));
}

#[tokio::test]
async fn secrets_are_there_or_not_or_too_large() {
    let manager = SessionManager::default();
    let _client = open(&manager, "one", true).await;
    let caller = manager.get("one", SOON).await.unwrap();
    assert_eq!(caller.secret("mine").await.unwrap().as_deref(), Some(&b"value"[..]));
    assert_eq!(caller.secret("other").await.unwrap(), None);
    assert!(matches!(caller.secret("large").await, Err(CallError::TooLarge { .. })));
    let error = caller.secret("broken").await.unwrap_err();
    assert_eq!(error.to_string(), "secret `broken` failed at the client: the drawer is stuck");
    assert!(matches!(caller.ssh_check("").await, Err(CallError::Unsupported(_))));
}

#[tokio::test]
async fn hanging_up_ends_calls_and_the_session() {
    let manager = SessionManager::default();
    let client = open(&manager, "one", true).await;
    let caller = manager.get("one", SOON).await.unwrap();
    let slow = tokio::spawn({
        let caller = caller.clone();
        async move { caller.secret("slow").await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(client);
    let error = tokio::time::timeout(SOON, slow).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, CallError::Ended(_)), "{error:?}");
    tokio::time::timeout(SOON, caller.cancelled()).await.unwrap();
    assert!(manager.find("one").is_none());
    assert!(matches!(caller.secret("mine").await, Err(CallError::Ended(_))));
}

#[tokio::test]
async fn the_last_session_of_an_id_wins() {
    let manager = SessionManager::default();
    let _first = open(&manager, "same", true).await;
    let earlier = manager.get("same", SOON).await.unwrap();
    let _second = open(&manager, "same", true).await;
    let ended = tokio::time::timeout(SOON, earlier.cancelled()).await.unwrap();
    assert_eq!(ended.to_string(), "session same ended: the client opened it again");
    let later = manager.get("same", SOON).await.unwrap();
    assert!(!later.is_over());
    assert!(later.secret("mine").await.unwrap().is_some());
    assert_eq!(manager.ids(), ["same"]);
}

#[tokio::test]
async fn a_client_that_hangs_fails_its_health_check() {
    let manager = SessionManager::new(short(Duration::from_millis(50)));
    // The connection stands, but nobody reads from it.
    let (to_daemon, at_daemon) = mpsc::channel::<Result<BytesMessage, Status>>(4);
    let outgoing = manager.handle(&metadata("hung", &[]), ReceiverStream::new(at_daemon)).unwrap();
    let caller = manager.get("hung", SOON).await.unwrap();
    let ended = tokio::time::timeout(SOON, caller.cancelled()).await.unwrap();
    assert!(ended.cause.starts_with("health check failed (2 in a row)"), "{ended}");
    drop((to_daemon, outgoing));
}

#[tokio::test]
async fn a_client_that_only_sends_is_not_dead() {
    let manager = SessionManager::new(short(Duration::from_secs(3600)));
    let (to_daemon, at_daemon) = mpsc::channel::<Result<BytesMessage, Status>>(4);
    let outgoing = manager.handle(&metadata("busy", &[]), ReceiverStream::new(at_daemon)).unwrap();
    let caller = manager.get("busy", SOON).await.unwrap();
    // Long enough for many checks, none of which is answered.
    let long = tokio::time::timeout(Duration::from_millis(500), caller.cancelled());
    assert!(long.await.is_err());
    drop((to_daemon, outgoing));
}

#[tokio::test]
async fn a_client_can_ask_to_be_given_up_sooner() {
    let manager = SessionManager::default();
    let (to_daemon, at_daemon) = mpsc::channel::<Result<BytesMessage, Status>>(4);
    let mut metadata = metadata("short", &[]);
    metadata.insert("x-buildkit-session-health-custom-timeout", "1000".parse().unwrap());
    let outgoing = manager.handle(&metadata, ReceiverStream::new(at_daemon)).unwrap();
    let caller = manager.get("short", SOON).await.unwrap();
    let ended = tokio::time::timeout(SOON * 4, caller.cancelled()).await.unwrap();
    assert!(ended.cause.starts_with("health check failed (1 in a row)"), "{ended}");
    drop((to_daemon, outgoing));
}

#[tokio::test]
async fn nothing_is_sent_to_a_client_that_hung_up() {
    let manager = SessionManager::default();
    let (to_daemon, at_daemon) = mpsc::channel::<Result<BytesMessage, Status>>(4);
    let outgoing = manager.handle(&metadata("brief", &[]), ReceiverStream::new(at_daemon)).unwrap();
    let caller = manager.get("brief", SOON).await.unwrap();
    drop(to_daemon);
    caller.cancelled().await;
    // What was to be sent before is not read any more, and no goodbye follows.
    assert_eq!(outgoing.collect::<Vec<_>>().await, []);
}

/// Health checks that follow each other quickly.
fn short(silence: Duration) -> Health {
    let (interval, timeout) = (Duration::from_millis(20), Duration::from_millis(50));
    Health { interval, timeout, silence, ..Health::default() }
}

#[tokio::test]
async fn health_is_asked_again_and_again_and_its_absence_forgiven() {
    let (interval, timeout) = (Duration::from_millis(5), Duration::from_secs(5));
    let manager = SessionManager::new(Health { interval, timeout, ..Health::default() });
    let _well = open(&manager, "well", true).await;
    let _without = open(&manager, "without", false).await;
    for id in ["well", "without"] {
        let caller = manager.get(id, SOON).await.unwrap();
        assert!(
            tokio::time::timeout(Duration::from_millis(100), caller.cancelled()).await.is_err(),
            "{id}"
        );
    }
}

#[tokio::test]
async fn any_session_will_do() {
    let manager = SessionManager::default();
    let _client = open(&manager, "second", true).await;
    manager.get("second", SOON).await.unwrap();
    let ids = ["first".to_owned(), "second".to_owned()];
    let used = manager.any(&ids, Duration::from_millis(20), |caller| async move {
        Ok::<_, SessionError>(caller.id().to_owned())
    });
    assert_eq!(used.await.unwrap(), "second");
}
