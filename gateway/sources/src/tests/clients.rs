//! The sessions of a build, with clients at the other end of real tunnels.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use kiln_filesync::{Filter, Root, SendOptions};
use kiln_graph::LocalSource;
use kiln_registry::{Credential, Token, TokenRequest};
use kiln_session::SessionManager;
use kiln_wire::proto::control::BytesMessage;
use kiln_wire::proto::filetree::Packet;
use kiln_wire::proto::secrets::secrets_server::{Secrets, SecretsServer};
use kiln_wire::proto::secrets::{GetSecretRequest, GetSecretResponse};
use kiln_wire::proto::session_files::auth_server::{Auth, AuthServer};
use kiln_wire::proto::session_files::file_sync_server::{FileSync, FileSyncServer};
use kiln_wire::proto::session_files::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse,
    GetTokenAuthorityRequest, GetTokenAuthorityResponse, VerifyTokenAuthorityRequest,
    VerifyTokenAuthorityResponse,
};
use kiln_wire::proto::sshforward::ssh_server::{Ssh, SshServer};
use kiln_wire::proto::sshforward::{
    BytesMessage as AgentMessage, CheckAgentRequest, CheckAgentResponse,
};
use kiln_wire::{channel, tunnel};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::chain;
use crate::{Clients, Origin, Session};

/// A client with one secret, one login, one directory and an agent that says everything twice.
#[derive(Clone)]
struct Person {
    secret: &'static str,
    fetches_tokens: bool,
    directory: PathBuf,
}

#[tonic::async_trait]
impl Secrets for Person {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        match request.into_inner().id == self.secret {
            true => Ok(Response::new(GetSecretResponse { data: self.secret.into() })),
            false => Err(Status::not_found("no such secret")),
        }
    }
}

#[tonic::async_trait]
impl Auth for Person {
    async fn credentials(
        &self,
        request: Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let (username, secret) = match request.into_inner().host.as_str() {
            "mine.example" => ("me".to_owned(), "pw".to_owned()),
            _ => Default::default(),
        };
        Ok(Response::new(CredentialsResponse { username, secret }))
    }

    async fn fetch_token(
        &self,
        request: Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        let token = request.into_inner().scopes.join(" ");
        Ok(Response::new(FetchTokenResponse { token, expires_in: 300, issued_at: 0 }))
    }

    async fn get_token_authority(
        &self,
        _: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        match self.fetches_tokens {
            true => Ok(Response::new(GetTokenAuthorityResponse { public_key: "key".into() })),
            false => Err(Status::unimplemented("no tokens")),
        }
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }
}

#[tonic::async_trait]
impl FileSync for Person {
    async fn diff_copy(
        &self,
        request: Request<Streaming<Packet>>,
    ) -> Result<Response<BoxStream<Packet>>, Status> {
        let include = request.metadata().get_all("include-patterns").iter();
        let include = include.filter_map(|value| Some(value.to_str().ok()?.to_owned())).collect();
        let options = SendOptions {
            filter: Filter { include, ..Filter::default() },
            ..SendOptions::default()
        };
        let root = Root::open(&self.directory).map_err(|e| Status::not_found(e.to_string()))?;
        let (packets, outgoing) = kiln_filesync::outgoing();
        tokio::spawn(kiln_filesync::send(root, options, request.into_inner(), packets));
        Ok(Response::new(outgoing.map(Ok).boxed()))
    }

    async fn tar_stream(
        &self,
        _: Request<Streaming<Packet>>,
    ) -> Result<Response<BoxStream<Packet>>, Status> {
        Err(Status::unimplemented("nobody uses it"))
    }
}

#[tonic::async_trait]
impl Ssh for Person {
    async fn check_agent(
        &self,
        request: Request<CheckAgentRequest>,
    ) -> Result<Response<CheckAgentResponse>, Status> {
        match request.into_inner().id.as_str() {
            "default" => Ok(Response::new(CheckAgentResponse {})),
            id => Err(Status::not_found(format!("unset ssh forward key {id}"))),
        }
    }

    async fn forward_agent(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<BoxStream<AgentMessage>>, Status> {
        let twice = request.into_inner().map(|message| {
            let message = message?;
            Ok(AgentMessage { data: [&message.data[..], &message.data[..]].concat().into() })
        });
        Ok(Response::new(twice.boxed()))
    }
}

const METHODS: &[&str] = &[
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.filesync.v1.FileSync/DiffCopy",
    "/moby.sshforward.v1.SSH/CheckAgent",
];

/// Opens the session of a person, which ends when the task is aborted.
async fn open(manager: &SessionManager, id: &str, person: Person) -> tokio::task::JoinHandle<()> {
    let mut metadata = MetadataMap::new();
    metadata.insert("x-docker-expose-session-uuid", id.parse().unwrap());
    metadata.insert("x-docker-expose-session-sharedkey", "key".parse().unwrap());
    for method in METHODS {
        metadata.append("x-docker-expose-session-grpc-method", method.parse().unwrap());
    }
    let (to_daemon, at_daemon) = mpsc::channel::<Result<BytesMessage, Status>>(4);
    let outgoing = manager.handle(&metadata, ReceiverStream::new(at_daemon)).unwrap();
    let (io, mut from_client) = tunnel::join::<BytesMessage, _>(outgoing.map(Ok));
    let (_, health) = tonic_health::server::health_reporter();
    let router = channel::server()
        .add_service(health)
        .add_service(SecretsServer::new(person.clone()))
        .add_service(AuthServer::new(person.clone()))
        .add_service(SshServer::new(person.clone()))
        .add_service(FileSyncServer::new(person));
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
    manager.get(id, Duration::from_secs(5)).await.unwrap();
    serving
}

fn person(secret: &'static str) -> Person {
    Person { secret, fetches_tokens: false, directory: PathBuf::from("/nowhere") }
}

fn clients(manager: &SessionManager) -> Clients {
    Clients::new(manager, ["one".to_owned(), "two".to_owned()])
}

#[tokio::test]
async fn a_secret_may_be_in_any_session() {
    let manager = SessionManager::default();
    let _one = open(&manager, "one", person("first")).await;
    let _two = open(&manager, "two", person("second")).await;
    let clients = clients(&manager);
    assert_eq!((clients.id(), clients.shared_key("").await.as_str()), ("one", "key"));
    for id in ["first", "second"] {
        assert_eq!(clients.secret(id).await.unwrap().as_deref(), Some(id.as_bytes()));
    }
    assert_eq!(clients.secret("third").await.unwrap(), None);
}

#[tokio::test]
async fn a_client_gives_its_login_or_fetches_the_token_itself() {
    let manager = SessionManager::default();
    let request = TokenRequest {
        client_id: "kiln".into(),
        host: "mine.example".into(),
        realm: "https://mine.example/token".into(),
        service: "mine".into(),
        scopes: vec!["repository:x:pull".into()],
    };
    let one = open(&manager, "one", person("")).await;
    let logins = clients(&manager).credentials();
    let login = Credential { username: "me".into(), secret: "pw".into() };
    assert_eq!(logins.credentials("mine.example").await.unwrap(), Some(login));
    assert_eq!(logins.credentials("other.example").await.unwrap(), None);
    assert_eq!(logins.fetch_token(&request).await.unwrap(), None);
    one.abort();

    let careful = Person { fetches_tokens: true, ..person("") };
    let _two = open(&manager, "two", careful).await;
    let logins = Clients::new(&manager, ["two".to_owned()]).credentials();
    let expires_in = Some(Duration::from_secs(300));
    let token = Token { token: "repository:x:pull".into(), expires_in };
    assert_eq!(logins.fetch_token(&request).await.unwrap(), Some(token));
}

#[tokio::test]
async fn a_directory_crosses_and_its_bytes_are_counted() {
    let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(theirs.path().join("a.txt"), "hello").unwrap();
    fs::write(theirs.path().join("b.log"), "no").unwrap();
    let manager = SessionManager::default();
    let directory = theirs.path().to_owned();
    let _one = open(&manager, "one", Person { directory, ..person("") }).await;
    let source = LocalSource {
        name: "context".into(),
        include_patterns: vec!["*.txt".into()],
        ..LocalSource::default()
    };
    let bytes = Arc::new(AtomicU64::new(0));
    let counted = bytes.clone();
    let received = Arc::new(move |now| counted.store(now, Ordering::SeqCst));
    let before = Origin::default();
    let origin = clients(&manager).receive(&source, ours.path(), &before, received).await;
    assert_eq!(origin.unwrap().session, "one");
    assert_eq!(fs::read_to_string(ours.path().join("a.txt")).unwrap(), "hello");
    assert!(!ours.path().join("b.log").exists());
    assert_eq!(bytes.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn a_list_crosses_with_the_files_that_are_wanted() {
    let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(theirs.path().join("a.txt"), "hello").unwrap();
    fs::write(theirs.path().join("b.log"), "no").unwrap();
    let manager = SessionManager::default();
    let directory = theirs.path().to_owned();
    let _one = open(&manager, "one", Person { directory, ..person("") }).await;
    let listing = Some(vec!["*.txt".to_owned()]);
    let source = LocalSource { name: "context".into(), listing, ..LocalSource::default() };
    let (before, received) = (Origin::default(), Arc::new(|_| ()));
    let origin = clients(&manager).receive(&source, ours.path(), &before, received).await;
    origin.unwrap();
    let entries = fs::read_dir(ours.path()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [kiln_filesync::listing::NAME, "a.txt"]);
}

#[tokio::test]
async fn an_agent_is_reached_by_a_socket_while_the_handle_lives() {
    let manager = SessionManager::default();
    let _one = open(&manager, "one", person("")).await;
    let clients = clients(&manager);
    let agent = clients.ssh_agent("default").await.unwrap();
    let mut socket = tokio::net::UnixStream::connect(&agent.path).await.unwrap();
    socket.write_all(b"ping").await.unwrap();
    let mut answer = [0; 8];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"pingping");
    let path = agent.path.clone();
    drop(agent);
    assert!(!path.exists());
    let error = clients.ssh_agent("other").await.unwrap_err();
    assert!(chain(&*error).contains("unset ssh forward key other"), "{}", chain(&*error));
}

/// A directory with one file of two bytes that was modified at this time, in nanoseconds.
fn directory_with(text: &str, modified: u64) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let file = fs::File::create(directory.path().join("f")).unwrap();
    fs::write(directory.path().join("f"), text).unwrap();
    let time = std::time::SystemTime::UNIX_EPOCH + Duration::from_nanos(modified);
    file.set_modified(time).unwrap();
    directory
}

#[tokio::test]
async fn directories_of_two_sessions_are_not_taken_for_each_other() {
    let source = LocalSource { name: "context".into(), ..LocalSource::default() };
    let manager = SessionManager::default();
    // A whole second, and a moment ago as a clock has it.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    for modified in [1_700_000_000_000_000_000, u64::try_from(now.as_nanos()).unwrap() | 1] {
        let (first, second) = (directory_with("11", modified), directory_with("22", modified));
        let ours = tempfile::tempdir().unwrap();
        let mut origin = Origin::default();
        for (id, directory, text) in
            [("one", &first, "11"), ("two", &second, "22"), ("three", &first, "11")]
        {
            let id = format!("{id}-{modified}");
            let directory = directory.path().to_owned();
            let _session = open(&manager, &id, Person { directory, ..person("") }).await;
            let clients = Clients::new(&manager, [id]);
            let received = clients.receive(&source, ours.path(), &origin, Arc::new(|_| {})).await;
            origin = received.unwrap();
            assert_eq!(fs::read_to_string(ours.path().join("f")).unwrap(), text, "{modified}");
        }
    }
}

#[tokio::test]
async fn what_a_session_has_sent_before_is_not_sent_again() {
    let source = LocalSource { name: "context".into(), ..LocalSource::default() };
    let manager = SessionManager::default();
    let old = 1_700_000_000_123_456_789;
    let theirs = directory_with("11", old);
    let ours = tempfile::tempdir().unwrap();
    let mut origin = Origin::default();
    let mut sent = Vec::new();
    let person = Person { directory: theirs.path().to_owned(), ..person("") };
    let _one = open(&manager, "one", person.clone()).await;
    let _two = open(&manager, "two", person).await;
    for id in ["one", "one", "two"] {
        let clients = Clients::new(&manager, [id.to_owned()]);
        let bytes = Arc::new(AtomicU64::new(0));
        let counted = bytes.clone();
        let received = Arc::new(move |now| counted.store(now, Ordering::SeqCst));
        origin = clients.receive(&source, ours.path(), &origin, received).await.unwrap();
        sent.push(bytes.load(Ordering::SeqCst));
    }
    assert_eq!(sent, [2, 0, 0], "an old file with a clock's time is known to later sessions, too");
}

#[tokio::test]
async fn a_secret_is_waited_for_until_its_session_is_open() {
    let manager = SessionManager::default();
    let waiting = tokio::spawn({
        let clients = clients(&manager);
        async move { clients.secret("first").await.unwrap() }
    });
    tokio::task::yield_now().await;
    let _one = open(&manager, "one", person("first")).await;
    assert_eq!(waiting.await.unwrap().as_deref(), Some(&b"first"[..]));
}

#[tokio::test]
async fn a_secret_whose_session_never_comes_is_named_with_it() {
    let clients = Clients::new(&SessionManager::default(), ["missing".to_owned()]);
    let error = clients.secret("mine").await.unwrap_err();
    assert!(error.to_string().contains("no active session for missing"), "{error}");
    let none = Clients::new(&SessionManager::default(), [String::new()]);
    assert_eq!(none.secret("mine").await.unwrap(), None, "a request without a session");
}
