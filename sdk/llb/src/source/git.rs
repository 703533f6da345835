//! Git repositories (`git://`).
//!
//! The identifier leaves the protocol out, so that a repository is the same however it is reached;
//! the whole address travels as an attribute.

use super::{OciStore, SourceVertex, flag};
use crate::{Constraints, State, caps, path};

/// Options of [`State::git`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Git {
    /// Branch, tag or commit; the default branch if empty.
    pub reference: String,
    /// The directory of the repository to take; all of it if empty.
    pub subdir: String,
    /// Keep `.git` in the result.
    pub keep_git_dir: bool,
    /// The commit the reference must be, in full or its first digits.
    pub checksum: String,
    /// Leave submodules out.
    pub skip_submodules: bool,
    /// Times of the files: `commit` or `checkout`; the daemon's default if empty.
    pub mtime: String,
    /// Fetch the checksum's commit itself, not the reference.
    pub fetch_by_commit: bool,
    /// The secret with a token; `GIT_AUTH_TOKEN` if absent, none if empty.
    pub auth_token_secret: Option<String>,
    /// The secret with a header; `GIT_AUTH_HEADER` if absent, none if empty.
    pub auth_header_secret: Option<String>,
    /// Host keys to accept, as lines of a `known_hosts` file.
    pub known_ssh_hosts: Vec<String>,
    /// The SSH agent to use; `default` if empty.
    pub mount_ssh_sock: String,
    /// Where a bundle of the repository is found.
    pub bundle: Option<GitBundle>,
    /// Put a bundle into the result instead of files.
    pub checkout_bundle: bool,
    /// The signature the commit or tag must have.
    pub signature: Option<GitSignature>,
    /// What is said about the op.
    pub constraints: Constraints,
}

crate::setters!(Git {
    with_reference(reference: impl Into<String>),
    with_subdir(subdir: impl Into<String>),
    with_keep_git_dir(keep_git_dir: bool),
    with_checksum(checksum: impl Into<String>),
    with_skip_submodules(skip_submodules: bool),
    with_mtime(mtime: impl Into<String>),
    with_fetch_by_commit(fetch_by_commit: bool),
    with_auth_token_secret(auth_token_secret: impl Into<Option<String>>),
    with_auth_header_secret(auth_header_secret: impl Into<Option<String>>),
    with_known_ssh_hosts(known_ssh_hosts: Vec<String>),
    with_mount_ssh_sock(mount_ssh_sock: impl Into<String>),
    with_bundle(bundle: impl Into<Option<GitBundle>>),
    with_checkout_bundle(checkout_bundle: bool),
    with_signature(signature: impl Into<Option<GitSignature>>),
    with_constraints(constraints: Constraints),
});

/// A bundle of a repository, kept as a blob.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GitBundle {
    /// The blob, as a source identifier such as `docker-image+blob://…`.
    pub locator: String,
    /// Who has it, if it is in a layout.
    pub store: Option<OciStore>,
}

crate::setters!(GitBundle {
    with_locator(locator: impl Into<String>),
    with_store(store: impl Into<Option<OciStore>>),
});

/// The signature a commit or tag must have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GitSignature {
    /// The public key, armoured.
    pub public_key: String,
    /// Refuse keys that have expired.
    pub reject_expired: bool,
    /// A tag must itself be signed.
    pub require_signed_tag: bool,
    /// Look at the commit even if the tag is signed.
    pub ignore_signed_tag: bool,
}

crate::setters!(GitSignature {
    with_public_key(public_key: impl Into<String>),
    with_reject_expired(reject_expired: bool),
    with_require_signed_tag(require_signed_tag: bool),
    with_ignore_signed_tag(ignore_signed_tag: bool),
});

impl State {
    /// The files of a git repository.
    ///
    /// `fragment` is `reference[:subdir]` as behind the `#` of a URL; the options win over it.
    pub fn git(url: &str, fragment: &str, git: Git) -> Self {
        let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
        let reference = if git.reference.is_empty() { reference } else { &git.reference };
        let subdir = if git.subdir.is_empty() { subdir } else { &git.subdir };
        let remote = Remote::parse(url);
        let mut source = SourceVertex::new(caps::SOURCE_GIT);
        source.identifier = format!("git://{}", remote.identifier(reference, subdir));
        source.set_capable("git.fullurl", remote.url(), caps::SOURCE_GIT_FULL_URL);
        git.describe(&mut source);
        if matches!(remote, Remote::Parsed { ssh: true, .. }) {
            git.describe_ssh(&mut source);
        }
        source.state(git.constraints)
    }
}

impl Git {
    fn describe(&self, source: &mut SourceVertex) {
        let flags = [
            ("git.keepgitdir", self.keep_git_dir, caps::SOURCE_GIT_KEEP_DIR),
            ("git.skipsubmodules", self.skip_submodules, caps::SOURCE_GIT_SKIP_SUBMODULES),
            ("git.fetchbycommit", self.fetch_by_commit, caps::SOURCE_GIT_FETCH_BY_COMMIT),
            ("git.checkoutbundle", self.checkout_bundle, caps::SOURCE_GIT_CHECKOUT_BUNDLE),
        ];
        for (name, value, cap) in flags {
            source.set_capable(name, flag(value), cap);
        }
        source.set_capable("git.checksum", &*self.checksum, caps::SOURCE_GIT_CHECKSUM);
        source.set_capable("git.mtime", &*self.mtime, caps::SOURCE_GIT_MTIME);
        let secrets = [
            ("git.authtokensecret", &self.auth_token_secret, "GIT_AUTH_TOKEN"),
            ("git.authheadersecret", &self.auth_header_secret, "GIT_AUTH_HEADER"),
        ];
        for (name, secret, default) in secrets {
            match secret {
                Some(secret) => source.set_capable(name, &**secret, caps::SOURCE_GIT_HTTP_AUTH),
                // A default that nobody chose asks no more of a daemon than it can.
                None => drop(source.set(name, default)),
            }
        }
        if let Some(bundle) = &self.bundle {
            source.set_capable("git.bundle", &*bundle.locator, caps::SOURCE_GIT_BUNDLE);
            if let Some(store) = &bundle.store {
                store.describe(source);
            }
        }
        if let Some(signature) = &self.signature {
            source.caps.push(caps::SOURCE_GIT_SIGNATURE_VERIFY);
            source.set("git.sig.pubkey", &*signature.public_key);
            source.set("git.sig.rejectexpired", flag(signature.reject_expired));
            source.set("git.sig.requiresignedtag", flag(signature.require_signed_tag));
            source.set("git.sig.ignoresignedtag", flag(signature.ignore_signed_tag));
        }
    }

    fn describe_ssh(&self, source: &mut SourceVertex) {
        let hosts: String = self
            .known_ssh_hosts
            .iter()
            .map(|entry| format!("{}\n", entry.strip_suffix('\n').unwrap_or(entry)))
            .collect();
        source.set("git.knownsshhosts", hosts);
        source.caps.push(caps::SOURCE_GIT_KNOWN_SSH_HOSTS);
        let sock = if self.mount_ssh_sock.is_empty() { "default" } else { &self.mount_ssh_sock };
        source.set_capable("git.mountsshsock", sock, caps::SOURCE_GIT_MOUNT_SSH_SOCK);
    }
}

/// Where a repository is.
enum Remote {
    Parsed {
        url: String,
        host: String,
        path: String,
        ssh: bool,
    },
    /// Kept as it is; fetching it will say what is wrong.
    Unknown(String),
}

impl Remote {
    fn parse(text: &str) -> Self {
        if let Some((scheme, rest)) = text.split_once("://")
            && !scheme.is_empty()
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric())
        {
            return Self::from_url(&scheme.to_ascii_lowercase(), rest)
                .unwrap_or_else(|| Self::Unknown(text.into()));
        }
        Self::from_scp(text)
            .or_else(|| Self::from_url("https", text))
            .unwrap_or_else(|| Self::Unknown(text.into()))
    }

    fn from_url(scheme: &str, rest: &str) -> Option<Self> {
        if !matches!(scheme, "http" | "https" | "ssh" | "git") {
            return None;
        }
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        Some(Self::Parsed {
            url: format!("{scheme}://{rest}"),
            host: host.into(),
            path: percent_decoded(path)?,
            ssh: scheme == "ssh",
        })
    }

    /// `user@host:path`, as scp writes it.
    fn from_scp(text: &str) -> Option<Self> {
        let text = text.split('#').next().unwrap_or_default();
        let (user, rest) = text.split_once('@')?;
        let (host, path) = rest.split_once(':')?;
        let word = |text: &str, more: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        (word(user, "-_") && word(host, "-.")).then(|| Self::Parsed {
            url: text.into(),
            host: host.into(),
            path: path.into(),
            ssh: true,
        })
    }

    fn url(&self) -> &str {
        match self {
            Self::Parsed { url, .. } | Self::Unknown(url) => url,
        }
    }

    fn identifier(&self, reference: &str, subdir: &str) -> String {
        let Self::Parsed { host, path, .. } = self else { return self.url().to_owned() };
        let mut identifier = format!("{host}{}", path::clean(&format!("/{path}")));
        if !reference.is_empty() || !subdir.is_empty() {
            identifier.push('#');
            identifier.push_str(reference);
        }
        if !subdir.is_empty() {
            identifier.push(':');
            identifier.push_str(&path::clean(subdir));
        }
        identifier
    }
}

/// A path without its percent escapes, or nothing if they are wrong.
fn percent_decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let value = digit()? * 16 + digit()?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, fragment: (&str, &str), want: &str) {
        assert_eq!(Remote::parse(url).identifier(fragment.0, fragment.1), want, "{url}");
    }

    #[test]
    fn a_repository_is_the_same_however_it_is_reached() {
        let want = "git.example.com/acme/app.git#v1";
        for url in [
            "https://git.example.com/acme/app.git",
            "git.example.com/acme/app.git",
            "git@git.example.com:acme/app.git",
            "ssh://git@git.example.com/acme/app.git",
            "HTTPS://git.example.com//acme/./app.git#ignored",
        ] {
            check(url, ("v1", ""), want);
        }
    }

    #[test]
    fn a_port_and_escapes_are_part_of_the_address() {
        check("https://u:p@h:443/a%20b", ("", "x/../y"), "h:443/a b#:y");
    }

    #[test]
    fn an_address_nobody_understands_is_kept() {
        check("ftp://h/a", ("v1", "sub"), "ftp://h/a");
        check("https://h/%zz", ("", ""), "https://h/%zz");
    }
}
