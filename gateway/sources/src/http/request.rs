//! One file that is wanted, with all that requests for it need.

use std::error::Error;

use http::header::{ACCEPT, AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use kiln_graph::HttpSource;
use url::Url;

use crate::http::error::HttpError;
use crate::source::Context;

/// The host of addresses that the client answers for itself.
const UPLOAD_HOST: &str = "buildkit-session";

/// One file that is wanted.
pub(crate) struct Wanted<'a> {
    pub(crate) source: &'a HttpSource,
    pub(crate) url: Url,
    /// The URL without login.
    pub(crate) shown: String,
    /// What every request carries.
    pub(crate) headers: HeaderMap,
}

impl<'a> Wanted<'a> {
    /// Checks the URL and asks the client for what it takes to be let in.
    pub(crate) async fn new(source: &'a HttpSource, context: &Context) -> Result<Self, HttpError> {
        let url = parse(source)?;
        let shown = redact(&url);
        let mut wanted = Self { source, url, shown, headers: HeaderMap::new() };
        if wanted.is_upload() {
            return Ok(wanted);
        }
        for (header, name, text) in
            [(ACCEPT, "Accept", &source.accept), (USER_AGENT, "User-Agent", &source.user_agent)]
        {
            if !text.is_empty() {
                wanted.headers.insert(header, wanted.header(name, text)?);
            }
        }
        if let Some(authorization) = wanted.authorization(context).await? {
            let mut value = wanted.header("Authorization", &authorization)?;
            value.set_sensitive(true);
            wanted.headers.insert(AUTHORIZATION, value);
        }
        Ok(wanted)
    }

    /// Whether the client uploads it, once.
    pub(crate) fn is_upload(&self) -> bool {
        self.url.host_str() == Some(UPLOAD_HOST) && self.url.port().is_none()
    }

    /// The name of the host, as it stands in names of secrets.
    pub(crate) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    fn header(&self, name: &'static str, text: &str) -> Result<HeaderValue, HttpError> {
        HeaderValue::from_str(text).map_err(|_| HttpError::Header { url: self.shown.clone(), name })
    }

    /// The value of the Authorization header. Only a secret that the user named has to exist.
    async fn authorization(&self, context: &Context) -> Result<Option<String>, HttpError> {
        let session = &context.session;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
        let named = &self.source.auth_header_secret;
        if !named.is_empty() {
            let failed = |reason: String| HttpError::Secret {
                url: self.shown.clone(),
                id: named.clone(),
                reason,
            };
            return match session.secret(named).await {
                Ok(Some(secret)) => Ok(Some(text(secret))),
                Ok(None) => Err(failed("not found".into())),
                Err(error) => Err(failed(error.to_string())),
            };
        }
        let host = self.host();
        if let Ok(Some(token)) = session.secret(&format!("HTTP_AUTH_TOKEN_{host}")).await {
            return Ok(Some(format!("Bearer {}", text(token))));
        }
        let header = session.secret(&format!("HTTP_AUTH_HEADER_{host}")).await;
        Ok(header.ok().flatten().map(text))
    }

    /// A failure to send a request or to read its answer.
    pub(crate) fn network(url: &str, error: &reqwest::Error) -> HttpError {
        let mut reason = String::new();
        // The outermost messages of the client say less than those beneath.
        let mut cause: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(here) = cause {
            cause = here.source();
            if cause.is_none() || error.is_redirect() {
                reason = here.to_string();
            }
        }
        HttpError::Network { url: url.to_owned(), reason: reason.chars().take(300).collect() }
    }
}

/// The URL of a source.
pub(crate) fn parse(source: &HttpSource) -> Result<Url, HttpError> {
    Url::parse(&source.url).map_err(|error| HttpError::Url {
        url: source.url.chars().take(300).collect(),
        reason: error.to_string(),
    })
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
