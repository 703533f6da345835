//! Turns challenges into `Authorization` headers, and remembers them.
//!
//! What is remembered belongs to one identity at one host, and is never used for another. Tokens
//! are used until nine tenths of their time are over. Secrets and tokens are not logged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use tokio::sync::Mutex as AsyncMutex;
use url::Url;

use crate::challenge::{Challenge, Scopes};
use crate::error::{RegistryError, ServerSaid};
use crate::host::Endpoint;
use crate::pace::TooSlow;
use crate::retry::{Failure, is_passing, retry_after};
use crate::transport::{exchange_failed, read_bounded};
use crate::{Credential, Credentials, CredentialsError, Token, TokenRequest};

/// An answer of an authorization server is not longer than this.
const TOKEN_LIMIT: u64 = 1 << 20;
/// Memories of identities that were not used for this long are dropped.
const IDLE: Duration = Duration::from_secs(600);
/// What the protocol says when a server does not.
const DEFAULT_EXPIRY: Duration = Duration::from_secs(60);

/// Headers by identity and host.
#[derive(Default)]
pub(crate) struct Authorizer {
    memories: Mutex<BTreeMap<(String, String), Remembered>>,
}

/// When a memory was last used, and the memory.
type Remembered = (Instant, Arc<AsyncMutex<Memory>>);

/// What is known about one identity at one host.
#[derive(Default)]
struct Memory {
    challenge: Option<Challenge>,
    grants: BTreeMap<Scopes, (Grant, Instant)>,
}

/// What a request is let in by.
#[derive(Clone)]
pub(crate) struct Grant {
    pub(crate) header: HeaderValue,
    /// It was given without a login: anyone is let in by the like.
    pub(crate) is_public: bool,
}

/// A request that needs a header.
pub(crate) struct Ask<'a> {
    pub(crate) subject: &'a str,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) scopes: &'a Scopes,
    pub(crate) credentials: &'a dyn Credentials,
    pub(crate) client_id: &'a str,
}

impl Authorizer {
    /// The header for a request, if the host is known to want one.
    pub(crate) async fn header(&self, ask: &Ask<'_>) -> Result<Option<Grant>, Failure> {
        let memory = self.memory(ask);
        let mut memory = memory.lock().await;
        match memory.challenge.clone() {
            // What another request missed is none of this request's business.
            Some(challenge) => memory.answer(&challenge, ask.scopes.clone(), ask).await.map(Some),
            None => Ok(None),
        }
    }

    /// The header a refused request should be sent again with. `refused` is the one it had.
    pub(crate) async fn answer(
        &self,
        challenge: Challenge,
        refused: Option<&Grant>,
        ask: &Ask<'_>,
    ) -> Result<Grant, Failure> {
        let memory = self.memory(ask);
        let mut memory = memory.lock().await;
        let refused = refused.map(|grant| &grant.header);
        memory.grants.retain(|_, (grant, _)| Some(&grant.header) != refused);
        let mut scopes = ask.scopes.clone();
        if let Challenge::Bearer { scopes: missing, .. } = &challenge {
            scopes.merge(missing);
        }
        let grant = memory.answer(&challenge, scopes, ask).await?;
        memory.challenge = Some(challenge);
        Ok(grant)
    }

    fn memory(&self, ask: &Ask<'_>) -> Arc<AsyncMutex<Memory>> {
        let now = Instant::now();
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        memories.retain(|_, (used, _)| now.duration_since(*used) < IDLE);
        let key = (ask.credentials.identity().to_owned(), ask.endpoint.host.clone());
        let (used, memory) = memories.entry(key).or_insert_with(|| (now, Arc::default()));
        *used = now;
        Arc::clone(memory)
    }
}

impl Memory {
    async fn answer(
        &mut self,
        challenge: &Challenge,
        scopes: Scopes,
        ask: &Ask<'_>,
    ) -> Result<Grant, Failure> {
        let now = Instant::now();
        self.grants.retain(|_, (_, until)| *until > now);
        if let Some((grant, _)) = self.grants.get(&scopes) {
            return Ok(grant.clone());
        }
        let (header, is_public, lifetime) = match challenge {
            Challenge::Basic => (basic(ask).await?, false, IDLE),
            Challenge::Bearer { realm, service, .. } => {
                let (token, is_public) = token(realm, service, &scopes, ask).await?;
                let lifetime = token.expires_in.unwrap_or(DEFAULT_EXPIRY).max(DEFAULT_EXPIRY);
                let header = sensitive(format!("Bearer {}", token.token), ask)?;
                (header, is_public, lifetime / 10 * 9)
            }
        };
        let grant = Grant { header, is_public };
        let until = now.checked_add(lifetime).unwrap_or(now);
        self.grants.insert(ask.scopes.clone(), (grant.clone(), until));
        self.grants.insert(scopes, (grant.clone(), until));
        Ok(grant)
    }
}

async fn basic(ask: &Ask<'_>) -> Result<HeaderValue, RegistryError> {
    let Some(login) = login(ask).await? else {
        return Err(RegistryError::Unauthorized {
            subject: ask.subject.into(),
            host: ask.endpoint.host.clone(),
            said: ServerSaid::default(),
        });
    };
    sensitive(basic_text(&login), ask)
}

fn basic_text(login: &Credential) -> String {
    format!("Basic {}", STANDARD.encode(format!("{}:{}", login.username, login.secret)))
}

fn sensitive(text: String, ask: &Ask<'_>) -> Result<HeaderValue, RegistryError> {
    let mut value = HeaderValue::try_from(text).map_err(|_| {
        RegistryError::protocol(
            ask.subject,
            &ask.endpoint.host,
            "the token or login has characters that no header can carry",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

async fn login(ask: &Ask<'_>) -> Result<Option<Credential>, RegistryError> {
    let host = &ask.endpoint.host;
    let login = ask.credentials.credentials(host).await;
    let login =
        login.map_err(|source| RegistryError::Credentials { host: host.clone(), source })?;
    Ok(login.filter(|login| !login.secret.is_empty() || !login.username.is_empty()))
}

/// Gets a token: from the client, else with its login, else without one. Says whether it is the
/// latter.
async fn token(
    realm: &str,
    service: &str,
    scopes: &Scopes,
    ask: &Ask<'_>,
) -> Result<(Token, bool), Failure> {
    let host = &ask.endpoint.host;
    let request = TokenRequest {
        client_id: ask.client_id.to_owned(),
        host: host.clone(),
        realm: realm.to_owned(),
        service: service.to_owned(),
        scopes: scopes.list(),
    };
    let offered = ask.credentials.fetch_token(&request).await;
    if let Some(token) = offered.map_err(|source| client_failed(host, source))? {
        return Ok((token, false));
    }
    let login = login(ask).await?;
    let realm = realm_url(realm, login.is_some(), ask)?;
    let token = token_of(&realm, &request, login.as_ref(), ask).await?;
    Ok((token, login.is_none()))
}

/// A client that fetches tokens itself may meet a server that is busy; it says so in words only.
fn client_failed(host: &str, source: CredentialsError) -> Failure {
    let text = source.to_string();
    let passes = ["429", "500", "502", "503", "504", "connection reset", "EOF"];
    let passes = passes.iter().any(|words| text.contains(words));
    let error = RegistryError::Credentials { host: host.to_owned(), source };
    if passes { Failure::Passing(error, None) } else { Failure::Final(error) }
}

/// Gets a token from an authorization server.
async fn token_of(
    realm: &Url,
    request: &TokenRequest,
    login: Option<&Credential>,
    ask: &Ask<'_>,
) -> Result<Token, Failure> {
    match login {
        // An identity token can only be exchanged by OAuth.
        Some(login) if login.username.is_empty() => oauth(realm, request, login, ask).await,
        Some(login) => match get_token(realm, request, Some(login), ask).await? {
            Ok(token) => Ok(token),
            Err((StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_FOUND, _)) => {
                oauth(realm, request, login, ask).await
            }
            // Some servers refuse GET with a login and answer POST, so the first refusal stands
            // only if the second way fails too.
            Err((StatusCode::UNAUTHORIZED, said)) => {
                match oauth(realm, request, login, ask).await {
                    Err(Failure::Final(_)) => {
                        Err(refused(StatusCode::UNAUTHORIZED, said, ask).into())
                    }
                    other => other,
                }
            }
            Err((status, said)) => Err(refused(status, said, ask).into()),
        },
        None => match get_token(realm, request, None, ask).await? {
            Ok(token) => Ok(token),
            Err((status, said)) => Err(refused(status, said, ask).into()),
        },
    }
}

/// The address of the authorization server. A login that is meant for TLS is not sent without it.
fn realm_url(realm: &str, with_login: bool, ask: &Ask<'_>) -> Result<Url, RegistryError> {
    let bad = |what: &str| {
        let realm: String = realm.chars().filter(|c| !c.is_control()).take(200).collect();
        RegistryError::protocol(
            ask.subject,
            &ask.endpoint.host,
            format!("authorization realm `{realm}` {what}"),
        )
    };
    let url = Url::parse(realm).map_err(|_| bad("is not a URL"))?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if with_login && ask.endpoint.is_tls() => {
            Err(bad("has no TLS, and the login is not sent in the clear"))
        }
        "http" => Ok(url),
        _ => Err(bad("is neither http nor https")),
    }
}

type Refusal = (StatusCode, ServerSaid);

async fn get_token(
    realm: &Url,
    request: &TokenRequest,
    login: Option<&Credential>,
    ask: &Ask<'_>,
) -> Result<Result<Token, Refusal>, Failure> {
    let mut url = realm.clone();
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("client_id", &request.client_id);
        if !request.service.is_empty() {
            query.append_pair("service", &request.service);
        }
        for scope in &request.scopes {
            query.append_pair("scope", scope);
        }
    }
    let mut builder = ask.endpoint.client().get(url);
    if let Some(login) = login {
        builder = builder.header(http::header::AUTHORIZATION, sensitive(basic_text(login), ask)?);
    }
    exchange(builder, realm, ask).await
}

/// The OAuth way: a form, sent with POST.
async fn oauth(
    realm: &Url,
    request: &TokenRequest,
    login: &Credential,
    ask: &Ask<'_>,
) -> Result<Token, Failure> {
    let scope = request.scopes.join(" ");
    let mut form = vec![
        ("client_id", request.client_id.as_str()),
        ("service", &request.service),
        ("scope", &scope),
    ];
    if login.username.is_empty() {
        form.extend([("grant_type", "refresh_token"), ("refresh_token", &login.secret)]);
    } else {
        form.extend([
            ("grant_type", "password"),
            ("username", &login.username),
            ("password", &login.secret),
        ]);
    }
    let builder = ask.endpoint.client().post(realm.clone()).form(&form);
    match exchange(builder, realm, ask).await? {
        Ok(token) => Ok(token),
        Err((status, said)) => Err(refused(status, said, ask).into()),
    }
}

async fn exchange(
    builder: reqwest::RequestBuilder,
    realm: &Url,
    ask: &Ask<'_>,
) -> Result<Result<Token, Refusal>, Failure> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        token: String,
        #[serde(default)]
        access_token: String,
        #[serde(default)]
        expires_in: u64,
    }
    let host = realm.host_str().unwrap_or_default();
    let subject = format!("token for {}", ask.subject);
    let response = tokio::time::timeout(ask.endpoint.timeout(), builder.send()).await;
    let response = response
        .map_err(|_| ask.endpoint.stalled(host, &subject, TooSlow::Silent))?
        .map_err(|error| exchange_failed(host, &subject, error))?;
    let (status, wait) = (response.status(), retry_after(response.headers(), SystemTime::now()));
    let body = read_bounded(response, TOKEN_LIMIT, ask.endpoint, &subject).await?;
    if !status.is_success() {
        let said = ServerSaid::of(&body);
        return match is_passing(status) {
            true => Err(Failure::Passing(refused(status, said, ask), wait)),
            false => Ok(Err((status, said))),
        };
    }
    let bad = |what| RegistryError::protocol(&subject, host, what);
    let answer: Answer =
        serde_json::from_slice(&body).map_err(|_| bad("the token document does not decode"))?;
    let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
    if token.is_empty() {
        return Err(bad("the token document has no token").into());
    }
    let expires_in = (answer.expires_in > 0).then(|| Duration::from_secs(answer.expires_in));
    Ok(Ok(Token { token, expires_in }))
}

fn refused(status: StatusCode, said: ServerSaid, ask: &Ask<'_>) -> RegistryError {
    let (subject, host) = (ask.subject.to_owned(), ask.endpoint.host.clone());
    match status {
        StatusCode::UNAUTHORIZED => RegistryError::Unauthorized { subject, host, said },
        StatusCode::FORBIDDEN => RegistryError::Denied { subject, host, said },
        StatusCode::TOO_MANY_REQUESTS => RegistryError::RateLimited { subject, host, said },
        _ => RegistryError::Status { subject, host, status: status.as_u16(), said },
    }
}
