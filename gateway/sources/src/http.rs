//! Files by URL.
//!
//! A URL comes in, a directory with one file goes out. What a URL answered last is remembered, so
//! that an unchanged file costs one request without a body. Nothing of an answer that is not
//! verified by a checksum of the user is trusted beyond its bytes.

mod key;
mod sums;

use std::fs::{File, FileTimes, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_DISPOSITION, ETAG, IF_NONE_MATCH, LAST_MODIFIED, USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use kiln_graph::HttpSource;
use kiln_keys::source::filename;
use kiln_oci::Digest;
use kiln_store::{Kind, RecordInfo, Ref, Store};
use reqwest::{Client, Response};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use url::Url;

use crate::http::key::{key, memory_key};
use crate::http::sums::Sums;
use crate::progress::Part;
use crate::source::{Cause, Content, Context, Metadata, Pin};
use crate::state::{HTTP, StateFile};
use crate::turns::Turns;

/// How long a server may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// More redirects than this are a loop.
const MOST_REDIRECTS: usize = 10;

/// The source of files by URL.
pub(crate) struct Http {
    client: OnceLock<Client>,
    store: Store,
    state: StateFile,
    /// One download of the same file at a time.
    turns: Turns,
}

/// What fetching needs to know from pinning.
#[derive(Clone, Debug)]
pub(crate) struct HttpPin {
    digest: Digest,
    ready: Option<Ref>,
}

/// Why a file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL is none.
    #[error("`{url}` is not a URL: {reason}")]
    Url {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server answered something else than the file.
    #[error("failed to fetch {url}: invalid response status {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// What was answered.
        status: u16,
    },
    /// There was no answer, or it broke off.
    #[error("failed to fetch {url}: {reason}")]
    Network {
        /// What was asked for.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The file is another one than the user wants.
    #[error("digest mismatch for {url}: {got} (expected: {wanted})")]
    Checksum {
        /// What was asked for.
        url: String,
        /// What the user wants.
        wanted: Digest,
        /// What came.
        got: Digest,
    },
    /// The secret that the user named is not there.
    #[error("failed to retrieve HTTP auth secret {id} for {url}: {reason}")]
    Secret {
        /// What was asked for.
        url: String,
        /// The secret.
        id: String,
        /// Why it is not there.
        reason: String,
    },
    /// A header has characters that no header can carry.
    #[error("header {name} for {url} has characters that no header can carry")]
    Header {
        /// What was asked for.
        url: String,
        /// The header.
        name: &'static str,
    },
    /// The file could not be written.
    #[error("failed to store {url}")]
    Write {
        /// What was asked for.
        url: String,
        /// What the disk said.
        source: io::Error,
    },
    /// The store failed.
    #[error("failed to store {url}")]
    Store {
        /// What was asked for.
        url: String,
        /// What the store said.
        source: Cause,
    },
    /// The client that sends requests could not be made.
    #[error("cannot make an HTTP client")]
    Client(#[source] reqwest::Error),
}

/// What a URL answered last.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Known {
    etag: String,
    last_modified: String,
    digest: Digest,
    filename: String,
    result: String,
}

/// A file in the store.
struct Saved {
    known: Known,
    result: Ref,
}

/// One file that is wanted, with all that requests need.
struct Wanted<'a> {
    source: &'a HttpSource,
    url: Url,
    /// The URL without login.
    shown: String,
    headers: HeaderMap,
}

impl Http {
    pub(crate) fn new(store: &Store, state: &StateFile) -> Self {
        let client = OnceLock::new();
        Self { client, store: store.clone(), state: state.clone(), turns: Turns::default() }
    }

    /// What requests are sent with. Made when the first one is, because reading all certificate
    /// authorities of the machine takes longer than many a build.
    fn client(&self) -> Result<&Client, HttpError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        kiln_registry::install_crypto();
        let builder = || {
            Client::builder()
                .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::limited(MOST_REDIRECTS))
                .referer(false)
                .connect_timeout(Duration::from_secs(30))
                .read_timeout(SILENCE)
        };
        // Without any certificate authority on this machine, plain HTTP still works.
        let client = builder().build().or_else(|_| builder().tls_certs_only([]).build());
        let client = client.map_err(HttpError::Client)?;
        Ok(self.client.get_or_init(|| client))
    }

    pub(crate) async fn pin(
        &self,
        source: &HttpSource,
        context: &Context,
    ) -> Result<Pin, HttpError> {
        if let Some(checksum) = &source.checksum {
            // The user says what it is, so nobody has to be asked.
            let name = filename(&source.url, &source.filename, None);
            return Ok(pinned(source, checksum.clone(), name, None, None));
        }
        let wanted = self.wanted(source, context).await?;
        let saved = self.current(&wanted, context).await?;
        let Known { digest, filename, last_modified, .. } = saved.known;
        let modified = httpdate::parse_http_date(&last_modified).ok();
        Ok(pinned(source, digest, filename, modified, Some(saved.result)))
    }

    pub(crate) async fn fetch(
        &self,
        source: &HttpSource,
        pin: &HttpPin,
        context: &Context,
    ) -> Result<Ref, HttpError> {
        if let Some(ready) = &pin.ready {
            return Ok(ready.clone());
        }
        let wanted = self.wanted(source, context).await?;
        let _turn = self.turns.take(&memory_key(source)).await;
        // What was here last time may be what is wanted.
        if let Some(saved) = self.known(source).await
            && saved.known.digest == pin.digest
        {
            return Ok(saved.result);
        }
        let response = self.get(&wanted, None).await?;
        let saved = self.save(&wanted, response, Some(&pin.digest), context).await?;
        Ok(saved.result)
    }

    /// The file as the server has it now, downloaded only if it is not here.
    async fn current(&self, wanted: &Wanted<'_>, context: &Context) -> Result<Saved, HttpError> {
        let _turn = self.turns.take(&memory_key(wanted.source)).await;
        let known = self.known(wanted.source).await.filter(|saved| !saved.known.etag.is_empty());
        let Some(saved) = known else {
            let response = self.get(wanted, None).await?;
            return self.save(wanted, response, None, context).await;
        };
        // Some servers have entity tags and ignore If-None-Match, so HEAD is tried first.
        let etag = saved.known.etag.clone();
        if let Ok(response) = self.send(wanted, Method::HEAD, Some(&etag)).await {
            let same = etag_of(&response) == etag;
            match response.status() {
                StatusCode::NOT_MODIFIED => return Ok(saved),
                StatusCode::OK if same => return Ok(saved),
                _ => {}
            }
        }
        let response = self.get(wanted, Some(&etag)).await?;
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(saved);
        }
        self.save(wanted, response, None, context).await
    }

    /// What is remembered about a source, if the file is still here.
    async fn known(&self, source: &HttpSource) -> Option<Saved> {
        let known = self.state.get::<Known>(&HTTP, &memory_key(source)).await?;
        let result = self.store.load(&known.result).ok()?;
        Some(Saved { known, result })
    }

    async fn get(&self, wanted: &Wanted<'_>, etag: Option<&str>) -> Result<Response, HttpError> {
        let response = self.send(wanted, Method::GET, etag).await?;
        let status = response.status();
        let fine = status.is_success() || (etag.is_some() && status == StatusCode::NOT_MODIFIED);
        if fine {
            return Ok(response);
        }
        Err(HttpError::Status { url: wanted.shown.clone(), status: status.as_u16() })
    }

    async fn send(
        &self,
        wanted: &Wanted<'_>,
        method: Method,
        etag: Option<&str>,
    ) -> Result<Response, HttpError> {
        let mut headers = wanted.headers.clone();
        if let Some(value) = etag.and_then(|etag| HeaderValue::from_str(etag).ok()) {
            headers.insert(IF_NONE_MATCH, value);
        }
        let request = self.client()?.request(method, wanted.url.clone()).headers(headers);
        request.send().await.map_err(|error| wanted.network(&error))
    }

    /// Writes an answer into a directory of its own, and remembers it.
    async fn save(
        &self,
        wanted: &Wanted<'_>,
        mut response: Response,
        expected: Option<&Digest>,
        context: &Context,
    ) -> Result<Saved, HttpError> {
        let source = wanted.source;
        let disposition = text_header(&response, CONTENT_DISPOSITION);
        let name = filename(&source.url, &source.filename, Some(&disposition));
        let mutable = self.store.prepare(None).await.map_err(|e| wanted.store(e))?;
        let mounted = mutable.mount().await.map_err(|e| wanted.store(e))?;
        let path = mounted.path().join(&name);
        let file = tokio::fs::File::create_new(&path).await.map_err(|e| wanted.write(e))?;
        let mut file = tokio::io::BufWriter::with_capacity(1 << 20, file);
        let total = response.content_length().unwrap_or(0);
        let part = Part::begin(context, format!("downloading {}", wanted.shown), total);
        let mut sums = Sums::new(expected);
        while let Some(chunk) = response.chunk().await.map_err(|e| wanted.network(&e))? {
            file.write_all(&chunk).await.map_err(|e| wanted.write(e))?;
            part.add(chunk.len() as u64);
            sums.update(&chunk);
        }
        file.flush().await.map_err(|e| wanted.write(e))?;
        let digest = sums.finish(expected, &wanted.shown)?;
        let modified = text_header(&response, LAST_MODIFIED);
        let finished = finish(file.into_inner().into_std().await, source, &modified);
        finished.map_err(|e| wanted.write(e))?;
        drop(mounted);
        let result = mutable.commit().await.map_err(|e| wanted.store(e))?;
        let known = Known {
            etag: etag_of(&response),
            last_modified: modified,
            digest,
            filename: name,
            result: result.id().to_owned(),
        };
        let info =
            RecordInfo { kind: Kind::Regular, description: format!("http url {}", wanted.shown) };
        result.keep(info).await.map_err(|e| wanted.store(e))?;
        self.state.put(&HTTP, &memory_key(source), &known).await;
        Ok(Saved { known, result })
    }

    async fn wanted<'a>(
        &self,
        source: &'a HttpSource,
        context: &Context,
    ) -> Result<Wanted<'a>, HttpError> {
        let url = Url::parse(&source.url).map_err(|error| HttpError::Url {
            url: source.url.chars().take(300).collect(),
            reason: error.to_string(),
        })?;
        let shown = redact(&url);
        let value = |name: &'static str, text: &str| {
            HeaderValue::from_str(text).map_err(|_| HttpError::Header { url: shown.clone(), name })
        };
        let mut headers = HeaderMap::new();
        if !source.accept.is_empty() {
            headers.insert(ACCEPT, value("Accept", &source.accept)?);
        }
        if !source.user_agent.is_empty() {
            headers.insert(USER_AGENT, value("User-Agent", &source.user_agent)?);
        }
        if let Some(authorization) = authorization(source, &url, &shown, context).await? {
            let mut value = value("Authorization", &authorization)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(Wanted { source, url, shown, headers })
    }
}

impl Wanted<'_> {
    fn network(&self, error: &reqwest::Error) -> HttpError {
        let mut reason = String::new();
        // The outermost messages of the client say less than those beneath.
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(here) = cause {
            cause = here.source();
            if cause.is_none() || error.is_redirect() {
                reason = here.to_string();
            }
        }
        HttpError::Network { url: self.shown.clone(), reason: reason.chars().take(300).collect() }
    }

    fn write(&self, source: io::Error) -> HttpError {
        HttpError::Write { url: self.shown.clone(), source }
    }

    fn store(&self, error: impl Into<Cause>) -> HttpError {
        HttpError::Store { url: self.shown.clone(), source: error.into() }
    }
}

/// The value of the Authorization header. Only a secret that the user named has to exist.
async fn authorization(
    source: &HttpSource,
    url: &Url,
    shown: &str,
    context: &Context,
) -> Result<Option<String>, HttpError> {
    let session = &context.session;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
    let named = &source.auth_header_secret;
    if !named.is_empty() {
        let failed =
            |reason: String| HttpError::Secret { url: shown.to_owned(), id: named.clone(), reason };
        return match session.secret(named).await {
            Ok(Some(secret)) => Ok(Some(text(secret))),
            Ok(None) => Err(failed("not found".into())),
            Err(error) => Err(failed(error.to_string())),
        };
    }
    let host = url.host_str().unwrap_or_default();
    if let Ok(Some(token)) = session.secret(&format!("HTTP_AUTH_TOKEN_{host}")).await {
        return Ok(Some(format!("Bearer {}", text(token))));
    }
    let header = session.secret(&format!("HTTP_AUTH_HEADER_{host}")).await;
    Ok(header.ok().flatten().map(text))
}

/// Gives the file its attributes.
fn finish(file: File, source: &HttpSource, modified: &str) -> io::Result<()> {
    if (source.uid, source.gid) != (0, 0) {
        kiln_store::owner::set_owner_of(&file, source.uid, source.gid)?;
    }
    // After the owner, because a change of owner takes set-user-id bits away.
    file.set_permissions(Permissions::from_mode(source.perm.unwrap_or(0o600)))?;
    // A fixed time, so that a server that tells none gives the same layer every time.
    let time = httpdate::parse_http_date(modified).unwrap_or(SystemTime::UNIX_EPOCH);
    file.set_times(FileTimes::new().set_accessed(time).set_modified(time))
}

fn pinned(
    source: &HttpSource,
    digest: Digest,
    filename: String,
    last_modified: Option<SystemTime>,
    ready: Option<Ref>,
) -> Pin {
    Pin {
        key: key(source, &filename, &digest, last_modified),
        content_key: None,
        metadata: Metadata::Http { digest: digest.clone(), filename, last_modified },
        content: Content::Http(HttpPin { digest, ready }),
    }
}

/// The entity tag; a weak one is as good as a strong one here.
fn etag_of(response: &Response) -> String {
    let tag = text_header(response, ETAG);
    tag.strip_prefix("W/").map_or(tag.clone(), str::to_owned)
}

fn text_header(response: &Response, name: http::HeaderName) -> String {
    let value = response.headers().get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

/// A URL without its login.
pub(crate) fn redact(url: &Url) -> String {
    let mut url = url.clone();
    if !url.username().is_empty() || url.password().is_some() {
        // Both fail only for URLs that cannot have a login.
        if url.set_username("xxxxx").is_err() || url.set_password(Some("xxxxx")).is_err() {
            return url.scheme().to_owned();
        }
    }
    url.into()
}
