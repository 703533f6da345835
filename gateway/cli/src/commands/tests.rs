//! Commands against a daemon that says what the test wants.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Parser as _;
use futures::stream::{self, StreamExt as _};
use kiln_oci::Digest;
use kiln_progress::{Progress, Vertex, wire};
use kiln_wire::pb;
use kiln_wire::proto::control::control_server::{Control, ControlServer};
use kiln_wire::proto::control::{self, BytesMessage, SolveRequest, SolveResponse};
use kiln_wire::status::{Detail, RichStatus, Source};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::codegen::BoxStream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::{Context, run};
use crate::args::Cli;
use crate::embedded::OwnDaemon;
use crate::endpoint::{Address, Endpoint};
use crate::environment::Environment;
use crate::failure;

/// A daemon whose builds all have one step, and fail if their frontend is `broken`.
struct Scripted;

fn step() -> Vertex {
    let now = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    Vertex { started: now, completed: now, ..Vertex::new(Digest::sha256("step"), "[1/1] RUN it") }
}

fn mistake() -> Status {
    let position = |line| Some(pb::Position { line, character: 0 });
    let info = pb::SourceInfo {
        filename: "Dockerfile".into(),
        data: "FROM a\nRUN false\n".into(),
        ..pb::SourceInfo::default()
    };
    let ranges = vec![pb::Range { start: position(2), end: position(2) }];
    RichStatus::new(Code::Unknown, "exit code: 1")
        .with(Detail::Source(Source { info, ranges }))
        .to_status()
}

#[tonic::async_trait]
impl Control for Scripted {
    async fn disk_usage(
        &self,
        request: Request<control::DiskUsageRequest>,
    ) -> Result<Response<control::DiskUsageResponse>, Status> {
        match request.into_inner().filter.as_slice() {
            [] => Ok(Response::new(control::DiskUsageResponse::default())),
            filter => Err(Status::invalid_argument(format!("bad filter {}", filter.join(",")))),
        }
    }

    async fn prune(
        &self,
        _: Request<control::PruneRequest>,
    ) -> Result<Response<BoxStream<control::UsageRecord>>, Status> {
        Ok(Response::new(stream::empty().boxed()))
    }

    async fn solve(
        &self,
        request: Request<SolveRequest>,
    ) -> Result<Response<SolveResponse>, Status> {
        let request = request.into_inner();
        if request.frontend == "broken" {
            return Err(mistake());
        }
        let mut answer = SolveResponse::default();
        answer.exporter_response.insert("frontend".into(), request.frontend);
        answer.exporter_response.extend(request.frontend_attrs);
        Ok(Response::new(answer))
    }

    async fn status(
        &self,
        _: Request<control::StatusRequest>,
    ) -> Result<Response<BoxStream<control::StatusResponse>>, Status> {
        let responses = wire::to_responses([Progress::Vertex(step())]);
        Ok(Response::new(stream::iter(responses.into_iter().map(Ok)).boxed()))
    }

    async fn session(
        &self,
        _: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<BoxStream<BytesMessage>>, Status> {
        Ok(Response::new(stream::pending().boxed()))
    }

    async fn list_workers(
        &self,
        _: Request<control::ListWorkersRequest>,
    ) -> Result<Response<control::ListWorkersResponse>, Status> {
        Ok(Response::new(control::ListWorkersResponse::default()))
    }

    async fn info(
        &self,
        _: Request<control::InfoRequest>,
    ) -> Result<Response<control::InfoResponse>, Status> {
        Ok(Response::new(control::InfoResponse::default()))
    }

    async fn listen_build_history(
        &self,
        _: Request<control::BuildHistoryRequest>,
    ) -> Result<Response<BoxStream<control::BuildHistoryEvent>>, Status> {
        Err(Status::unimplemented("no history here"))
    }

    async fn update_build_history(
        &self,
        _: Request<control::UpdateBuildHistoryRequest>,
    ) -> Result<Response<control::UpdateBuildHistoryResponse>, Status> {
        Err(Status::unimplemented("no history here"))
    }
}

/// A directory with a daemon in it; what is on the line is done against it.
struct Stage {
    directory: tempfile::TempDir,
}

impl Stage {
    fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("daemon.sock")).unwrap();
        let server = tonic::transport::Server::builder().add_service(ControlServer::new(Scripted));
        tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// `@` in the line stands for the directory.
    async fn run(&self, line: &str) -> Result<(), String> {
        let line = line.replace('@', &self.directory.path().display().to_string());
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let address = Address {
            url: format!("unix://{}", self.path("daemon.sock").display()),
            tls: None,
            timeout: Duration::from_secs(10),
            wait: false,
        };
        let context = Context {
            endpoint: Endpoint::Address(address),
            environment: Environment { stderr_terminal: false, ..Environment::default() },
            own_daemon: OwnDaemon::default(),
        };
        let result = run(&context, cli.command.unwrap()).await;
        result.map_err(|error| failure::report(&error))
    }
}

#[tokio::test]
async fn a_build_leaves_its_answers_its_id_its_trace_and_its_figures() {
    let stage = Stage::open();
    std::fs::write(stage.path("Dockerfile"), "FROM scratch\n").unwrap();
    stage
        .run(
            "kiln build @ --opt target=x --progress quiet --metadata-file @/meta --ref-file @/ref \
             --trace @/trace --debug-json-cache-metrics @/figures",
        )
        .await
        .unwrap();
    let answers: serde_json::Value = serde_json::from_str(&stage.read("meta")).unwrap();
    assert_eq!(answers["frontend"], "dockerfile.v0");
    assert_eq!(answers["target"], "x");
    assert_eq!(stage.read("ref").len(), 25);
    assert!(stage.read("trace").contains("[1/1] RUN it"), "{}", stage.read("trace"));
    let figures: serde_json::Value = serde_json::from_str(&stage.read("figures")).unwrap();
    assert_eq!(figures["miss"], 1);
}

#[tokio::test]
async fn a_failed_build_shows_the_users_line() {
    let stage = Stage::open();
    let report = stage.run("kiln build --frontend broken --progress quiet").await.unwrap_err();
    assert!(report.contains("   2 | >>> RUN false\n"), "{report}");
    assert!(report.ends_with("error: failed to solve: exit code: 1\n"), "{report}");
}

#[tokio::test]
async fn what_the_daemon_says_about_other_commands_is_passed_on() {
    let stage = Stage::open();
    let report = stage.run("kiln du --filter nonsense").await.unwrap_err();
    assert_eq!(report, "error: failed to read disk usage: bad filter nonsense\n");
    stage.run("kiln prune --format json").await.unwrap();
    stage.run("kiln debug workers").await.unwrap();
}

#[tokio::test]
async fn an_image_without_a_name_is_not_sent_anywhere() {
    let stage = Stage::open();
    let report = stage.run("kiln frontend pack /bin/true -o registry").await.unwrap_err();
    assert!(report.contains("add --name"), "{report}");
    stage.run("kiln frontend pack /bin/true -o dir=@/layout").await.unwrap();
    assert!(Path::new(&stage.path("layout/index.json")).exists());
}

#[tokio::test]
async fn a_daemon_that_is_not_kilns_cannot_say_why_and_still_says_what_ran() {
    let stage = Stage::open();
    let report = stage.run("kiln why").await.unwrap_err();
    assert!(report.contains("this daemon cannot say why a step ran: it is not Kiln's"), "{report}");
    std::fs::write(stage.path("Dockerfile"), "FROM scratch\n").unwrap();
    let build = "kiln build @ --progress quiet --expect-cached";
    let report = stage.run(&format!("{build} RUN?it")).await.unwrap_err();
    assert!(report.contains("expected in the cache ran: [1/1] RUN it"), "{report}");
    let report = stage.run(&format!("{build} COPY*")).await.unwrap_err();
    assert!(report.contains("fits none of the steps: [1/1] RUN it"), "{report}");
}
