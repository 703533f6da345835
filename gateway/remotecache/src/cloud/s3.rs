//! Caches in S3 and in what speaks as it does.
//!
//! Objects are those of BuildKit: `PREFIX BLOBS_PREFIX sha256:…` and `PREFIX MANIFESTS_PREFIX NAME`.
//! Requests are made here and signed by `object_store`, whose own would change some keys, and which
//! cannot touch an object.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt as _};
use http::header::{CONTENT_LENGTH, ETAG, HeaderMap, LAST_MODIFIED, RANGE};
use http::{HeaderName, HeaderValue, Method};
use kiln_handle::Handle;
use kiln_oci::{Descriptor, Digest};
use kiln_registry::BodySource;
use object_store::aws::AwsAuthorizer;
use object_store::client::{HttpRequest, HttpRequestBody};
use reqwest::{Request, Response, Url};

use super::Clouds;
use super::asked::Asked;
use super::error::{CloudError, element};
use super::http::{Attempts, Http, download, host_of};
use super::login::{self, AwsKey, AwsLogin};
use super::objects::{Backend, ObjectCache, encoded};
use super::parts::{PART, PARTS_AT_ONCE, Parts};
use super::secret::Scrubber;
use crate::attributes::AttributeError;
use crate::config::LARGEST_CONFIG;
use crate::origin::{ByteStream, Cause};

pub(crate) const BACKEND: Backend = Backend { kind: "s3", open };

/// An object that is copied at once is not larger, in bytes.
const LARGEST_COPY: u64 = 5 << 30;
/// An object has no more pieces.
const MOST_PARTS: u64 = 10_000;
/// What Amazon's own programs do.
const ATTEMPTS: usize = 3;

const COPY_SOURCE: HeaderName = HeaderName::from_static("x-amz-copy-source");
const COPY_RANGE: HeaderName = HeaderName::from_static("x-amz-copy-source-range");
const METADATA_DIRECTIVE: HeaderName = HeaderName::from_static("x-amz-metadata-directive");
const UPDATED_AT: HeaderName = HeaderName::from_static("x-amz-meta-updated-at");

/// A cache in a bucket.
#[derive(Debug)]
struct S3 {
    http: Handle<Http>,
    login: AwsLogin,
    region: String,
    bucket: String,
    /// The address of the bucket, without a slash at its end.
    base: String,
    blobs: String,
    manifests: String,
    names: Vec<String>,
    touch_refresh: Duration,
    parallelism: usize,
}

fn open(asked: &Asked<'_>, clouds: &Clouds) -> Result<Arc<dyn ObjectCache>, AttributeError> {
    let bucket = asked.required("bucket", Some("AWS_BUCKET"))?;
    let region = asked.required("region", Some("AWS_REGION"))?;
    let prefix = asked.raw("prefix").unwrap_or_default();
    let place = |name: &'static str, usual: &str| {
        let below = asked.raw(name).unwrap_or(usual);
        let place = format!("{prefix}{below}");
        match place.split('/').any(|segment| matches!(segment, "." | "..")) {
            true => Err(asked.value(name, &place, "keys without `.` and `..` between slashes")),
            false => Ok(place),
        }
    };
    let (blobs, manifests) =
        (place("blobs_prefix", "blobs/")?, place("manifests_prefix", "manifests/")?);
    let names = asked.names()?;
    // What is no number is as if it were not there, as in BuildKit.
    let day = Duration::from_secs(24 * 60 * 60);
    let touch_refresh = asked.duration("touch_refresh")?.unwrap_or(day);
    let key = match (asked.secret("access_key_id"), asked.secret("secret_access_key")) {
        (Some(id), Some(secret)) => {
            Some(AwsKey { id, secret, session: asked.secret("session_token") })
        }
        (None, None) if asked.secret("session_token").is_some() => {
            return Err(asked.missing("access_key_id", None));
        }
        (None, None) => None,
        (Some(_), None) => return Err(asked.missing("secret_access_key", None)),
        (None, Some(_)) => return Err(asked.missing("access_key_id", None)),
    };
    let adaptive = match asked.text("retry_mode") {
        None | Some("standard") => false,
        Some("adaptive") => true,
        Some(other) => return Err(asked.value("retry_mode", other, "standard or adaptive")),
    };
    // Nothing that servers may change on the way is signed here.
    asked.flag("disable_accept_encoding")?;
    let attempts = Attempts {
        most: asked.number("retry_max_attempts")?.unwrap_or(ATTEMPTS),
        while_limited: Duration::ZERO,
        adaptive,
    };
    let secrets = key.iter().flat_map(|key| {
        [Some(key.id.clone()), Some(key.secret.clone()), key.session.clone()].into_iter().flatten()
    });
    let http = clouds.http(attempts, Scrubber::new(secrets));
    let login = login::aws(key.as_ref(), &region, &clouds.environment, &clouds.connections);
    let login = login.map_err(|error| asked.login(&*error))?;
    Ok(Arc::new(S3 {
        base: base(asked, clouds, &bucket, &region)?,
        http: Handle::new(http),
        login,
        region,
        bucket,
        blobs,
        manifests,
        names,
        touch_refresh,
        parallelism: asked.number("upload_parallelism")?.unwrap_or(4),
    }))
}

/// The address of a bucket.
fn base(
    asked: &Asked<'_>,
    clouds: &Clouds,
    bucket: &str,
    region: &str,
) -> Result<String, AttributeError> {
    let own = asked.flag("use_path_style")?.unwrap_or(false);
    let given = asked.url("endpoint_url")?;
    let of_daemon = || {
        let environment = &clouds.environment;
        environment.get("AWS_ENDPOINT_URL_S3").or(environment.get("AWS_ENDPOINT_URL"))?.parse().ok()
    };
    let endpoint: Url = match given.clone().or_else(of_daemon) {
        Some(url) => url,
        None => {
            let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
            let host = format!("https://s3.{region}.amazonaws.com{suffix}");
            host.parse().map_err(|_| asked.value("region", region, "the name of a region"))?
        }
    };
    let expected = "the name of a bucket";
    if bucket.contains(['/', '?', '#']) || matches!(bucket, "" | "." | "..") {
        return Err(asked.value("bucket", bucket, expected));
    }
    let text = endpoint.as_str().trim_end_matches('/').to_owned();
    let is_name = bucket.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let by_name = matches!(endpoint.host(), Some(url::Host::Domain(_))) && is_name;
    // As Amazon's programs do: who gives no address gets the bucket in the name of the host.
    if (own && given.is_some()) || !by_name {
        return Ok(format!("{text}/{}", encoded(bucket)));
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("https", &text));
    Ok(format!("{scheme}://{bucket}.{rest}"))
}

/// What a request to a bucket is made of.
struct Ask<'a> {
    method: Method,
    key: &'a str,
    query: &'a [(&'a str, &'a str)],
    headers: HeaderMap,
    body: Bytes,
}

impl<'a> Ask<'a> {
    fn new(method: Method, key: &'a str) -> Self {
        Self { method, key, query: &[], headers: HeaderMap::new(), body: Bytes::new() }
    }

    fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::try_from(value) {
            self.headers.insert(name, value);
        }
        self
    }
}

impl S3 {
    fn blob_key(&self, digest: &Digest) -> String {
        format!("{}{digest}", self.blobs)
    }

    fn place(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }

    /// Signs and sends a request; its answer, whatever it is.
    async fn ask(&self, ask: Ask<'_>) -> Result<Response, CloudError> {
        let what = self.place(ask.key);
        self.http.send(&what, || self.signed(&what, &ask)).await
    }

    async fn signed(&self, what: &str, ask: &Ask<'_>) -> Result<Request, CloudError> {
        let text = format!("{}/{}", self.base, encoded(ask.key));
        let mut url: Url = text.parse().map_err(|_| self.bad(what, "it has no address"))?;
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(ask.query);
        }
        let no_login = |error: object_store::Error| CloudError::NoLogin {
            what: what.to_owned(),
            host: host_of(&url),
            cause: error.to_string(),
        };
        let login = self.login.get_credential().await.map_err(no_login)?;
        let mut request = HttpRequest::new(HttpRequestBody::from(ask.body.clone()));
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() =
            url.as_str().parse().map_err(|_| self.bad(what, "it has no address"))?;
        *request.headers_mut() = ask.headers.clone();
        let signed =
            AwsAuthorizer::new(&login, "s3", &self.region).try_authorize(&mut request, None);
        signed.map_err(no_login)?;
        let mut signed = Request::new(ask.method.clone(), url);
        *signed.headers_mut() = std::mem::take(request.headers_mut());
        if matches!(ask.method, Method::PUT | Method::POST) {
            signed.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(ask.body.len()));
            *signed.body_mut() = Some(ask.body.clone().into());
        }
        Ok(signed)
    }

    fn bad(&self, what: &str, why: &str) -> CloudError {
        let (what, host, why) = (what.to_owned(), self.base.clone(), why.to_owned());
        CloudError::Protocol { what, host, why }
    }

    async fn get(self: Arc<Self>, key: String, from: u64) -> Result<Response, CloudError> {
        let mut ask = Ask::new(Method::GET, &key);
        if from > 0 {
            ask = ask.header(RANGE, &format!("bytes={from}-"));
        }
        self.ask(ask).await
    }

    /// The size of an object and when it was written; `None` if there is none.
    async fn head(&self, key: &str) -> Result<Option<(u64, Option<SystemTime>)>, CloudError> {
        let response = self.ask(Ask::new(Method::HEAD, key)).await?;
        if response.status() == 404 {
            return Ok(None);
        }
        let response = self.http.succeeded(&self.place(key), response).await?;
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let size = text(CONTENT_LENGTH).and_then(|text| text.parse().ok()).unwrap_or(0);
        let written = text(LAST_MODIFIED).and_then(|text| httpdate::parse_http_date(text).ok());
        Ok(Some((size, written)))
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<(), CloudError> {
        let response = self.ask(Ask { body, ..Ask::new(Method::PUT, key) }).await?;
        self.http.succeeded(&self.place(key), response).await.map(drop)
    }

    /// Makes an object as young as if it had just been written.
    async fn touch(&self, key: &str, size: u64) -> Result<(), CloudError> {
        let source = format!("{}/{}", self.bucket, encoded(key));
        if size < LARGEST_COPY {
            let now = httpdate::fmt_http_date(SystemTime::now());
            let ask = Ask::new(Method::PUT, key)
                .header(COPY_SOURCE, &source)
                .header(METADATA_DIRECTIVE, "REPLACE")
                .header(UPDATED_AT, &now);
            let response = self.ask(ask).await?;
            return self.finished(key, response).await.map(drop);
        }
        let upload = self.begin(key).await?;
        let copied = async {
            let mut tags = Vec::new();
            let mut from = 0;
            while from < size {
                let to = (from + LARGEST_COPY).min(size);
                let number = (tags.len() + 1).to_string();
                let query = [("partNumber", number.as_str()), ("uploadId", upload.as_str())];
                let ask = Ask { query: &query, ..Ask::new(Method::PUT, key) }
                    .header(COPY_SOURCE, &source)
                    .header(COPY_RANGE, &format!("bytes={from}-{}", to - 1));
                let response = self.ask(ask).await?;
                let answer = self.finished(key, response).await?;
                let tag = element(&answer, "ETag");
                tags.push(tag.ok_or_else(|| self.bad(key, "a copy without an ETag"))?);
                from = to;
            }
            self.complete(key, &upload, &tags).await
        };
        let copied = copied.await;
        if copied.is_err() {
            self.abort(key, &upload).await;
        }
        copied
    }

    /// Copies and completed uploads may fail after they were answered with success.
    async fn finished(&self, key: &str, response: Response) -> Result<String, CloudError> {
        let what = self.place(key);
        let response = self.http.succeeded(&what, response).await?;
        let (host, status) = (host_of(response.url()), response.status().as_u16());
        let body = self.http.read(&what, response, 1 << 20).await?;
        let text = String::from_utf8_lossy(&body).into_owned();
        if text.contains("<Error>") {
            let said = super::error::said(&body);
            return Err(CloudError::Status { what, host, status, said });
        }
        Ok(text)
    }

    async fn begin(&self, key: &str) -> Result<String, CloudError> {
        let ask = Ask { query: &[("uploads", "")], ..Ask::new(Method::POST, key) };
        let response = self.ask(ask).await?;
        let answer = self.finished(key, response).await?;
        element(&answer, "UploadId").ok_or_else(|| self.bad(key, "an upload without a name"))
    }

    async fn complete(&self, key: &str, upload: &str, tags: &[String]) -> Result<(), CloudError> {
        let mut body = "<CompleteMultipartUpload>".to_owned();
        for (number, tag) in tags.iter().enumerate() {
            let tag = tag.replace('&', "&amp;").replace('<', "&lt;");
            let number = number + 1;
            body += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>");
        }
        body += "</CompleteMultipartUpload>";
        let query = [("uploadId", upload)];
        let ask = Ask { query: &query, body: body.into(), ..Ask::new(Method::POST, key) };
        let response = self.ask(ask).await?;
        self.finished(key, response).await.map(drop)
    }

    /// Pieces of an upload that nobody finishes cost money.
    async fn abort(&self, key: &str, upload: &str) {
        let ask = Ask { query: &[("uploadId", upload)], ..Ask::new(Method::DELETE, key) };
        if let Err(error) = self.ask(ask).await {
            tracing::info!(%error, "an upload could not be given up");
        }
    }

    async fn put_part(
        &self,
        key: &str,
        upload: &str,
        number: usize,
        body: Bytes,
    ) -> Result<(usize, String), CloudError> {
        let text = number.to_string();
        let query = [("partNumber", text.as_str()), ("uploadId", upload)];
        let ask = Ask { query: &query, body, ..Ask::new(Method::PUT, key) };
        let response = self.ask(ask).await?;
        let response = self.http.succeeded(&self.place(key), response).await?;
        let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
        let tag = tag.ok_or_else(|| self.bad(key, "a piece without an ETag"))?;
        Ok((number, tag.to_owned()))
    }

    async fn put_parts(&self, key: &str, upload: &str, mut parts: Parts) -> Result<(), CloudError> {
        let mut tags = Vec::new();
        let mut sending = FuturesUnordered::new();
        let mut number = 0;
        while let Some(part) = parts.next().await? {
            number += 1;
            sending.push(self.put_part(key, upload, number, part));
            if sending.len() >= PARTS_AT_ONCE {
                tags.extend(sending.next().await.transpose()?);
            }
        }
        while let Some(sent) = sending.next().await {
            tags.push(sent?);
        }
        tags.sort_unstable();
        let tags: Vec<String> = tags.into_iter().map(|(_, tag)| tag).collect();
        self.complete(key, upload, &tags).await
    }
}

#[async_trait]
impl ObjectCache for S3 {
    fn title(&self) -> &'static str {
        "exporting cache to Amazon S3"
    }

    fn parallelism(&self) -> usize {
        self.parallelism
    }

    async fn configs(self: Arc<Self>) -> Result<Vec<Bytes>, Cause> {
        let mut configs = Vec::new();
        for name in &self.names {
            let key = format!("{}{name}", self.manifests);
            let response = Arc::clone(&self).get(key.clone(), 0).await?;
            if response.status() == 404 {
                continue;
            }
            let what = self.place(&key);
            let response = self.http.succeeded(&what, response).await?;
            configs.push(self.http.read(&what, response, LARGEST_CONFIG).await?);
        }
        Ok(configs)
    }

    fn blob(self: Arc<Self>, descriptor: &Descriptor) -> ByteStream {
        let key = self.blob_key(&descriptor.digest);
        let (http, what) = (self.http.clone(), self.place(&key));
        let open = move |from| {
            let got = Arc::clone(&self).get(key.clone(), from);
            Box::pin(got) as futures::future::BoxFuture<'static, _>
        };
        download(http, what, descriptor.size, Box::new(open))
    }

    async fn has(self: Arc<Self>, descriptor: &Descriptor) -> Result<bool, Cause> {
        let found = self.head(&self.blob_key(&descriptor.digest)).await?;
        Ok(found.is_some_and(|(size, _)| size == descriptor.size))
    }

    async fn put_blob(
        self: Arc<Self>,
        descriptor: &Descriptor,
        body: Arc<dyn BodySource>,
    ) -> Result<(), Cause> {
        let key = self.blob_key(&descriptor.digest);
        // What is there and is shorter was cut off, and is written again.
        if let Some((size, written)) = self.head(&key).await?
            && size == descriptor.size
        {
            let age = written.and_then(|written| SystemTime::now().duration_since(written).ok());
            if age.is_some_and(|age| age > self.touch_refresh) {
                self.touch(&key, size).await?;
            }
            return Ok(());
        }
        let part = Parts::part_size(descriptor.size, MOST_PARTS);
        let mut parts = Parts::new(descriptor, &*body, part);
        if descriptor.size <= PART {
            let whole = parts.next().await?.unwrap_or_default();
            return Ok(self.put(&key, whole).await?);
        }
        let upload = self.begin(&key).await?;
        let put = self.put_parts(&key, &upload, parts).await;
        if put.is_err() {
            self.abort(&key, &upload).await;
        }
        Ok(put?)
    }

    async fn publish(self: Arc<Self>, config: Bytes) -> Result<(), Cause> {
        for name in &self.names {
            self.put(&format!("{}{name}", self.manifests), config.clone()).await?;
        }
        Ok(())
    }
}
