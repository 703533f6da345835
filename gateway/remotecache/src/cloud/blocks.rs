//! Block blobs, Azure's objects: written in blocks that become a blob once they are listed.
//!
//! Where a blob is and who may write it is in the address, or is added to the request by a
//! [`Authorize`]; the rest is the same for the service itself and for others that store with it.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt as _};
use http::header::{CONTENT_LENGTH, HeaderMap, IF_NONE_MATCH, RANGE};
use http::{HeaderName, HeaderValue, Method};
use kiln_handle::Handle;
use reqwest::{Request, Response, Url};

use super::error::CloudError;
use super::http::Http;
use super::parts::{PARTS_AT_ONCE, Parts};

/// A blob has no more blocks.
pub(crate) const MOST_BLOCKS: u64 = 50_000;

/// The version of the service's interface.
pub(crate) const VERSION: HeaderName = HeaderName::from_static("x-ms-version");
/// The one that is spoken here.
pub(crate) const VERSION_2023: HeaderValue = HeaderValue::from_static("2023-11-03");
const BLOB_TYPE: HeaderName = HeaderName::from_static("x-ms-blob-type");
const BLOCK_BLOB: HeaderValue = HeaderValue::from_static("BlockBlob");

/// Lets requests in.
#[async_trait]
pub(crate) trait Authorize: std::fmt::Debug + Send + Sync {
    /// Adds to a request what it needs to be let in. `what` it is about is for messages.
    async fn authorize(&self, what: &str, request: Request) -> Result<Request, CloudError>;
}

/// Who has the address may come in.
#[derive(Debug)]
pub(crate) struct SignedAddress;

#[async_trait]
impl Authorize for SignedAddress {
    async fn authorize(&self, _: &str, mut request: Request) -> Result<Request, CloudError> {
        request.headers_mut().insert(VERSION, VERSION_2023);
        Ok(request)
    }
}

/// A blob.
#[derive(Clone, Debug)]
pub(crate) struct BlockBlob {
    pub(crate) http: Handle<Http>,
    pub(crate) auth: Arc<dyn Authorize>,
    pub(crate) what: String,
    pub(crate) url: Url,
}

/// Whether a blob that is there is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Write,
    Keep,
}

impl Over {
    fn headers(self) -> HeaderMap {
        let any = HeaderValue::from_static("*");
        match self {
            Self::Write => HeaderMap::new(),
            Self::Keep => HeaderMap::from_iter([(IF_NONE_MATCH, any)]),
        }
    }
}

impl BlockBlob {
    /// Sends a request about the blob; its answer, whatever it is.
    pub(crate) async fn ask(
        &self,
        method: Method,
        query: &[(&str, &str)],
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response, CloudError> {
        let mut url = self.url.clone();
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let make = || {
            let mut request = Request::new(method.clone(), url.clone());
            *request.headers_mut() = headers.clone();
            if method == Method::PUT {
                request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
                *request.body_mut() = Some(body.clone().into());
            }
            self.auth.authorize(&self.what, request)
        };
        self.http.send(&self.what, make).await
    }

    /// The blob from an offset; the answer, whatever it is.
    pub(crate) async fn get(self, from: u64) -> Result<Response, CloudError> {
        let range = HeaderValue::try_from(format!("bytes={from}-")).ok().filter(|_| from > 0);
        let headers = range.into_iter().map(|range| (RANGE, range)).collect();
        self.ask(Method::GET, &[], headers, Bytes::new()).await
    }

    /// Writes a small blob at once.
    pub(crate) async fn put(&self, body: Bytes, over: Over) -> Result<(), CloudError> {
        let mut headers = over.headers();
        headers.insert(BLOB_TYPE, BLOCK_BLOB);
        let response = self.ask(Method::PUT, &[], headers, body).await?;
        self.written(response, over).await
    }

    /// Writes a blob of whatever size, if all of it is what it should be.
    pub(crate) async fn put_parts(&self, mut parts: Parts, over: Over) -> Result<(), CloudError> {
        let Some(first) = parts.next().await? else { return Ok(()) };
        let Some(second) = parts.next().await? else { return self.put(first, over).await };
        // Another builder may be writing the same blob: blocks of both have different names.
        let upload = rand::random::<u64>();
        let (mut number, mut ids) = (0_u32, Vec::new());
        let mut sending = FuturesUnordered::new();
        let mut waiting = vec![second, first];
        loop {
            let part = match waiting.pop() {
                Some(part) => Some(part),
                None => parts.next().await?,
            };
            let Some(part) = part else { break };
            let id = STANDARD.encode(format!("{upload:016x}{number:08}"));
            number += 1;
            ids.push(id.clone());
            sending.push(self.put_block(id, part));
            if sending.len() >= PARTS_AT_ONCE {
                sending.next().await.transpose()?;
            }
        }
        while let Some(sent) = sending.next().await {
            sent?;
        }
        let ids = ids.iter().map(|id| format!("<Latest>{id}</Latest>"));
        let list = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{}</BlockList>",
            ids.collect::<String>()
        );
        let query = [("comp", "blocklist")];
        let response = self.ask(Method::PUT, &query, over.headers(), list.into()).await?;
        self.written(response, over).await
    }

    async fn put_block(&self, id: String, part: Bytes) -> Result<(), CloudError> {
        let query = [("comp", "block"), ("blockid", id.as_str())];
        let response = self.ask(Method::PUT, &query, HeaderMap::new(), part).await?;
        self.http.succeeded(&self.what, response).await.map(drop)
    }

    async fn written(&self, response: Response, over: Over) -> Result<(), CloudError> {
        // Another builder was faster.
        if over == Over::Keep && matches!(response.status().as_u16(), 409 | 412) {
            return Ok(());
        }
        self.http.succeeded(&self.what, response).await.map(drop)
    }
}
