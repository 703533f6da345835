//! From a source op and what was found for it to how its vertex is keyed.
//!
//! Only attributes that are part of a key are read here, with BuildKit's leniency.

use kiln_oci::{Digest, Platform, Reference};
use kiln_pb::attribute::number;
use kiln_pb::pb;

use super::{
    BlobKey, GitKey, HttpKey, ImageKey, LocalKey, SourceKey, blob_filename, filename,
    image_content, is_commit_id,
};
use crate::map::{CacheMap, KeyError};

/// What was found outside for a source.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// Nothing was looked for. Enough for what names its content: a file with its digest, a commit,
    /// a directory with its session.
    Nothing,
    /// An image.
    Image {
        /// What its name stood for: an index, if it is one, else a manifest.
        digest: &'a Digest,
        /// Its config, as it came.
        config: &'a [u8],
    },
    /// A directory of the client.
    Local {
        /// The session, if the op names none.
        session: &'a str,
    },
    /// A file by URL.
    Http {
        /// Its digest.
        checksum: &'a Digest,
        /// The Content-Disposition header, if there is one.
        disposition: Option<&'a str>,
        /// The Last-Modified header, or nothing.
        last_modified: &'a str,
    },
    /// A commit, branch or tag.
    Git {
        /// What it points to: a commit or an annotated tag.
        object: &'a str,
        /// The commit, if that is a tag.
        commit: Option<&'a str>,
        /// The full name of the reference.
        reference: &'a str,
    },
}

/// How the vertex of a source is keyed: in several ways for an image, the one that is known first
/// in front.
///
/// # Errors
///
/// [`KeyError`] if the source is none, or what was found is not what it is about.
pub fn maps(
    op: &pb::SourceOp,
    platform: &Platform,
    found: &Found<'_>,
) -> Result<Vec<CacheMap>, KeyError> {
    let source = Source(op);
    let (scheme, rest) = op.identifier.split_once("://").unwrap_or_default();
    let key = match scheme {
        "docker-image" => return source.image("image.layerlimit", platform, found),
        "oci-layout" => return source.image("oci.layerlimit", platform, found),
        "docker-image+blob" | "oci-layout+blob" => source.blob(rest)?,
        "local" => source.local(rest, found)?,
        "http" | "https" => source.http(found)?,
        "git" => source.git(rest, found)?,
        _ => return Err(KeyError::Missing("a source that is known")),
    };
    Ok(vec![key.map()])
}

struct Source<'a>(&'a pb::SourceOp);

impl<'a> Source<'a> {
    fn text(&self, key: &str) -> &'a str {
        self.0.attrs.get(key).map_or("", String::as_str)
    }

    fn parse<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, KeyError> {
        let Some(text) = self.0.attrs.get(key) else { return Ok(None) };
        let value = || text.chars().take(100).collect();
        parse(text).map(Some).ok_or_else(|| KeyError::Attribute { key, value: value() })
    }

    fn list(&self, key: &'static str) -> Result<Option<Vec<String>>, KeyError> {
        self.parse(key, |json| serde_json::from_str(json).ok())
    }

    fn mismatch(&self) -> KeyError {
        KeyError::Found(self.0.identifier.chars().take(200).collect())
    }

    fn image(
        &self,
        limit: &'static str,
        platform: &Platform,
        found: &Found<'_>,
    ) -> Result<Vec<CacheMap>, KeyError> {
        let Found::Image { digest, config } = *found else { return Err(self.mismatch()) };
        let layer_limit = self.parse(limit, |text| text.parse().ok())?;
        let first = ImageKey { digest, platform, layer_limit }.key();
        let second = image_content(config, layer_limit)?.unwrap_or_else(|| first.clone());
        Ok(vec![first.map(), second.map()])
    }

    fn blob(&self, reference: &str) -> Result<SourceKey, KeyError> {
        let reference = Reference::parse_untagged(reference).map_err(|_| self.mismatch())?;
        let digest = reference.digest().ok_or_else(|| self.mismatch())?;
        let number = |key| Ok(self.parse(key, number)?.unwrap_or(0));
        let key = BlobKey {
            digest,
            filename: &blob_filename(self.text("http.filename")),
            perm: number("http.perm")?,
            uid: number("http.uid")?,
            gid: number("http.gid")?,
        };
        Ok(key.key())
    }

    fn local(&self, name: &str, found: &Found<'_>) -> Result<SourceKey, KeyError> {
        let session = match (self.text("local.session"), found) {
            ("", Found::Local { session }) => session,
            ("", _) => return Err(self.mismatch()),
            (session, _) => session,
        };
        let (name, session) = LocalKey::addressed(name, session);
        let include = self.list("local.includepattern")?;
        let exclude = self.list("local.excludepatterns")?;
        let follow = self.list("local.followpaths")?;
        let exceptions = self.list("local.metadatatransferexclude")?.unwrap_or_default();
        let metadata_only = self.text("local.metadatatransfer");
        let key = LocalKey {
            name: &name,
            session,
            include: include.as_deref(),
            exclude: exclude.as_deref(),
            follow: follow.as_deref(),
            metadata_only: matches!(metadata_only, "1" | "t" | "T" | "true" | "TRUE" | "True"),
            metadata_exceptions: &exceptions,
        };
        Ok(key.key())
    }

    fn http(&self, found: &Found<'_>) -> Result<SourceKey, KeyError> {
        let given = self.parse("http.checksum", |text| text.parse::<Digest>().ok())?;
        let (checksum, disposition, last_modified) = match (&given, *found) {
            (Some(given), _) => (given, None, ""),
            (None, Found::Http { checksum, disposition, last_modified }) => {
                (checksum, disposition, last_modified)
            }
            _ => return Err(self.mismatch()),
        };
        let number = |key| Ok(self.parse(key, number)?.unwrap_or(0));
        let name = filename(&self.0.identifier, self.text("http.filename"), disposition);
        let key = HttpKey {
            filename: &name,
            perm: number("http.perm")?,
            uid: number("http.uid")?,
            gid: number("http.gid")?,
            checksum,
            last_modified,
            auth_header_secret: self.text("http.authheadersecret"),
            accept: self.text("http.header.accept"),
            user_agent: self.text("http.header.user-agent"),
        };
        Ok(key.key())
    }

    fn git(&self, address: &str, found: &Found<'_>) -> Result<SourceKey, KeyError> {
        let flag = |key| self.text(key) == "true";
        let fragment = address.split_once('#').map_or("", |(_, fragment)| fragment);
        let (wanted, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
        let checksum = self.text("git.checksum");
        let keep_git_dir = flag("git.keepgitdir");
        let bundle = flag("git.checkoutbundle");
        if bundle && (keep_git_dir || !subdir.is_empty()) {
            let value = "true".to_owned();
            return Err(KeyError::Attribute { key: "git.checkoutbundle", value });
        }
        let by_commit = flag("git.fetchbycommit") && is_commit_id(checksum);
        let (object, reference) = match *found {
            _ if is_commit_id(wanted) => (wanted, wanted.to_owned()),
            _ if by_commit => (checksum, full_name(wanted, checksum)),
            // Without `.git` a tag and its commit give the same files.
            Found::Git { commit: Some(commit), reference, .. } if !keep_git_dir => {
                (commit, reference.to_owned())
            }
            Found::Git { object, reference, .. } => (object, reference.to_owned()),
            _ => return Err(self.mismatch()),
        };
        let key = GitKey {
            object,
            reference: &reference,
            keep_git_dir,
            subdir,
            skip_submodules: flag("git.skipsubmodules"),
            mtime: self.text("git.mtime"),
            bundle,
        };
        Ok(key.key())
    }
}

/// A reference that nobody looked up is taken for a branch.
fn full_name(reference: &str, commit: &str) -> String {
    match reference {
        "" => commit.to_owned(),
        full if full.starts_with("refs/") => full.to_owned(),
        branch => format!("refs/heads/{branch}"),
    }
}
