//! A frontend run against a case, and its answers as JSON in the schema of `expected.json`.
//!
//! The plain build and every sub-request get a bridge of their own. What has no defined order in
//! BuildKit is put in a fixed one, so that equal answers are equal JSON. Nothing is compared here;
//! that is [`compare`](crate::compare)'s work.

mod assert;
mod build;
mod subrequest;

use kiln_frontend::{Frontend, FrontendError, run};
use kiln_wire::status::Source;
use serde_json::{Map, Value, json};
use tonic::Code;

pub use assert::assert_replay;

use crate::case::{Case, CaseError};
use crate::fixture::{Asked, Fixture, Forward};
use crate::render;

/// Runs a frontend against a case: the plain build and every sub-request.
///
/// Errors of the frontend are part of the answer.
///
/// # Errors
///
/// If the case itself cannot be used.
pub async fn replay(frontend: &dyn Frontend, case: &Case) -> Result<Value, CaseError> {
    let fixture = Fixture::from_case(case)?;
    let requests = case.requests();
    Ok(replay_fixture(frontend, &fixture, &requests, case.full_subrequest_sources).await)
}

/// [`replay`] for callers that are not asynchronous.
///
/// # Errors
///
/// If the case itself cannot be used.
pub fn replay_blocking(frontend: &dyn Frontend, case: &Case) -> Result<Value, CaseError> {
    crate::block_on(replay(frontend, case))
}

/// Runs a frontend against a fixture: the plain build and the sub-requests that are named.
///
/// `full_sources` keeps the copies of the user's file in the answers to sub-requests.
pub async fn replay_fixture(
    frontend: &dyn Frontend,
    fixture: &Fixture,
    requests: &[&str],
    full_sources: bool,
) -> Value {
    let bridge = fixture.bridge();
    let result = run(frontend, &bridge).await;
    let build = build::answer(result, &bridge.into_asked());
    let mut answers = Map::new();
    for request in requests {
        let bridge = fixture.clone().option("requestid", request).bridge();
        let result = run(frontend, &bridge).await;
        let answer = subrequest::answer(result, &bridge.into_asked(), full_sources);
        answers.insert((*request).to_owned(), answer);
    }
    json!({"build": build, "subrequests": answers})
}

/// The call of a frontend that the fixture does not have, if there was one.
fn forwarded(asked: &Asked) -> Option<&Forward> {
    asked.forwards.iter().find(|forward| !forward.answered)
}

/// An error with its code as gRPC names it and its places in the user's files, innermost first.
fn error(error: &FrontendError) -> Value {
    let status = error.status();
    let source = |source: &Source| {
        json!({
            "filename": source.info.filename,
            "language": source.info.language,
            "ranges": render::ranges(&source.ranges),
        })
    };
    json!({
        "message": status.message,
        "code": code(status.code),
        "sources": status.sources().map(source).collect::<Vec<_>>(),
    })
}

/// The name Go's gRPC gives a code.
fn code(code: Code) -> String {
    match code {
        Code::Ok => "OK".to_owned(),
        Code::Cancelled => "Canceled".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Sorts every run of neighbours that `same` takes for equal by `key`.
fn sort_ties<T, K: Ord>(items: &mut [T], same: impl Fn(&T, &T) -> bool, key: impl Fn(&T) -> K) {
    items.chunk_by_mut(same).for_each(|run| run.sort_by_key(&key));
}
