//! Caches in Azure's blob storage and in what speaks as it does.
//!
//! Blobs are those of BuildKit: `PREFIX/blobs/sha256:…` and `PREFIX/manifests/NAME` in a container,
//! which is made if it is not there. Requests are made here and signed by `object_store`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_LENGTH, HeaderMap};
use kiln_handle::Handle;
use kiln_oci::{Descriptor, Digest};
use kiln_registry::BodySource;
use object_store::azure::AzureAuthorizer;
use object_store::client::{HttpRequest, HttpRequestBody};
use reqwest::{Request, Url};
use tokio::sync::OnceCell;

use super::Clouds;
use super::asked::Asked;
use super::blocks::{Authorize, BlockBlob, MOST_BLOCKS, Over};
use super::error::CloudError;
use super::http::{Attempts, Http, download, host_of};
use super::login::{self, AzureLogin};
use super::objects::{Backend, ObjectCache, escaped};
use super::parts::Parts;
use super::secret::Scrubber;
use crate::attributes::AttributeError;
use crate::config::LARGEST_CONFIG;
use crate::origin::{ByteStream, Cause};

pub(crate) const BACKEND: Backend = Backend { kind: "azblob", open };

/// What Azure's own programs do.
const ATTEMPTS: Attempts = Attempts { most: 4, while_limited: Duration::ZERO, adaptive: false };

/// How many layers are written at once.
const PARALLELISM: usize = 4;

/// A cache in a container.
#[derive(Debug)]
struct Azblob {
    http: Handle<Http>,
    auth: Arc<SignedRequests>,
    container: String,
    /// The address of the account, without a slash at its end.
    account: String,
    prefix: String,
    blobs: String,
    manifests: String,
    names: Vec<String>,
    /// Whether the container is known to be there.
    made: OnceCell<()>,
}

fn open(asked: &Asked<'_>, clouds: &Clouds) -> Result<Arc<dyn ObjectCache>, AttributeError> {
    let url = asked.required("account_url", Some("BUILDKIT_AZURE_STORAGE_ACCOUNT_URL"))?;
    let url = asked.address("account_url", &url)?;
    let account = asked.text_or("account_name", "BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME");
    let of_host = || url.host_str().and_then(|host| host.split('.').next());
    let account = account.or_else(of_host).unwrap_or_default().to_owned();
    let container = asked.text_or("container", "BUILDKIT_AZURE_STORAGE_CONTAINER");
    let container = container.unwrap_or("buildkit-cache").to_owned();
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '$');
    if !container.chars().all(is_name) {
        return Err(asked.value("container", &container, "lower-case letters, digits and dashes"));
    }
    let prefix = match asked.raw("prefix") {
        Some(prefix) => prefix,
        None => asked.environment.get("BUILDKIT_AZURE_STORAGE_PREFIX").unwrap_or_default(),
    };
    let names = asked.names()?;
    let key = asked.secret("secret_access_key");
    let http = Handle::new(clouds.http(ATTEMPTS, Scrubber::new(key.clone())));
    let login = login::azure(&account, key.as_ref(), &clouds.environment, &clouds.connections);
    let login = login.map_err(|error| asked.login(&*error))?;
    Ok(Arc::new(Azblob {
        http,
        auth: Arc::new(SignedRequests { login, account }),
        container,
        account: url.as_str().trim_end_matches('/').to_owned(),
        prefix: prefix.to_owned(),
        blobs: asked.raw("blobs_prefix").unwrap_or("blobs").to_owned(),
        manifests: asked.raw("manifests_prefix").unwrap_or("manifests").to_owned(),
        names,
        made: OnceCell::new(),
    }))
}

/// Signs requests in the name of an account.
#[derive(Debug)]
struct SignedRequests {
    login: AzureLogin,
    account: String,
}

#[async_trait]
impl Authorize for SignedRequests {
    async fn authorize(&self, what: &str, mut request: Request) -> Result<Request, CloudError> {
        let host = host_of(request.url());
        let no_login = |error: object_store::Error| CloudError::NoLogin {
            what: what.to_owned(),
            host: host.clone(),
            cause: error.to_string(),
        };
        let login = self.login.get_credential().await.map_err(no_login)?;
        let mut signed = HttpRequest::new(HttpRequestBody::empty());
        *signed.method_mut() = request.method().clone();
        *signed.headers_mut() = std::mem::take(request.headers_mut());
        *signed.uri_mut() = request.url().as_str().parse().map_err(|_| CloudError::Protocol {
            what: what.to_owned(),
            host: host.clone(),
            why: "it has no address".into(),
        })?;
        let signing = AzureAuthorizer::new(&login, &self.account).try_authorize(&mut signed);
        signing.map_err(no_login)?;
        *request.headers_mut() = std::mem::take(signed.headers_mut());
        Ok(request)
    }
}

/// Parts of a path, put together and without detours: no `.`, no `..`, no slash twice.
fn joined(parts: &[&str]) -> String {
    let text = parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("/");
    let is_rooted = text.starts_with('/');
    let mut kept: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." if is_rooted || kept.last().is_some_and(|last| *last != "..") => {
                kept.pop();
            }
            part => kept.push(part),
        }
    }
    format!("{}{}", if is_rooted { "/" } else { "" }, kept.join("/"))
}

impl Azblob {
    fn blob_key(&self, digest: &Digest) -> String {
        joined(&[&self.prefix, &self.blobs, digest.as_str()])
    }

    fn manifest_key(&self, name: &str) -> String {
        joined(&[&self.prefix, &self.manifests, name])
    }

    /// A blob by its key, or the container without one.
    fn at(&self, key: &str) -> Result<BlockBlob, CloudError> {
        let what = match key {
            "" => format!("container {}", self.container),
            key => format!("blob {key} of container {}", self.container),
        };
        // Slashes are escaped, too: names of blobs have them, paths do not.
        let key = if key.is_empty() { key.to_owned() } else { escaped(key, b"-_.~$&+:=@") };
        let separator = if key.is_empty() { "" } else { "/" };
        let text = format!("{}/{}{separator}{key}", self.account, self.container);
        let url = text.parse::<Url>().map_err(|_| CloudError::Protocol {
            what: what.clone(),
            host: self.account.clone(),
            why: "it has no address".into(),
        })?;
        let auth = Arc::clone(&self.auth) as Arc<dyn Authorize>;
        Ok(BlockBlob { http: self.http.clone(), auth, what, url })
    }

    /// The size of a blob; `None` if it is not there.
    async fn size(&self, key: &str) -> Result<Option<u64>, CloudError> {
        let blob = self.at(key)?;
        let response = blob.ask(Method::HEAD, &[], HeaderMap::new(), Bytes::new()).await?;
        if response.status() == 404 {
            return Ok(None);
        }
        let response = self.http.succeeded(&blob.what, response).await?;
        let length = response.headers().get(CONTENT_LENGTH).and_then(|text| text.to_str().ok());
        Ok(Some(length.and_then(|text| text.parse().ok()).unwrap_or(0)))
    }

    /// Makes the container if it is not there.
    async fn make(&self) -> Result<(), CloudError> {
        let container = self.at("")?;
        let query = [("restype", "container")];
        let ask = |method| container.ask(method, &query, HeaderMap::new(), Bytes::new());
        let response = ask(Method::HEAD).await?;
        if response.status() != 404 {
            return self.http.succeeded(&container.what, response).await.map(drop);
        }
        let response = ask(Method::PUT).await?;
        match response.status().as_u16() {
            409 => Ok(()),
            _ => self.http.succeeded(&container.what, response).await.map(drop),
        }
    }

    async fn made(&self) -> Result<(), CloudError> {
        self.made.get_or_try_init(|| self.make()).await.copied()
    }
}

#[async_trait]
impl ObjectCache for Azblob {
    fn title(&self) -> &'static str {
        "exporting cache to Azure Blob Storage"
    }

    fn parallelism(&self) -> usize {
        PARALLELISM
    }

    async fn configs(self: Arc<Self>) -> Result<Vec<Bytes>, Cause> {
        let mut configs = Vec::new();
        for name in &self.names {
            let blob = self.at(&self.manifest_key(name))?;
            let what = blob.what.clone();
            let response = blob.get(0).await?;
            if response.status() == 404 {
                continue;
            }
            let response = self.http.succeeded(&what, response).await?;
            configs.push(self.http.read(&what, response, LARGEST_CONFIG).await?);
        }
        Ok(configs)
    }

    fn blob(self: Arc<Self>, descriptor: &Descriptor) -> ByteStream {
        let key = self.blob_key(&descriptor.digest);
        let what = format!("blob {key}");
        let http = self.http.clone();
        let open = move |from| {
            let blob = self.at(&key);
            let got = async move { blob?.get(from).await };
            Box::pin(got) as futures::future::BoxFuture<'static, _>
        };
        download(http, what, descriptor.size, Box::new(open))
    }

    async fn has(self: Arc<Self>, descriptor: &Descriptor) -> Result<bool, Cause> {
        Ok(self.size(&self.blob_key(&descriptor.digest)).await? == Some(descriptor.size))
    }

    async fn put_blob(
        self: Arc<Self>,
        descriptor: &Descriptor,
        body: Arc<dyn BodySource>,
    ) -> Result<(), Cause> {
        self.made().await?;
        let key = self.blob_key(&descriptor.digest);
        let over = match self.size(&key).await? {
            Some(size) if size == descriptor.size => return Ok(()),
            // What is there and is shorter was cut off, and is written again.
            Some(_) => Over::Write,
            None => Over::Keep,
        };
        let part = Parts::part_size(descriptor.size, MOST_BLOCKS);
        let parts = Parts::new(descriptor, &*body, part);
        Ok(self.at(&key)?.put_parts(parts, over).await?)
    }

    async fn publish(self: Arc<Self>, config: Bytes) -> Result<(), Cause> {
        self.made().await?;
        for name in &self.names {
            self.at(&self.manifest_key(name))?.put(config.clone(), Over::Write).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_put_together_as_go_does() {
        for (parts, path) in [
            (["", "blobs", "sha256:a"], "blobs/sha256:a"),
            (["p/", "/blobs/", "a"], "p/blobs/a"),
            (["p", "", "a"], "p/a"),
            (["/p", "../blobs/./x", "a"], "/blobs/x/a"),
            (["..", "b", "a"], "../b/a"),
        ] {
            assert_eq!(joined(&parts), path);
        }
    }
}
