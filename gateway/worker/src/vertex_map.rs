//! How a vertex is keyed, and what is in its inputs: [`kiln_keys`]'s answers about a vertex of the
//! engine and refs of the store.

use std::sync::OnceLock;

use kiln_container::{blocking, failed, requester};
use kiln_engine::{Content, ErrorKind, JobContext, OpError};
use kiln_graph::{Op, Vertex};
use kiln_keys::contenthash::{ChecksumError, Origin};
use kiln_keys::{CacheMap, ContentQuery, KeyError};
use kiln_oci::Digest;
use kiln_store::Ref;

use crate::content;
use crate::worker::{Inner, path_of, view};

/// What BuildKit puts behind an operation whose network is a proxy.
const PROXY_NETWORK: &str = "\0buildkit.proxy-network.v0";

/// How a vertex is keyed, worked out once.
#[derive(Default)]
pub(crate) struct VertexMap(OnceLock<Result<CacheMap, OpError>>);

impl VertexMap {
    /// How a vertex is keyed, always the same one.
    pub(crate) fn of(&self, vertex: &Vertex) -> Result<&CacheMap, OpError> {
        self.0.get_or_init(|| computed(vertex)).as_ref().map_err(Clone::clone)
    }
}

fn computed(vertex: &Vertex) -> Result<CacheMap, OpError> {
    let map = kiln_keys::cache_map(&vertex.arrived.op, &vertex.platform);
    let map = map.map_err(|error: KeyError| OpError::from_error(ErrorKind::Invalid, &error))?;
    Ok(match &vertex.op {
        Op::Exec(exec) if exec.proxied.is_some() => of_proxy(map),
        _ => map,
    })
}

/// What was made behind a proxy is not taken for what was made without one, of which nobody knows what it
/// fetched.
fn of_proxy(map: CacheMap) -> CacheMap {
    CacheMap { digest: Digest::sha256(format!("{}{PROXY_NETWORK}", map.digest)), ..map }
}

/// The content of an input, as far as a query asks for it.
pub(crate) async fn content_of(
    worker: &Inner,
    job: &JobContext,
    query: ContentQuery,
    result: Option<&Ref>,
) -> Result<Content, OpError> {
    let origin = origin(result);
    let mounted = view(result, &requester(job)).await?;
    let digest = blocking(move || {
        content::digest(path_of(mounted.as_ref()), origin, &query).map_err(|error| reason(&error))
    });
    let id = result.map_or("", Ref::id);
    let (digest, listing) = digest.await.map_err(|error| {
        // In BuildKit's words, which frontends' users look for.
        let what = format!("failed to calculate checksum of ref {}::{id}", worker.info().id);
        error.context(what)
    })?;
    Ok(Content { digest, listing: listing.into() })
}

/// The files of a client count as it sent them; the root it did not send.
fn origin(result: Option<&Ref>) -> Origin {
    match result.map(Ref::layers) {
        Some([only]) if only.is_view() => Origin::Sent,
        _ => Origin::Scanned,
    }
}

/// What is not there has no status of its own in BuildKit, and clients print the status.
fn reason(error: &ChecksumError<content::ReadError>) -> OpError {
    match error {
        ChecksumError::Wildcard | ChecksumError::Patterns { .. } => {
            OpError::new(ErrorKind::Invalid, error.to_string())
        }
        ChecksumError::Tree(error) => failed(error),
        error => OpError::new(ErrorKind::Failed, error.to_string()),
    }
}
