//! How git shows who we are: a header from a secret, the client's SSH agent, known hosts.
//!
//! Secrets go into the environment of git and nowhere else, bound to the host they are for. The
//! text of each is kept to strike it out of what git says.

use std::io::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_graph::GitSource;
use tempfile::NamedTempFile;
use url::Url;

use crate::clients::is_unanswered;
use crate::git::GitError;
use crate::session::{AgentSocket, Session};
use crate::source::Context;

/// What git is given to be let in.
#[derive(Debug, Default)]
pub(crate) struct Auth {
    /// Git's configuration entries.
    pub(crate) config: Vec<(String, String)>,
    /// Texts that must not appear in messages.
    pub(crate) secrets: Vec<String>,
    /// The socket of an SSH agent.
    pub(crate) agent: Option<AgentSocket>,
    /// The host keys that are accepted.
    pub(crate) known_hosts: Option<NamedTempFile>,
}

/// Asks the client for all that a source names.
pub(crate) async fn gather(
    source: &GitSource,
    shown: &str,
    context: &Context,
) -> Result<Auth, GitError> {
    let mut auth = Auth::default();
    if let Ok(url) = Url::parse(&source.remote) {
        auth.secrets.extend(url.password().map(str::to_owned));
        if matches!(url.scheme(), "http" | "https") {
            header(&mut auth, source, &url, shown, context).await?;
        }
    }
    if !source.ssh_agent.is_empty() {
        let agent = context.session.ssh_agent(&source.ssh_agent).await;
        auth.agent = Some(agent.map_err(|error| GitError::Agent {
            remote: shown.to_owned(),
            id: source.ssh_agent.clone(),
            source: error,
        })?);
    }
    if !source.known_hosts.is_empty() {
        let written = NamedTempFile::new().and_then(|mut file| {
            file.write_all(source.known_hosts.as_bytes())?;
            Ok(file)
        });
        auth.known_hosts = Some(written.map_err(|source| GitError::Files {
            remote: shown.to_owned(),
            doing: "write known hosts",
            source,
        })?);
    }
    Ok(auth)
}

/// Finds the first secret there is: for the host before general, header before token.
async fn header(
    auth: &mut Auth,
    source: &GitSource,
    url: &Url,
    shown: &str,
    context: &Context,
) -> Result<(), GitError> {
    if of_host(auth, source, url, shown, &context.session).await? {
        return Ok(());
    }
    let (header, token) = (&source.auth_header_secret, &source.auth_token_secret);
    let names = [(header.clone(), false), (token.clone(), true)];
    first(auth, &names, url, shown, &context.session).await.map(drop)
}

/// Finds the first secret there is for a host, and says whether there is one.
pub(crate) async fn of_host(
    auth: &mut Auth,
    source: &GitSource,
    url: &Url,
    shown: &str,
    session: &Arc<dyn Session>,
) -> Result<bool, GitError> {
    let host = host(url);
    let named = |base: &str| match base {
        "" => String::new(),
        base => format!("{base}.{host}"),
    };
    let header = (named(&source.auth_header_secret), false);
    first(auth, &[header, (named(&source.auth_token_secret), true)], url, shown, session).await
}

/// Host and port, as they stand in names of secrets.
fn host(url: &Url) -> String {
    match (url.host_str().unwrap_or_default(), url.port()) {
        (host, Some(port)) => format!("{host}:{port}"),
        (host, None) => host.to_owned(),
    }
}

/// Takes the first of these secrets that there is; each is a header or a token.
async fn first(
    auth: &mut Auth,
    names: &[(String, bool)],
    url: &Url,
    shown: &str,
    session: &Arc<dyn Session>,
) -> Result<bool, GitError> {
    for (id, is_token) in names.iter().filter(|(id, _)| !id.is_empty()) {
        let secret = match session.secret(id).await {
            Ok(Some(secret)) => secret,
            Ok(None) => continue,
            // What is public needs no client.
            Err(error) if is_unanswered(&error) => continue,
            Err(source) => {
                return Err(GitError::Secret { remote: shown.to_owned(), id: id.clone(), source });
            }
        };
        let secret = String::from_utf8_lossy(&secret).trim().to_owned();
        let value = if *is_token {
            format!("basic {}", STANDARD.encode(format!("x-access-token:{secret}")))
        } else {
            secret.clone()
        };
        // Bound to the host, so that neither redirects nor submodules elsewhere see it.
        let key = format!("http.{}://{}/.extraheader", url.scheme(), host(url));
        auth.config.push((key, format!("Authorization: {value}")));
        auth.secrets.extend([secret, value]);
        return Ok(true);
    }
    Ok(false)
}
