//! The debug endpoint: metrics, and what the daemon is doing just now, over plain HTTP.
//!
//! Requests come in, texts go out. Nothing can be changed here, and nothing of the content of builds
//! but the names of their steps can be read. It is there only for who configures an address.

mod dump;
mod process;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;

use crate::Daemon;
use crate::listen::{Connection, Listener};
use process::ProcessFacts;

/// How many connections are answered at the same time.
const MOST_CONNECTIONS: usize = 32;
/// How long a request and its answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

/// A page: its path, what it is, its kind of text, and how it is made.
struct Page {
    path: &'static str,
    about: &'static str,
    content_type: &'static str,
    make: fn(&Daemon) -> String,
}

/// All pages; paths are those of BuildKit's and Go's endpoints where they answer the same question.
const PAGES: &[Page] = &[
    Page {
        path: "/metrics",
        about: "counters of builds and steps, for Prometheus",
        content_type: METRICS,
        make: |daemon| {
            let builds = daemon.0.builder.builds().metrics().text();
            builds + &ProcessFacts::read().metrics()
        },
    },
    Page {
        path: "/debug/pprof/goroutine",
        about: "builds, their running steps, and threads",
        content_type: TEXT,
        make: |daemon| dump::text(&daemon.0.builder.builds().running(), &ProcessFacts::read()),
    },
    Page {
        path: "/debug/vars",
        about: "version and process, as JSON",
        content_type: JSON,
        make: |_| ProcessFacts::read().json(),
    },
    Page { path: "/debug/pprof/", about: "this list", content_type: TEXT, make: |_| index() },
];

/// Answers requests until the future is dropped.
pub async fn serve(daemon: Daemon, listener: Listener) {
    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = Box::pin(listener.connections());
    let mut answers = tokio::task::JoinSet::new();
    while let Some(Ok(connection)) = connections.next().await {
        while answers.try_join_next().is_some() {}
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let daemon = daemon.clone();
        answers.spawn(async move {
            let answered = tokio::time::timeout(TIMEOUT, converse(&daemon, connection)).await;
            if let Ok(Err(error)) = answered {
                tracing::debug!(%error, "debug endpoint");
            }
            drop(slot);
        });
    }
}

async fn converse(daemon: &Daemon, connection: Connection) -> Result<(), hyper::Error> {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let response = answer(daemon, request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .serve_connection(TokioIo::new(connection), service)
        .await
}

fn answer(daemon: &Daemon, method: &Method, path: &str) -> Response<String> {
    let page = PAGES.iter().find(|page| page.path == path);
    let (status, content_type, text) = match (page, method) {
        (_, method) if method != Method::GET => {
            (StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET is answered here\n".to_owned())
        }
        (Some(page), _) => (StatusCode::OK, page.content_type, (page.make)(daemon)),
        (None, _) => {
            (StatusCode::NOT_FOUND, TEXT, format!("there is no {path} here, but\n{}", index()))
        }
    };
    let mut response = Response::new(text);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}

fn index() -> String {
    PAGES.iter().map(|page| format!("{}: {}\n", page.path, page.about)).collect()
}
