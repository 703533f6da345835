//! `ADD`: what `COPY` does, and files of the web and of repositories.

use kiln_sdk::frontend::GitRef;
use kiln_sdk::llb::{Constraints, CopyOptions, Git, Http, State};
use kiln_sdk::oci::Digest;

use super::copy::{Piece, Plan};
use super::failure::Failure;
use super::node::{Node, use_path};
use super::paths;
use super::steps::{Scope, description};
use crate::instruction::Add;
use crate::remote;

/// What `ADD` says of files from elsewhere.
struct Remote {
    checksum: String,
    keep_git_dir: Option<bool>,
    unpack: Option<bool>,
}

impl Scope<'_> {
    pub(super) fn add(&mut self, node: &mut Node, add: &Add) -> Result<(), Failure> {
        let chown = self.word(node, &add.chown)?;
        let chmod = self.word(node, &add.chmod)?;
        let checksum = self.word(node, &add.checksum)?;
        let sources = self.expand_sources(node, &add.sources)?;
        let plan = Plan {
            os: node.os().to_owned(),
            keyword: "ADD",
            sources,
            from: self.context.clone(),
            chown,
            chmod,
            link: add.link,
            parents: false,
            excludes: &add.excludes,
            unpack: add.unpack.unwrap_or(true),
            ignored: self.ignored,
        };
        let mut from = Remote { checksum, keep_git_dir: add.keep_git_dir, unpack: add.unpack };
        let options = plan.options(node)?;
        from.check(&plan.sources.paths)?;
        self.place(node, &plan, options, |scope, name, plan, path| match remote::git(path)? {
            Some(git) => from.git(name, &git),
            None if remote::is_http(path) => from.http(name, path),
            None => scope.local(plan, path),
        })?;
        for path in &plan.sources.paths {
            if !path.starts_with("http://") && !path.starts_with("https://") {
                use_path(self.context_paths, &paths::join(&["/", path]));
            }
        }
        Ok(())
    }
}

impl Remote {
    /// Refuses a checksum where there is nothing to check.
    fn check(&self, paths: &[String]) -> Result<(), Failure> {
        if self.checksum.is_empty() {
            return Ok(());
        }
        let [path] = paths else {
            return Err(Failure::new("checksum can't be specified for multiple sources"));
        };
        let is_git = GitRef::parse(path).is_ok();
        if !is_git && !remote::is_http(path) {
            return Err(Failure::new("checksum requires HTTP(S) or Git sources"));
        }
        Ok(())
    }

    /// The files of a repository. What its address says holds for the addresses after it as well, as
    /// at the reference.
    fn git(&mut self, name: &str, git: &GitRef) -> Result<Piece, Failure> {
        if let (Some(own), Some(its)) = (self.keep_git_dir, git.keep_git_dir)
            && own != its
        {
            return Err(Failure::new("inconsistent keep-git-dir configuration"));
        }
        self.keep_git_dir = git.keep_git_dir.or(self.keep_git_dir);
        if !git.checksum.is_empty() {
            if !self.checksum.is_empty() && self.checksum != git.checksum {
                let (own, its) =
                    (crate::quoting::quote(&self.checksum), crate::quoting::quote(&git.checksum));
                return Err(Failure::new(format!("checksum mismatch {own} != {its}")));
            }
            self.checksum.clone_from(&git.checksum);
        }
        let options = Git::default()
            .with_reference(git.reference.clone())
            .with_subdir(git.subdir.clone())
            .with_keep_git_dir(self.keep_git_dir == Some(true))
            .with_checksum(self.checksum.clone())
            .with_skip_submodules(git.submodules == Some(false))
            .with_fetch_by_commit(git.fetch_by_commit)
            .with_constraints(Constraints::named(name));
        let state = State::git(&git.remote, "", options);
        Ok(Piece { state, path: "/".into(), options: CopyOptions::default() })
    }

    /// A file of the web.
    fn http(&self, name: &str, url: &str) -> Result<Piece, Failure> {
        let checksum = match self.checksum.as_str() {
            "" => None,
            text => Some(digest(text)?),
        };
        let filename = remote::file_name(url);
        let constraints = Constraints::named(name).with_description(description(""));
        let options = Http::default()
            .with_checksum(checksum)
            .with_filename(filename.clone())
            .with_constraints(constraints);
        Ok(Piece {
            state: State::http(url, options),
            path: filename,
            options: CopyOptions::default().with_attempt_unpack(self.unpack.unwrap_or(false)),
        })
    }
}

/// A digest.
///
/// # Errors
///
/// What BuildKit says of a text that is none.
pub(super) fn digest(text: &str) -> Result<Digest, Failure> {
    text.parse().map_err(|_| Failure::new(refusal(text)))
}

/// Why a text is no digest. The algorithm must be known before the sum is looked at, but an unknown
/// one is only said of what could be a digest.
fn refusal(text: &str) -> &'static str {
    const FORMAT: &str = "invalid checksum digest format";
    let (algorithm, sum) = text.split_once(':').unwrap_or_default();
    if algorithm.is_empty() || sum.is_empty() {
        return FORMAT;
    }
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ if is_digest_shaped(algorithm, sum) => return "unsupported digest algorithm",
        _ => return FORMAT,
    };
    if sum.len() == length { FORMAT } else { "invalid checksum digest length" }
}

/// Whether a text is a digest by its characters alone.
fn is_digest_shaped(algorithm: &str, sum: &str) -> bool {
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut words = algorithm.split(['.', '+', '_', '-']);
    words.all(|word| !word.is_empty() && word.bytes().all(lower))
        && sum.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=_-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_digest_is_refused_in_known_words() {
        for (text, want) in [
            ("sha256", "invalid checksum digest format"),
            (":00", "invalid checksum digest format"),
            ("sha256:", "invalid checksum digest format"),
            ("SHA256:aa", "invalid checksum digest format"),
            ("md5:*1", "invalid checksum digest format"),
            ("md5:1", "unsupported digest algorithm"),
            ("a.b+c:A=_-", "unsupported digest algorithm"),
            ("a..b:1", "invalid checksum digest format"),
            ("sha256:00", "invalid checksum digest length"),
            (&format!("sha256:{}", "X".repeat(64)), "invalid checksum digest format"),
        ] {
            assert_eq!(digest(text).unwrap_err().error.to_string(), want, "{text}");
        }
    }
}
