//! The service that says why the steps of a build ran: records of the history come in, explanations go
//! out.

use async_trait::async_trait;
use kiln_history::History;
use kiln_oci::Digest;
use kiln_why::{BuildRecord, Earlier, Explanation, RECORD_TYPE};
use kiln_wire::proto::control::BuildHistoryRecord;
use kiln_wire::proto::explain as wire;
use tonic::{Request, Response, Status};

use crate::control::history_status;

/// With how many earlier builds a build is compared.
const MOST_BUILDS: usize = 50;

/// The service.
pub(crate) struct Explain(pub(crate) History);

#[async_trait]
impl wire::explain_server::Explain for Explain {
    async fn why(
        &self,
        request: Request<wire::WhyRequest>,
    ) -> Result<Response<wire::WhyResponse>, Status> {
        let wanted = request.into_inner().build;
        let found = self.0.attached(RECORD_TYPE, usize::MAX).await;
        let mut builds = found.map_err(|error| history_status(&error))?;
        let at = match wanted.as_str() {
            "" => (!builds.is_empty()).then_some(0),
            wanted => builds.iter().position(|(record, _)| record.r#ref == wanted),
        };
        let Some(at) = at else {
            return Err(Status::not_found(match wanted.as_str() {
                "" => "no build is remembered".to_owned(),
                wanted => format!("no build {wanted} is remembered"),
            }));
        };
        builds.drain(..at);
        builds.truncate(MOST_BUILDS + 1);
        let history = self.0.clone();
        let explained = tokio::task::spawn_blocking(move || explain(&history, builds));
        let explained = explained.await.map_err(|error| Status::internal(error.to_string()))?;
        let json = serde_json::to_vec(&explained);
        let json = json.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(wire::WhyResponse { explanation: json.into() }))
    }
}

/// Explains the first of some builds by the others.
fn explain(history: &History, builds: Vec<(BuildHistoryRecord, Option<Vec<u8>>)>) -> Explanation {
    let mut builds = builds.into_iter();
    let Some((record, steps)) = builds.next() else { return Explanation::default() };
    let earlier = builds.filter_map(|(record, steps)| {
        Some(Earlier {
            build: record.r#ref.clone(),
            started: started(&record),
            record: read(steps)?,
        })
    });
    let earlier: Vec<Earlier> = earlier.collect();
    // Without a record, nothing ran that might have been in the cache.
    let steps = read(steps).unwrap_or_default();
    let listings = |digest: &Digest| {
        let blob = history.blob(digest)?;
        std::fs::read(blob.path).ok()
    };
    let explanation =
        kiln_why::explain(&record.r#ref, started(&record), &steps, &earlier, &listings);
    let number = |steps: i32| u64::try_from(steps).unwrap_or_default();
    Explanation {
        total: number(record.num_total_steps),
        cached: number(record.num_cached_steps),
        ..explanation
    }
}

/// The steps of a build; those that another version wrote in a form of its own are not there.
fn read(steps: Option<Vec<u8>>) -> Option<BuildRecord> {
    serde_json::from_slice(&steps?).ok()
}

/// When a build began, in nanoseconds since 1970.
fn started(record: &BuildHistoryRecord) -> i64 {
    let time = record.created_at.unwrap_or_default();
    time.seconds.saturating_mul(1_000_000_000).saturating_add(time.nanos.into())
}
