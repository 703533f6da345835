//! Caches in the cache service of GitHub's workflows, version 2 of its interface.
//!
//! Entries have the names that BuildKit gives them: `buildkit-blob-1-sha256:…` and
//! `index-SCOPE-1-HASH#N`, of which the last counts, because an entry is never written twice. Names
//! come from the service; bytes go to and come from the storage that it gives signed addresses of.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method};
use kiln_handle::Handle;
use kiln_oci::{Descriptor, Digest};
use kiln_registry::BodySource;
use reqwest::{Request, Response, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::Clouds;
use super::asked::Asked;
use super::blocks::{BlockBlob, MOST_BLOCKS, Over, SignedAddress};
use super::error::CloudError;
use super::http::{Attempts, Http, download};
use super::objects::{Backend, ObjectCache};
use super::parts::Parts;
use super::secret::{Scrubber, Secret};
use crate::attributes::AttributeError;
use crate::config::LARGEST_CONFIG;
use crate::origin::{ByteStream, Cause};

pub(crate) const BACKEND: Backend = Backend { kind: "gha", open };

/// What begins the names of layers.
const BLOB: &str = "buildkit-blob-1-";
/// Tells the entries of BuildKit from those of others: the sha256 of `|go-actionscache-1.0`.
const VERSION: &str = "693bb7016429d80366022f036f84856888c9f13e00145f5f6f4dce303a38d6f2";
/// The address of GitHub's own service has this in it.
const SERVICE: &str = "results-receiver.actions.githubusercontent.com";
/// Where the interface of version 2 is.
const INTERFACE: &str = "twirp/github.actions.results.api.v1.CacheService";
/// Where the interface for everybody is, unless a variable says so.
const PUBLIC: &str = "https://api.github.com";
/// Of an answer of the service, this much is read.
const LARGEST_ANSWER: u64 = 64 << 10;
/// How often it is looked whether another builder has written an index.
const LOOKS: u32 = 8;
/// More indexes than this are not begun and left by others.
const MOST_LEFT: usize = 1000;
/// How many layers are written at once.
const PARALLELISM: usize = 4;
/// How many names a page has.
const PAGE: usize = 100;
/// More pages than this are a loop.
const MOST_PAGES: usize = 1000;

/// A cache in the service.
#[derive(Debug)]
struct Gha {
    http: Handle<Http>,
    url: Url,
    token: Secret,
    scope: String,
    /// Branches whose entries may be read.
    branches: Vec<Branch>,
    /// Who may list all names: a repository and a token for it.
    list: Option<(String, Secret, Url)>,
    listed: OnceCell<Option<BTreeSet<String>>>,
    /// How long another builder may take to write an index.
    turn: Duration,
}

/// What the token says about a branch.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
struct Branch {
    #[serde(rename = "Scope", alias = "scope")]
    name: String,
    #[serde(rename = "Permission", alias = "permission", default)]
    permission: u32,
}

impl Branch {
    fn may_write(&self) -> bool {
        self.permission & 2 != 0
    }
}

fn open(asked: &Asked<'_>, clouds: &Clouds) -> Result<Arc<dyn ObjectCache>, AttributeError> {
    let token = asked.required("token", None)?;
    let version = asked.text("version");
    let first = AttributeError::Refused {
        kind: "gha",
        attribute: "version=1",
        instead: "GitHub has switched it off; set version=2 and url_v2=$ACTIONS_RESULTS_URL",
    };
    match version {
        None | Some("2") => {}
        Some("1") => return Err(first),
        Some(other) => return Err(asked.value("version", other, "2")),
    }
    let url = match (asked.url("url_v2")?, asked.url("url")?) {
        (Some(url), _) => url,
        (None, Some(url)) if version.is_some() || url.as_str().contains(SERVICE) => url,
        // An address alone was one of the first version.
        (None, Some(_)) => return Err(first),
        (None, None) => return Err(asked.missing("url_v2", None)),
    };
    let limit = asked.duration("timeout")?.unwrap_or(Duration::from_secs(10 * 60));
    let branches = branches(&token, SystemTime::now()).map_err(|why| AttributeError::Login {
        kind: "gha",
        why: format!("the token is of no use: {why}"),
    })?;
    let ghtoken = asked.secret("ghtoken");
    // Who knows its last part can put the token together.
    let parts: Vec<Secret> = token.split('.').map(Secret::new).collect();
    let token = Secret::new(token);
    let secrets = [token.clone()].into_iter().chain(parts).chain(ghtoken.clone());
    let scrubber = Scrubber::new(secrets);
    let list = match (asked.text("repository"), ghtoken) {
        (Some(repository), Some(token)) => {
            let public = asked.environment.get("GITHUB_API_URL").unwrap_or(PUBLIC);
            let parts: Vec<&str> = repository.split('/').collect();
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if parts.len() != 2
                || !parts.iter().all(|part| !part.is_empty() && part.chars().all(is_name))
            {
                return Err(asked.value("repository", repository, "owner/name"));
            }
            Some((repository.to_owned(), token, asked.address("repository", public)?))
        }
        _ => None,
    };
    let attempts = Attempts { most: 3, while_limited: limit, adaptive: false };
    Ok(Arc::new(Gha {
        http: Handle::new(clouds.http(attempts, scrubber)),
        url,
        token,
        scope: asked.text("scope").unwrap_or("buildkit").to_owned(),
        branches,
        list,
        listed: OnceCell::new(),
        turn: clouds.patience.turn,
    }))
}

/// The branches that a token is for.
fn branches(token: &str, now: SystemTime) -> Result<Vec<Branch>, String> {
    #[derive(Deserialize)]
    struct Claims {
        ac: Option<String>,
        exp: Option<f64>,
        nbf: Option<f64>,
    }
    let parts: Vec<&str> = token.split('.').collect();
    let [_, claims, _] = parts[..] else { return Err("it has not three parts".into()) };
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('='));
    let claims = claims.map_err(|_| "it is no base64")?;
    let claims: Claims = serde_json::from_slice(&claims).map_err(|_| "it has no claims")?;
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    if claims.exp.is_some_and(|end| now > end) {
        return Err("it has expired".into());
    }
    // Clocks differ.
    if claims.nbf.is_some_and(|begin| now + 60.0 < begin) {
        return Err("it is not valid yet".into());
    }
    let branches = claims.ac.ok_or("it does not say what it is for")?;
    let branches: Vec<Branch> =
        serde_json::from_str(&branches).map_err(|_| "it does not say what it is for")?;
    match branches.is_empty() {
        true => Err("it is for nothing".into()),
        false => Ok(branches),
    }
}

/// The name of an index, to which a number is added.
fn index_key(scope: &str, branch: &str) -> String {
    let hash = Digest::sha256(branch);
    format!("index-{scope}-1-{}", &hash.hex()[..8])
}

fn blob_key(digest: &Digest) -> String {
    format!("{BLOB}{digest}")
}

#[derive(Serialize)]
struct Find<'a> {
    key: &'a str,
    restore_keys: [&'a str; 1],
    version: &'a str,
}

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    ok: bool,
    #[serde(default, alias = "signedDownloadUrl")]
    signed_download_url: String,
    #[serde(default, alias = "matchedKey")]
    matched_key: String,
}

#[derive(Serialize)]
struct Reserve<'a> {
    key: &'a str,
    version: &'a str,
}

#[derive(Deserialize)]
struct Reserved {
    #[serde(default)]
    ok: bool,
    #[serde(default, alias = "signedUploadUrl")]
    signed_upload_url: String,
}

#[derive(Serialize)]
struct Finish<'a> {
    key: &'a str,
    size_bytes: u64,
    version: &'a str,
}

#[derive(Deserialize)]
struct Finished {
    #[serde(default)]
    ok: bool,
}

/// A page of names.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    total_count: usize,
    #[serde(default)]
    actions_caches: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    key: String,
}

/// An entry that is there.
struct Entry {
    key: String,
    url: Url,
}

impl Gha {
    fn what(key: &str) -> String {
        format!("cache entry {key}")
    }

    /// Calls the service; its answer, whatever it is.
    async fn call(
        &self,
        what: &str,
        method: &str,
        message: &impl Serialize,
    ) -> Result<Response, CloudError> {
        let text = format!("{}/{INTERFACE}/{method}", self.url.as_str().trim_end_matches('/'));
        let url: Url =
            text.parse().map_err(|_| self.http.unusable(what, &self.url, "no address"))?;
        let body = serde_json::to_vec(message).unwrap_or_default();
        let make = || {
            let request = self.authorized(what, &self.token, Method::POST, url.clone());
            let body = body.clone();
            async move {
                let mut request = request?;
                let json = HeaderValue::from_static("application/json");
                request.headers_mut().insert(CONTENT_TYPE, json);
                *request.body_mut() = Some(body.into());
                Ok(request)
            }
        };
        self.http.send(what, make).await
    }

    fn authorized(
        &self,
        what: &str,
        token: &Secret,
        method: Method,
        url: Url,
    ) -> Result<Request, CloudError> {
        let value = HeaderValue::try_from(format!("Bearer {}", token.reveal()));
        let mut value = value.map_err(|_| {
            self.http.unusable(what, &url, "the token has characters no header has")
        })?;
        value.set_sensitive(true);
        let mut request = Request::new(method, url);
        request.headers_mut().insert(AUTHORIZATION, value);
        Ok(request)
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        what: &str,
        response: Response,
    ) -> Result<T, CloudError> {
        let response = self.http.succeeded(what, response).await?;
        let url = response.url().clone();
        let body = self.http.read(what, response, LARGEST_ANSWER).await?;
        let parsed = serde_json::from_slice(&body);
        parsed.map_err(|error| self.http.unusable(what, &url, error.to_string()))
    }

    /// The address of the storage, which may not be less safe than the service is.
    fn storage(&self, what: &str, text: &str) -> Result<Url, CloudError> {
        let url = text.parse::<Url>().ok();
        let is_safe = |url: &Url| {
            url.scheme() == "https" || (url.scheme() == "http" && self.url.scheme() == "http")
        };
        let url = url.filter(is_safe);
        url.ok_or_else(|| self.http.unusable(what, &self.url, "an address that cannot be used"))
    }

    /// The newest entry whose name begins like this.
    async fn find(&self, key: &str) -> Result<Option<Entry>, CloudError> {
        let what = Self::what(key);
        let message = Find { key, restore_keys: [key], version: VERSION };
        let response = self.call(&what, "GetCacheEntryDownloadURL", &message).await?;
        if response.status() == 404 {
            return Ok(None);
        }
        let found: Found = self.answer(&what, response).await?;
        if !found.ok || found.signed_download_url.is_empty() {
            return Ok(None);
        }
        let url = self.storage(&what, &found.signed_download_url)?;
        Ok(Some(Entry { key: found.matched_key, url }))
    }

    /// The address of the entry of exactly this name.
    async fn find_blob(&self, key: &str) -> Result<Option<Url>, CloudError> {
        let entry = self.find(key).await?;
        Ok(entry.filter(|entry| entry.key == key).map(|entry| entry.url))
    }

    fn at(&self, key: &str, url: Url) -> BlockBlob {
        let (http, auth) = (self.http.clone(), Arc::new(SignedAddress));
        BlockBlob { http, auth, what: Self::what(key), url }
    }

    /// Writes an entry; `false` if it is there, or is being written by somebody else.
    async fn save(&self, key: &str, size: u64, parts: Parts) -> Result<bool, CloudError> {
        let what = Self::what(key);
        let message = Reserve { key, version: VERSION };
        let response = self.call(&what, "CreateCacheEntry", &message).await?;
        if response.status() == 409 {
            return Ok(false);
        }
        let reserved = match self.answer::<Reserved>(&what, response).await {
            Err(CloudError::Status { said, .. }) if said.contains("already") => return Ok(false),
            reserved => reserved?,
        };
        if !reserved.ok {
            return Ok(false);
        }
        let url = self.storage(&what, &reserved.signed_upload_url)?;
        self.at(key, url).put_parts(parts, Over::Write).await?;
        let message = Finish { key, size_bytes: size, version: VERSION };
        let response = self.call(&what, "FinalizeCacheEntryUpload", &message).await?;
        let finished: Finished = self.answer(&what, response).await?;
        match finished.ok {
            true => Ok(true),
            false => Err(self.http.unusable(&what, &self.url, "it did not take what was uploaded")),
        }
    }

    /// The names of all layers, if a token says who may list them.
    async fn listed(&self) -> Option<&BTreeSet<String>> {
        let list = self.list.as_ref()?;
        let names = || async {
            match self.list_all(list).await {
                Ok(names) => Some(names),
                Err(error) => {
                    tracing::info!(%error, "names of cache entries cannot be listed");
                    None
                }
            }
        };
        self.listed.get_or_init(names).await.as_ref()
    }

    async fn list_all(
        &self,
        (repository, token, public): &(String, Secret, Url),
    ) -> Result<BTreeSet<String>, CloudError> {
        let what = format!("cache entries of {repository}");
        let base =
            format!("{}/repos/{repository}/actions/caches", public.as_str().trim_end_matches('/'));
        let mut names = BTreeSet::new();
        for branch in &self.branches {
            for page in 1..=MOST_PAGES {
                let mut url: Url =
                    base.parse().map_err(|_| self.http.unusable(&what, public, "no address"))?;
                let (size, number) = (PAGE.to_string(), page.to_string());
                let query = [("per_page", size.as_str()), ("page", &number), ("key", BLOB)];
                url.query_pairs_mut().extend_pairs(query).append_pair("ref", &branch.name);
                let make = || {
                    let request = self.authorized(&what, token, Method::GET, url.clone());
                    async move {
                        let mut request = request?;
                        let accept = HeaderValue::from_static("application/vnd.github+json");
                        request.headers_mut().insert(http::header::ACCEPT, accept);
                        Ok(request)
                    }
                };
                let response = self.http.send(&what, make).await?;
                let response = self.http.succeeded(&what, response).await?;
                let from = response.url().clone();
                let body = self.http.read(&what, response, 4 << 20).await?;
                let list: Page = serde_json::from_slice(&body)
                    .map_err(|error| self.http.unusable(&what, &from, error.to_string()))?;
                let is_last = list.actions_caches.is_empty() || list.total_count <= page * PAGE;
                names.extend(list.actions_caches.into_iter().map(|named| named.key));
                if is_last {
                    break;
                }
            }
        }
        Ok(names)
    }

    async fn read_index(&self, branch: &Branch) -> Result<Option<Bytes>, CloudError> {
        let key = format!("{}#", index_key(&self.scope, &branch.name));
        let Some(entry) = self.find(&key).await? else { return Ok(None) };
        // The service finds names that begin alike.
        if !entry.key.starts_with(&key) {
            return Ok(None);
        }
        let what = Self::what(&entry.key);
        let response = self.at(&entry.key, entry.url).get(0).await?;
        let response = self.http.succeeded(&what, response).await?;
        self.http.read(&what, response, LARGEST_CONFIG).await.map(Some)
    }

    /// The number of the last index.
    async fn last_index(&self, key: &str) -> Result<u64, CloudError> {
        let key = format!("{key}#");
        let Some(entry) = self.find(&key).await? else { return Ok(0) };
        let Some(number) = entry.key.strip_prefix(&key) else { return Ok(0) };
        let what = Self::what(&entry.key);
        number.parse().map_err(|_| self.http.unusable(&what, &self.url, "its number is none"))
    }
}

/// Where a layer is read, once that is known; asked again when the address has expired.
#[derive(Debug, Default)]
struct Address(Mutex<Option<Url>>);

impl Address {
    fn known(&self) -> Option<Url> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, url: Option<Url>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = url;
    }
}

async fn get(
    gha: Arc<Gha>,
    address: Arc<Address>,
    key: String,
    from: u64,
) -> Result<Response, CloudError> {
    for _ in 0..2 {
        let (url, is_old) = match address.known() {
            Some(url) => (url, true),
            None => {
                let Some(url) = gha.find_blob(&key).await? else { break };
                address.set(Some(url.clone()));
                (url, false)
            }
        };
        let response = gha.at(&key, url).get(from).await?;
        if !is_old || !matches!(response.status().as_u16(), 401 | 403) {
            return Ok(response);
        }
        address.set(None);
    }
    Err(gha.http.unusable(&Gha::what(&key), &gha.url, "the entry is not there"))
}

#[async_trait]
impl ObjectCache for Gha {
    fn title(&self) -> &'static str {
        "exporting to GitHub Actions Cache"
    }

    fn parallelism(&self) -> usize {
        PARALLELISM
    }

    async fn configs(self: Arc<Self>) -> Result<Vec<Bytes>, Cause> {
        let mut configs = Vec::new();
        for branch in &self.branches {
            configs.extend(self.read_index(branch).await?);
        }
        Ok(configs)
    }

    fn blob(self: Arc<Self>, descriptor: &Descriptor) -> ByteStream {
        let key = blob_key(&descriptor.digest);
        let (http, what) = (self.http.clone(), Self::what(&key));
        let address = Arc::new(Address::default());
        let open = move |from| {
            let got = get(Arc::clone(&self), Arc::clone(&address), key.clone(), from);
            Box::pin(got) as futures::future::BoxFuture<'static, _>
        };
        download(http, what, descriptor.size, Box::new(open))
    }

    async fn has(self: Arc<Self>, descriptor: &Descriptor) -> Result<bool, Cause> {
        Ok(self.find_blob(&blob_key(&descriptor.digest)).await?.is_some())
    }

    async fn put_blob(
        self: Arc<Self>,
        descriptor: &Descriptor,
        body: Arc<dyn BodySource>,
    ) -> Result<(), Cause> {
        let key = blob_key(&descriptor.digest);
        let exists = match self.listed().await {
            Some(names) => names.contains(&key),
            None => self.find_blob(&key).await?.is_some(),
        };
        if !exists {
            let part = Parts::part_size(descriptor.size, MOST_BLOCKS);
            // Somebody else's is as good.
            self.save(&key, descriptor.size, Parts::new(descriptor, &*body, part)).await?;
        }
        Ok(())
    }

    async fn publish(self: Arc<Self>, config: Bytes) -> Result<(), Cause> {
        let branch = self.branches.iter().rfind(|branch| branch.may_write());
        let branch = branch.ok_or("the token may not write to any branch's cache")?;
        let key = index_key(&self.scope, &branch.name);
        let size = config.len() as u64;
        let descriptor = Descriptor::new("", Digest::sha256(&config), size);
        let (look, mut looks) = (self.turn / LOOKS, 0);
        let mut number = self.last_index(&key).await?;
        for _ in 0..MOST_LEFT {
            number += 1;
            let parts = Parts::new(&descriptor, &config, Parts::part_size(size, MOST_BLOCKS));
            if self.save(&format!("{key}#{number}"), size, parts).await? {
                return Ok(());
            }
            // Somebody else writes it now, or was stopped while writing it.
            if looks < LOOKS {
                looks += 1;
                tokio::time::sleep(look).await;
                number = self.last_index(&key).await?;
            }
        }
        Err(format!("{key} was begun {MOST_LEFT} times and not finished").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn entries_are_called_as_buildkit_calls_them() {
        assert_eq!(Digest::sha256("|go-actionscache-1.0").hex(), VERSION);
        assert_eq!(
            blob_key(&Digest::sha256("")),
            format!("buildkit-blob-1-{}", Digest::sha256(""))
        );
        let hash = Digest::sha256("refs/heads/main");
        let key = format!("index-buildkit-1-{}", &hash.hex()[..8]);
        assert_eq!(index_key("buildkit", "refs/heads/main"), key);
    }

    #[test]
    fn a_token_says_which_branches_it_is_for() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        let claims = r#"{"ac":"[{\"Scope\":\"a\",\"Permission\":1},{\"Scope\":\"b\",\"Permission\":3}]","exp":2000,"nbf":500}"#;
        let found = branches(&token(claims), now).unwrap();
        let found: Vec<_> = found.iter().map(|b| (b.name.as_str(), b.may_write())).collect();
        assert_eq!(found, [("a", false), ("b", true)]);
        for (claims, words) in [
            (r#"{"ac":"[]","exp":2000}"#, "it is for nothing"),
            (r#"{"exp":2000}"#, "does not say what it is for"),
            (r#"{"ac":"x","exp":2000}"#, "does not say what it is for"),
            (r#"{"ac":"[]","exp":999}"#, "it has expired"),
            (r#"{"ac":"[]","nbf":1100}"#, "it is not valid yet"),
            ("3", "it has no claims"),
        ] {
            let error = branches(&token(claims), now).unwrap_err();
            assert!(error.contains(words), "{claims}: {error}");
        }
        for text in ["", "a.b", "a.!.c"] {
            assert!(branches(text, now).is_err(), "{text}");
        }
    }
}
