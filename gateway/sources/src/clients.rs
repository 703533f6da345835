//! The sessions of a build, as one client.
//!
//! A vertex may be wanted by several builds; whichever of their clients has what is asked for
//! answers. A session that is gone is passed over, what a client refuses is its answer.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kiln_filesync::{Diff, Filter, Listing, OnProgress, Owner, Patterns, ReceiveOptions};
use kiln_graph::{Differ, LocalSource};
use kiln_oci::Digest;
use kiln_registry::{Credential, Credentials, CredentialsError, Token, TokenRequest};
use kiln_session::{CallError, Caller, DirRequest, SessionError, SessionManager};
use tokio::net::UnixListener;
use tokio_util::task::AbortOnDropHandle;

use crate::session::{AgentSocket, ByteStream, Origin, Session};
use crate::source::Cause;

/// How long a session may take to appear, if there is another to ask.
const APPEARS: Duration = Duration::from_secs(5);
/// The same for the last one.
const LAST_APPEARS: Duration = Duration::from_secs(15);
/// A file that was this much older than the last transfer, in nanoseconds, is not written to again
/// within the same tick of a clock.
const SETTLED: i64 = 120 * 1_000_000_000;

/// Why no client answered.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    /// The session is not there.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The client failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Whether a question was not answered because no client was there.
pub(crate) fn is_unanswered(error: &Cause) -> bool {
    error.downcast_ref::<ClientsError>().is_some_and(ClientsError::is_absent)
}

impl ClientsError {
    /// Whether another client may do better.
    fn is_absent(&self) -> bool {
        let Self::Call(error) = self else { return true };
        matches!(error, CallError::Ended(_) | CallError::Unsupported(_))
    }
}

/// The sessions of a build; cheap to clone.
#[derive(Clone, Debug)]
pub struct Clients {
    manager: SessionManager,
    ids: Arc<[String]>,
}

impl Clients {
    /// The sessions with these ids, the one to be asked first at the front. They need not be open
    /// yet.
    pub fn new(manager: &SessionManager, ids: impl IntoIterator<Item = String>) -> Self {
        // A request without a session names it like that.
        let ids = ids.into_iter().filter(|id| !id.is_empty()).collect();
        Self { manager: manager.clone(), ids }
    }

    /// Logins of these clients, for registries.
    pub fn logins(&self) -> ClientCredentials {
        ClientCredentials { identity: self.ids.join(" "), clients: self.clone() }
    }

    /// Asks one client after the other, `preferred` first, until one is there to answer.
    async fn ask<T, F>(
        &self,
        preferred: &str,
        mut question: impl FnMut(Caller) -> F,
    ) -> Result<T, ClientsError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let mut failed: Option<ClientsError> = None;
        let mut order = self.order(preferred).peekable();
        while let Some(id) = order.next() {
            let patience = if order.peek().is_some() { APPEARS } else { LAST_APPEARS };
            let answer = match self.manager.get(id, patience).await {
                Ok(caller) => question(caller).await.map_err(ClientsError::from),
                Err(error) => Err(error.into()),
            };
            match answer {
                Err(error) if error.is_absent() => {
                    // What the first one lacks says more than that the others are gone.
                    failed.get_or_insert(error);
                }
                answer => return answer,
            }
        }
        Err(failed.unwrap_or_else(|| {
            let id = "this build".to_owned();
            SessionError::NotFound { id, waited: Duration::ZERO }.into()
        }))
    }

    fn order<'a>(&'a self, preferred: &'a str) -> impl Iterator<Item = &'a str> {
        let first = (!preferred.is_empty()).then_some(preferred);
        let others = self.ids.iter().map(String::as_str).filter(move |id| *id != preferred);
        first.into_iter().chain(others)
    }
}

#[async_trait]
impl Session for Clients {
    fn id(&self) -> &str {
        self.ids.first().map_or("", String::as_str)
    }

    fn ids(&self) -> Vec<String> {
        self.ids.to_vec()
    }

    async fn shared_key(&self, preferred: &str) -> String {
        let question = |caller: Caller| async move { Ok(caller.shared_key().to_owned()) };
        // Without a client there is nothing to receive, which is said then.
        self.ask(preferred, question).await.unwrap_or_default()
    }

    async fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, Cause> {
        let (mut asked, mut absent) = (false, None);
        for session in self.order("") {
            // A build may come before its session.
            let caller = match self.manager.get(session, APPEARS).await {
                Ok(caller) => caller,
                Err(error) => {
                    absent.get_or_insert(error);
                    continue;
                }
            };
            asked = true;
            match caller.secret(id).await {
                Ok(None) | Err(CallError::Ended(_)) => {}
                answer => return Ok(answer?),
            }
        }
        match absent {
            Some(error) if !asked => Err(ClientsError::Session(error).into()),
            _ => Ok(None),
        }
    }

    fn credentials(&self) -> Arc<dyn Credentials> {
        Arc::new(self.logins())
    }

    async fn ssh_agent(&self, id: &str) -> Result<AgentSocket, Cause> {
        let question = |caller: Caller| async move { caller.ssh_check(id).await.map(|()| caller) };
        let caller = self.ask("", question).await?;
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("agent.sock");
        let listener = UnixListener::bind(&path)?;
        let id = id.to_owned();
        let forwarding = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut ours, _)) = listener.accept().await {
                let forwarded = caller.ssh_forward(&id);
                connections.spawn(async move {
                    if let Ok(mut theirs) = forwarded {
                        // Either side may hang up at any time; that is how connections end.
                        tokio::io::copy_bidirectional(&mut ours, &mut theirs).await.ok();
                    }
                });
            }
        });
        Ok(AgentSocket { path, guard: Box::new((AbortOnDropHandle::new(forwarding), directory)) })
    }

    fn layout_blob(&self, session: &str, store: &str, digest: &Digest, offset: u64) -> ByteStream {
        let (this, session) = (self.clone(), session.to_owned());
        let (store, digest) = (format!("oci:{store}"), digest.clone());
        let opened = async move {
            let open = |caller: Caller| {
                let content = caller.content(&store);
                let digest = digest.clone();
                async move {
                    // Asked first, because a stream says only when it is read that nobody answers.
                    content.info(&digest).await?;
                    content.read(&digest, offset)
                }
            };
            let opened = this.ask(&session, open).await.map_err(Cause::from)?;
            Ok::<_, Cause>(opened.map_err(Cause::from))
        };
        stream::once(opened).try_flatten().boxed()
    }

    fn upload(&self, host: &str, path: &str) -> ByteStream {
        let (this, host, path) = (self.clone(), host.to_owned(), path.to_owned());
        let opened = async move {
            let open = |caller: Caller| {
                let opened = caller.upload(&host, &path);
                async move { opened }
            };
            let opened = this.ask("", open).await.map_err(Cause::from)?;
            Ok::<_, Cause>(opened.map_err(Cause::from))
        };
        stream::once(opened).try_flatten().boxed()
    }

    async fn receive(
        &self,
        source: &LocalSource,
        destination: &Path,
        before: &Origin,
        received: Arc<dyn Fn(u64) + Send + Sync>,
    ) -> Result<Origin, Cause> {
        let request = DirRequest {
            name: source.name.clone(),
            filter: Filter {
                include: source.include_patterns.clone(),
                exclude: source.exclude_patterns.clone(),
                follow_paths: source.follow_paths.clone(),
            },
        };
        let listing = source
            .listing
            .as_ref()
            .map(|files| Ok::<_, Cause>(Listing { files: Patterns::parse(files)? }));
        let options = ReceiveOptions {
            listing: listing.transpose()?,
            owner: if kiln_store::owner::single_id() { Owner::Ours } else { Owner::AsSent },
            progress: OnProgress::new(move |progress| received(progress.bytes)),
            ..ReceiveOptions::default()
        };
        let receive = |caller: Caller| {
            let (request, options) = (request.clone(), options.clone());
            let session = caller.id().to_owned();
            let mut origin = Origin { session, directory: String::new(), at: now() };
            async move {
                let options = |directory: &str| {
                    origin.directory = directory.to_owned();
                    let diff = match source.differ {
                        Differ::None => Diff::None,
                        Differ::Metadata => Diff::Metadata,
                        Differ::Default => diff(before, &origin),
                    };
                    ReceiveOptions { diff, ..options }
                };
                caller.receive_dir(&request, destination.to_owned(), options).await?;
                Ok(origin)
            }
        };
        Ok(self.ask(&source.session, receive).await?)
    }
}

/// What of a working copy is known to be as it was, if it was filled from `before` and is now filled
/// from `now`.
///
/// Files of one directory change their size or their time when they change. Those of two directories
/// may be alike in both, and whether it is the same directory is known only if the session is the
/// same or the client says so.
fn diff(before: &Origin, now: &Origin) -> Diff {
    let known = !before.session.is_empty();
    match (before.directory.as_str(), now.directory.as_str()) {
        _ if known && before.session == now.session => Diff::Metadata,
        ("", _) | (_, "") if known => Diff::Doubt { since: before.at.saturating_sub(SETTLED) },
        (before, now) if known && before == now => Diff::Metadata,
        _ => Diff::None,
    }
}

/// Nanoseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Logins of the clients of a build. Tokens are shared within the build only.
#[derive(Clone, Debug)]
pub struct ClientCredentials {
    identity: String,
    clients: Clients,
}

#[async_trait]
impl Credentials for ClientCredentials {
    fn identity(&self) -> &str {
        &self.identity
    }

    async fn credentials(&self, host: &str) -> Result<Option<Credential>, CredentialsError> {
        let question = |caller: Caller| async move { caller.credentials(host).await };
        match self.clients.ask("", question).await {
            Ok(login) if login.secret.is_empty() && login.username.is_empty() => Ok(None),
            Ok(login) => Ok(Some(Credential { username: login.username, secret: login.secret })),
            // Public images need neither a login nor a client.
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn fetch_token(&self, request: &TokenRequest) -> Result<Option<Token>, CredentialsError> {
        let wanted = kiln_session::TokenRequest {
            client_id: request.client_id.clone(),
            host: request.host.clone(),
            realm: request.realm.clone(),
            service: request.service.clone(),
            scopes: request.scopes.clone(),
        };
        let question = |caller: Caller| {
            let wanted = &wanted;
            async move {
                // Only a client that has a key for the host fetches tokens for it.
                let salt: [u8; 32] = rand::random();
                match caller.token_authority(&wanted.host, &salt).await? {
                    Some(_) => caller.fetch_token(wanted).await.map(Some),
                    None => Ok(None),
                }
            }
        };
        match self.clients.ask("", question).await {
            Ok(Some(token)) if !token.token.is_empty() => {
                let seconds = u64::try_from(token.expires_in).unwrap_or(0);
                let expires_in = (seconds > 0).then(|| Duration::from_secs(seconds));
                Ok(Some(Token { token: token.token, expires_in }))
            }
            Ok(_) => Ok(None),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
