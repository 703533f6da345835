//! Addresses of git repositories, with what to take of them behind `#` and `?`.
//!
//! Text comes in, a [`GitRef`] goes out, or a reason that also says whether the text was meant to be
//! a repository at all. Which texts are is a matter of compatibility: `https` needs `.git` at the
//! end, `github.com/…` does not need `https`, and `./x.git` is a directory.

use std::collections::BTreeMap;

use kiln_llb::Git;

use kiln_oci::{excerpt, quoted};

use crate::options::boolean;

/// A repository and what to take of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitRef {
    /// The repository, as git understands it.
    pub remote: String,
    /// Its last part, without `.git`.
    pub short_name: String,
    /// Branch, tag or commit; the default branch if empty.
    pub reference: String,
    /// The directory to take; all of them if empty.
    pub subdir: String,
    /// The commit the reference must be.
    pub checksum: String,
    /// It looks like a path, as `github.com/acme/app` does. Only build contexts may be written so.
    pub looks_local: bool,
    /// It is fetched without encryption.
    pub unencrypted: bool,
    /// Whether to keep `.git`, if it is said.
    pub keep_git_dir: Option<bool>,
    /// Whether to fetch submodules, if it is said.
    pub submodules: Option<bool>,
    /// Times of the files, `checkout` or `commit`; empty if it is not said.
    pub mtime: String,
    /// Fetch the checksum's commit itself, not the reference.
    pub fetch_by_commit: bool,
}

/// Why a text is no address of a repository.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GitRefError {
    /// It is something else.
    #[error("invalid argument")]
    Other,
    /// It has no protocol.
    #[error("unknown protocol")]
    NoProtocol,
    /// Its protocol is not one of git's.
    #[error("{0}: invalid protocol")]
    Protocol(String),
    /// It is no URL.
    #[error("parse {}: {reason}", quoted(.url))]
    Url {
        /// The text.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What stands behind the `?` makes no sense.
    #[error(transparent)]
    Query(#[from] QueryError),
}

/// Why the query of an address makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// A key needs a value.
    #[error("query {} has no value", quoted(.0))]
    NoValue(String),
    /// A key is there more than once.
    #[error("query {} has multiple values", quoted(.0))]
    Several(String),
    /// A key is none.
    #[error("unexpected query {}", quoted(.0))]
    Unknown(String),
    /// Two say different things.
    #[error("{what} conflicts: {} vs {}", quoted(.first), quoted(.second))]
    Conflict {
        /// What they are about.
        what: &'static str,
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// A branch and a tag are named.
    #[error("branch conflicts with tag")]
    BranchAndTag,
    /// A value is neither true nor false.
    #[error("invalid {key} value: {}", quoted(.value))]
    Boolean {
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
    /// Times that are none.
    #[error("invalid mtime value: {} (must be \"checkout\" or \"commit\")", quoted(.0))]
    Mtime(String),
}

impl GitRefError {
    /// Whether the text is the address of a repository all the same.
    pub fn is_git(&self) -> bool {
        matches!(self, Self::Query(_))
    }
}

impl GitRef {
    /// Reads an address.
    ///
    /// # Errors
    ///
    /// [`GitRefError`]; ask it whether the text was one at all.
    ///
    /// ```
    /// use kiln_frontend::GitRef;
    ///
    /// let git = GitRef::parse("https://example.com/acme/app.git#main:docs")?;
    /// assert_eq!((git.reference.as_str(), git.subdir.as_str()), ("main", "docs"));
    /// # Ok::<(), kiln_frontend::GitRefError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, GitRefError> {
        if text.starts_with("./") || text.starts_with("../") {
            return Err(GitRefError::Other);
        }
        let looks_local = text.starts_with("github.com/");
        let address = match (looks_local, scheme(text)) {
            (true, _) => Address::of_url("https", text)?,
            (false, Some((scheme, rest))) => Address::of_url(&scheme, rest)?,
            (false, None) => Address::of_scp(text).ok_or(GitRefError::NoProtocol)?,
        };
        if !looks_local
            && matches!(&*address.scheme, "http" | "https")
            && !address.path.ends_with(".git")
        {
            return Err(GitRefError::Other);
        }
        let remote = match looks_local {
            true => address.remote.trim_start_matches("https://").to_owned(),
            false => address.remote,
        };
        let last = remote.rsplit('/').next().unwrap_or_default();
        let short_name = last.strip_suffix(".git").unwrap_or(last).to_owned();
        let (reference, subdir) = fragment(&address.fragment);
        let mut parsed = Self {
            short_name,
            remote,
            reference,
            subdir,
            looks_local,
            unencrypted: !looks_local && matches!(&*address.scheme, "http" | "git"),
            ..Self::default()
        };
        parsed.apply(&address.query)?;
        Ok(parsed)
    }

    /// As options of a git source.
    pub fn options(&self) -> Git {
        Git::default()
            .with_reference(self.reference.clone())
            .with_subdir(self.subdir.clone())
            .with_keep_git_dir(self.keep_git_dir == Some(true))
            .with_checksum(self.checksum.clone())
            .with_skip_submodules(self.submodules == Some(false))
            .with_mtime(self.mtime.clone())
            .with_fetch_by_commit(self.fetch_by_commit)
    }

    /// Adds what stands behind the `?`. Keys are looked at in order, so that of several mistakes
    /// always the same is shown.
    fn apply(&mut self, query: &BTreeMap<String, Vec<String>>) -> Result<(), QueryError> {
        let (mut tag, mut branch) = (String::new(), String::new());
        for (key, values) in query {
            let value = match &values[..] {
                [] => "",
                [value] => value.as_str(),
                _ => return Err(QueryError::Several(key.clone())),
            };
            let flag = matches!(&**key, "submodules" | "keep-git-dir" | "fetch-by-commit");
            if value.is_empty() && !flag {
                return Err(QueryError::NoValue(key.clone()));
            }
            let truth = || match value {
                "" => Ok(true),
                value => boolean(value).ok_or_else(|| QueryError::Boolean {
                    key: key.clone(),
                    value: value.to_owned(),
                }),
            };
            match key.as_str() {
                "ref" => agree("ref", &mut self.reference, value)?,
                "tag" => value.clone_into(&mut tag),
                "branch" => value.clone_into(&mut branch),
                "subdir" => agree("subdir", &mut self.subdir, value)?,
                "checksum" | "commit" => value.clone_into(&mut self.checksum),
                "keep-git-dir" => self.keep_git_dir = Some(truth()?),
                "submodules" => self.submodules = Some(truth()?),
                "fetch-by-commit" => self.fetch_by_commit = truth()?,
                "mtime" if matches!(value, "checkout" | "commit") => {
                    value.clone_into(&mut self.mtime);
                }
                "mtime" => return Err(QueryError::Mtime(value.to_owned())),
                _ => return Err(QueryError::Unknown(key.clone())),
            }
        }
        if !tag.is_empty() {
            agree("ref", &mut self.reference, &in_full("refs/tags/", &tag))?;
        }
        match branch.is_empty() {
            true => Ok(()),
            false if !tag.is_empty() => Err(QueryError::BranchAndTag),
            false => agree("ref", &mut self.reference, &in_full("refs/heads/", &branch)),
        }
    }
}

/// Sets a value that may have been said before, but then must be the same.
fn agree(what: &'static str, said: &mut String, value: &str) -> Result<(), QueryError> {
    if !said.is_empty() && said != value {
        let (first, second) = (said.clone(), value.to_owned());
        return Err(QueryError::Conflict { what, first, second });
    }
    value.clone_into(said);
    Ok(())
}

fn in_full(prefix: &str, name: &str) -> String {
    if name.starts_with(prefix) { name.to_owned() } else { format!("{prefix}{name}") }
}

/// The protocol in lower case, and what follows the `://`.
fn scheme(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let word = !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric());
    word.then(|| (scheme.to_ascii_lowercase(), rest))
}

/// `reference[:subdir]`, the directory cleaned so that it cannot leave the repository.
fn fragment(text: &str) -> (String, String) {
    let (reference, subdir) = text.split_once(':').unwrap_or((text, ""));
    let subdir = kiln_filesync::path::clean(&format!("/{subdir}"));
    (reference.to_owned(), subdir.trim_start_matches('/').to_owned())
}

/// An address in its parts.
struct Address {
    scheme: String,
    path: String,
    query: BTreeMap<String, Vec<String>>,
    fragment: String,
    remote: String,
}

impl Address {
    fn of_url(scheme: &str, rest: &str) -> Result<Self, GitRefError> {
        if !matches!(scheme, "http" | "https" | "ssh" | "git") {
            return Err(GitRefError::Protocol(scheme.to_owned()));
        }
        let wrong = |reason: &str| GitRefError::Url {
            url: excerpt(&format!("{scheme}://{rest}")),
            reason: reason.to_owned(),
        };
        let (before, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let fragment = unescaped(fragment, false).ok_or_else(|| wrong("invalid URL escape"))?;
        if before.contains(|c: char| c.is_ascii_control()) {
            return Err(wrong("net/url: invalid control character in URL"));
        }
        let (location, query) = before.split_once('?').unwrap_or((before, ""));
        let (authority, path) = match location.find('/') {
            Some(slash) => location.split_at(slash),
            None => (location, ""),
        };
        let path = unescaped(path, false).ok_or_else(|| wrong("invalid URL escape"))?;
        if authority.contains([' ', '<', '>', '"', '\\', '^', '`']) {
            return Err(wrong("invalid character in host name"));
        }
        let remote = match location.is_empty() {
            true => format!("{scheme}:"),
            false => format!("{scheme}://{location}"),
        };
        Ok(Self { scheme: scheme.to_owned(), path, query: pairs(query), fragment, remote })
    }

    /// `user@host:path`, as scp writes it.
    fn of_scp(text: &str) -> Option<Self> {
        let (before, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (location, query) = before.split_once('?').unwrap_or((before, ""));
        let (user, rest) = location.split_once('@')?;
        let (host, path) = rest.split_once(':')?;
        let word = |text: &str, more: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        (word(user, "-_") && word(host, "-.") && !text.contains('\n')).then(|| Self {
            scheme: "ssh".to_owned(),
            path: path.to_owned(),
            query: pairs(query),
            fragment: fragment.to_owned(),
            remote: location.to_owned(),
        })
    }
}

/// `key=value` pairs; those that are malformed are left out.
fn pairs(query: &str) -> BTreeMap<String, Vec<String>> {
    let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let fine = query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';'));
    for pair in fine {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if let (Some(key), Some(value)) = (unescaped(key, true), unescaped(value, true)) {
            map.entry(key).or_default().push(value);
        }
    }
    map
}

/// A text without percent escapes; nothing if they are wrong.
fn unescaped(text: &str, plus_is_space: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let value = digit()? * 16 + digit()?;
                bytes.push(u8::try_from(value).ok()?);
            }
            b'+' if plus_is_space => bytes.push(b' '),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}
