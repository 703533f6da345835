//! What to do when git was not let in.
//!
//! Pure: the words of a failed git come in, a sentence goes out. It names the secret or the option
//! that was missing, and the address it was missing for, which is another one for a submodule.

use kiln_graph::GitSource;
use url::Url;

use crate::http::redact;

/// What a source was given to be let in by.
#[derive(Clone, Debug)]
pub(crate) struct Hints {
    header: String,
    token: String,
    agent: bool,
}

/// How git says that it wants a login over HTTP. Some servers hide what is private.
const NOT_LET_IN: &[&str] = &[
    "could not read Username",
    "could not read Password",
    "Authentication failed",
    "HTTP Basic: Access denied",
    "Invalid username or",
    "The requested URL returned error: 401",
    "The requested URL returned error: 403",
];

impl Hints {
    pub(crate) fn new(source: &GitSource) -> Self {
        let or = |name: &str, default: &str| match name {
            "" => default.to_owned(),
            name => name.to_owned(),
        };
        Self {
            header: or(&source.auth_header_secret, "GIT_AUTH_HEADER"),
            token: or(&source.auth_token_secret, "GIT_AUTH_TOKEN"),
            agent: !source.ssh_agent.is_empty(),
        }
    }

    /// What to do about a failure, ready to stand behind the message; often nothing.
    pub(crate) fn of(&self, said: &str) -> String {
        if NOT_LET_IN.iter().any(|words| said.contains(words)) {
            return self.secret(said);
        }
        if said.contains("Permission denied (publickey") {
            return match self.agent {
                true => " (the client's SSH agent has no key that the host accepts)".to_owned(),
                false => " (pass an SSH agent of the client, such as `--ssh default`)".to_owned(),
            };
        }
        if said.contains("Host key verification failed") {
            return " (the key of the host is not among the known hosts of the client)".to_owned();
        }
        String::new()
    }

    fn secret(&self, said: &str) -> String {
        let Self { header, token, .. } = self;
        let Some((url, host)) = address(said) else {
            return format!(" (if it is private, pass the secret {token} or {header})");
        };
        format!(
            " ({url} may be private: pass the secret {token}.{host} with a token, or \
             {header}.{host} with the value of an Authorization header)"
        )
    }
}

/// The address that was not let in to, without login, and its host: the last one that is named.
fn address(said: &str) -> Option<(String, String)> {
    let is_end = |c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`');
    let starts = said.match_indices("http").map(|(at, _)| at);
    let urls = starts.filter_map(|at| {
        let text = said[at..].split(is_end).next()?;
        let url = Url::parse(text.trim_end_matches(['.', ':', ';', ','])).ok()?;
        let host = match (url.host_str()?, url.port()) {
            (host, Some(port)) => format!("{host}:{port}"),
            (host, None) => host.to_owned(),
        };
        matches!(url.scheme(), "http" | "https").then(|| (redact(&url), host))
    });
    urls.last()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(said: &str) -> String {
        Hints::new(&GitSource::default()).of(said)
    }

    #[test]
    fn a_private_repository_is_named_with_its_secret() {
        let text = hint(
            "fatal: could not read Username for 'https://git.example.com:8443': terminal prompts \
             disabled; fatal: clone of 'https://git.example.com:8443/team/lib.git' into submodule \
             path '/x/lib' failed; Failed to clone 'lib'",
        );
        assert!(
            text.contains("https://git.example.com:8443/team/lib.git may be private"),
            "{text}"
        );
        assert!(text.contains("GIT_AUTH_TOKEN.git.example.com:8443"), "{text}");
        let text = hint("fatal: Authentication failed for 'https://me:pw@x.example/y/'");
        assert!(text.contains("GIT_AUTH_HEADER.x.example") && !text.contains("pw"), "{text}");
        assert_eq!(
            hint("remote: HTTP Basic: Access denied"),
            " (if it is private, pass the secret GIT_AUTH_TOKEN or GIT_AUTH_HEADER)"
        );
    }

    #[test]
    fn ssh_is_told_apart_and_the_rest_left_alone() {
        assert!(hint("git@x: Permission denied (publickey).").contains("--ssh default"));
        assert!(hint("Host key verification failed.").contains("known hosts"));
        assert_eq!(hint("fatal: repository not found"), "");
    }
}
