//! Files by URL.
//!
//! A URL comes in, a directory with one file goes out. What a URL answered last is remembered, so
//! that an unchanged file costs one request without a body; what it answered in a build stays what it
//! is for that build. Nothing of an answer that is not verified by a checksum of the user is trusted
//! beyond its bytes.

mod body;
mod date;
mod error;
mod key;
mod request;
mod save;

use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use futures::{StreamExt as _, TryStreamExt as _};
use http::header::{
    ACCEPT_ENCODING, CONTENT_DISPOSITION, CONTENT_ENCODING, ETAG, HeaderName, IF_NONE_MATCH,
    LAST_MODIFIED,
};
use http::{HeaderValue, Method, StatusCode};
use kiln_graph::HttpSource;
use kiln_keys::source::filename;
use kiln_oci::Digest;
use kiln_store::{Ref, Store};
use reqwest::{Client, Response};
use serde::{Deserialize, Serialize};

use crate::builds::Builds;
use crate::http::key::{key, memory_key};
use crate::http::request::Wanted;
use crate::http::save::{Answer, Saving};
use crate::keyed_lock::KeyedLock;
use crate::signed;
use crate::source::{Cause, Content, Context, Metadata, Pin};
use crate::state::{HTTP, State};
use crate::sums;

pub use error::HttpError;
pub(crate) use request::redact;

/// How long a server may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// More redirects than this are a loop.
const MOST_REDIRECTS: usize = 10;

/// The source of files by URL.
pub(crate) struct Http {
    client: OnceLock<Client>,
    store: Store,
    state: State,
    builds: Builds,
    /// One download of the same file at a time.
    locks: KeyedLock,
}

/// What fetching needs to know from pinning.
#[derive(Clone, Debug)]
pub(crate) struct HttpPin {
    digest: Digest,
    ready: Option<Ref>,
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
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    known: Known,
    result: Ref,
}

impl Http {
    pub(crate) fn new(store: &Store, state: &State, builds: &Builds) -> Self {
        let (store, state, builds) = (store.clone(), state.clone(), builds.clone());
        Self { client: OnceLock::new(), store, state, builds, locks: KeyedLock::default() }
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
                // Servers that let builders in know them by this name.
                .user_agent(concat!(
                    "kiln/",
                    env!("CARGO_PKG_VERSION"),
                    " (compatible; buildkit/v0)"
                ))
                .redirect(reqwest::redirect::Policy::limited(MOST_REDIRECTS))
                .referer(false)
                .dns_resolver(kiln_registry::Lookup)
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
            // The user says what it is, so no one has to be asked.
            let name = filename(&source.url, &source.filename, None);
            let mut ready = None;
            if source.signature.is_some() {
                let pin = HttpPin { digest: checksum.clone(), ready: None };
                let file = self.fetch(source, &pin, context).await?;
                self.check_signature(source, &file).await?;
                ready = Some(file);
            }
            return Ok(pinned(source, checksum.clone(), name, None, ready));
        }
        let _turn = self.locks.take(&memory_key(source)).await;
        let saved = match self.of_this_build(source, context) {
            Some(saved) => saved,
            None => {
                let wanted = Wanted::new(source, context).await?;
                let saved = self.current(&wanted, context).await?;
                self.remember(source, &saved, context);
                saved
            }
        };
        self.check_signature(source, &saved.result).await?;
        let Known { digest, filename, last_modified, .. } = saved.known;
        let modified = date::parse(&last_modified);
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
        let _turn = self.locks.take(&memory_key(source)).await;
        // What was here last time may be what is wanted.
        let known = match self.of_this_build(source, context) {
            Some(saved) => Some(saved),
            None => self.known(source).await,
        };
        if let Some(saved) = known.filter(|saved| saved.known.digest == pin.digest) {
            return Ok(saved.result);
        }
        let wanted = Wanted::new(source, context).await?;
        let saved = self.download(&wanted, Some(&pin.digest), context).await?;
        self.remember(source, &saved, context);
        Ok(saved.result)
    }

    /// The sum of a file that was fetched and of some bytes behind it.
    pub(crate) async fn sum(
        &self,
        source: &HttpSource,
        file: &Ref,
        algorithm: &'static str,
        suffix: &[u8],
    ) -> Result<Digest, HttpError> {
        let suffix = suffix.to_owned();
        let sum = move |path: &Path| sums::of_file(path, algorithm, &suffix);
        self.read(source, file, sum).await
    }

    /// Checks that a file is signed, if it has to be.
    async fn check_signature(&self, source: &HttpSource, file: &Ref) -> Result<(), HttpError> {
        let Some(wanted) = source.signature.clone() else { return Ok(()) };
        let check = move |path: &Path| Ok(signed::check_file(sums::open(path)?, &wanted));
        let checked = self.read(source, file, check).await?;
        checked.map_err(|error| HttpError::Signature { url: shown(source), source: error })
    }

    /// Reads a file that was fetched.
    async fn read<T: Send + 'static>(
        &self,
        source: &HttpSource,
        file: &Ref,
        read: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, HttpError> {
        let failed = |cause: Cause| HttpError::Store { url: shown(source), source: cause };
        // It was made here.
        let files = file.ready().ok_or_else(|| failed("its files are gone".into()))?;
        let mounted = files.mount().await.map_err(|error| failed(error.into()))?;
        let directory = mounted.path().to_owned();
        let work = move || {
            // It is the only one, whatever the server called it.
            let entry = std::fs::read_dir(directory)?.next().ok_or(io::ErrorKind::NotFound)??;
            read(&entry.path())
        };
        let done = crate::files::blocking(work).await;
        drop(mounted);
        done.map_err(|error| HttpError::Read { url: shown(source), source: error })
    }

    /// The file as the server has it now, downloaded only if it is not here.
    async fn current(&self, wanted: &Wanted<'_>, context: &Context) -> Result<Saved, HttpError> {
        let known = self.known(wanted.source).await.filter(|saved| !saved.known.etag.is_empty());
        let Some(saved) = known else {
            return self.download(wanted, None, context).await;
        };
        // Some servers have entity tags and ignore If-None-Match, so HEAD is tried first.
        let etag = saved.known.etag.as_str();
        if let Ok(response) = self.send(wanted, Method::HEAD, Some(etag)).await
            && is_same(&response, etag)
        {
            return Ok(saved);
        }
        let response = self.get(wanted, Some(etag)).await?;
        if response.status() != StatusCode::NOT_MODIFIED {
            return self.save(wanted, response, None, context).await;
        }
        if is_same(&response, etag) {
            return Ok(saved);
        }
        // It is not what we have that was not modified; the server has to show what it means.
        self.download(wanted, None, context).await
    }

    /// The file that this build has been given before.
    fn of_this_build(&self, source: &HttpSource, context: &Context) -> Option<Saved> {
        self.builds.file(&context.session.ids(), &memory_key(source))
    }

    fn remember(&self, source: &HttpSource, saved: &Saved, context: &Context) {
        self.builds.put_file(&context.session.ids(), &memory_key(source), saved);
    }

    /// What is remembered about a source, if the file is still here.
    async fn known(&self, source: &HttpSource) -> Option<Saved> {
        let known = self.state.get::<Known>(&HTTP, &memory_key(source)).await?;
        let result = self.store.load(&known.result).ok()?;
        Some(Saved { known, result })
    }

    async fn download(
        &self,
        wanted: &Wanted<'_>,
        expected: Option<&Digest>,
        context: &Context,
    ) -> Result<Saved, HttpError> {
        if wanted.is_upload() {
            return self.saving(wanted, expected).save(upload(wanted, context), context).await;
        }
        let response = self.get(wanted, None).await?;
        self.save(wanted, response, expected, context).await
    }

    async fn get(&self, wanted: &Wanted<'_>, etag: Option<&str>) -> Result<Response, HttpError> {
        let mut response = self.send(wanted, Method::GET, etag).await?;
        let status = response.status();
        if status.is_success() || (etag.is_some() && status == StatusCode::NOT_MODIFIED) {
            return Ok(response);
        }
        let mut body = Vec::new();
        while body.len() < error::SAID_LIMIT
            && let Ok(Some(chunk)) = response.chunk().await
        {
            body.extend_from_slice(&chunk);
        }
        let (url, host) = (wanted.shown.clone(), wanted.host().to_owned());
        Err(HttpError::Status { url, host, status: status.as_u16(), said: error::said(&body) })
    }

    async fn send(
        &self,
        wanted: &Wanted<'_>,
        method: Method,
        etag: Option<&str>,
    ) -> Result<Response, HttpError> {
        let mut headers = wanted.headers.clone();
        // With every method, because servers have other entity tags for other encodings.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        if let Some(value) = etag.and_then(|etag| HeaderValue::from_str(etag).ok()) {
            headers.insert(IF_NONE_MATCH, value);
        }
        let request = self.client()?.request(method, wanted.url.clone()).headers(headers);
        request.send().await.map_err(|error| Wanted::network(&wanted.shown, &error))
    }

    /// Saves what a server answered, and remembers it for later builds.
    async fn save(
        &self,
        wanted: &Wanted<'_>,
        response: Response,
        expected: Option<&Digest>,
        context: &Context,
    ) -> Result<Saved, HttpError> {
        let saved = self.saving(wanted, expected).save(answer(wanted, response), context).await?;
        self.state.put(&HTTP, &memory_key(wanted.source), &saved.known).await;
        Ok(saved)
    }

    fn saving<'a>(&'a self, wanted: &'a Wanted<'a>, expected: Option<&'a Digest>) -> Saving<'a> {
        let Wanted { source, shown, .. } = wanted;
        Saving { store: &self.store, source, shown, expected }
    }
}

/// The URL of a source for people, without login.
fn shown(source: &HttpSource) -> String {
    url::Url::parse(&source.url).map_or_else(|_| String::new(), |url| redact(&url))
}

/// The answer of a server.
fn answer(wanted: &Wanted<'_>, response: Response) -> Answer {
    let source = wanted.source;
    let shown = wanted.shown.clone();
    let disposition = Some(text_header(&response, CONTENT_DISPOSITION));
    Answer {
        filename: filename(&source.url, &source.filename, disposition.as_deref()),
        etag: etag_of(&response),
        last_modified: text_header(&response, LAST_MODIFIED),
        content_encoding: text_header(&response, CONTENT_ENCODING),
        length: response.content_length().unwrap_or(0),
        body: response.bytes_stream().map_err(move |e| Wanted::network(&shown, &e)).boxed(),
    }
}

/// What the client uploads.
fn upload(wanted: &Wanted<'_>, context: &Context) -> Answer {
    let source = wanted.source;
    let url = wanted.shown.clone();
    let body = context.session.upload(wanted.host(), wanted.url.path());
    Answer {
        filename: filename(&source.url, &source.filename, None),
        etag: String::new(),
        last_modified: String::new(),
        content_encoding: String::new(),
        length: 0,
        body: body.map_err(move |source| HttpError::Upload { url: url.clone(), source }).boxed(),
    }
}

/// Whether an answer says that the file with this entity tag is the current one. An answer without
/// a tag is about the one that was offered.
fn is_same(response: &Response, etag: &str) -> bool {
    let answered = etag_of(response);
    match response.status() {
        StatusCode::NOT_MODIFIED => answered.is_empty() || answered == etag,
        StatusCode::OK => answered == etag,
        _ => false,
    }
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

fn text_header(response: &Response, name: HeaderName) -> String {
    let value = response.headers().get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}
