//! The content of a part of a file system, as a digest.
//!
//! What a process or a copy can see counts: names, kinds, permissions, owners, link targets,
//! extended attributes and bytes. Times do not, so a file that was only touched is the same file.
//! Digests of files are remembered by inode, size and times, so that unchanged files are read once.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};

use kiln_filesync::Patterns;
use kiln_oci::{Digest, Hasher};
use serde::Serialize;

use crate::scope;

/// A part of a file system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Selector {
    /// Where; `/` is everything.
    pub(crate) path: String,
    /// The path is a pattern.
    pub(crate) wildcard: bool,
    /// A symbolic link at the path stands for what it points to.
    pub(crate) follow: bool,
    /// It is no error if nothing is there.
    pub(crate) optional: bool,
    /// Only what fits one of these.
    pub(crate) include: Vec<String>,
    /// Not what fits one of these.
    pub(crate) exclude: Vec<String>,
}

/// Selectors as cache maps have them.
pub(crate) fn query(selectors: &[Selector]) -> kiln_cache::ContentQuery {
    let selector = |selector: &Selector| kiln_cache::Selector {
        path: selector.path.clone(),
        wildcard: selector.wildcard,
        follow_links: selector.follow,
        include: selector.include.clone(),
        exclude: selector.exclude.clone(),
        required_paths: Vec::new(),
    };
    kiln_cache::ContentQuery { selectors: selectors.iter().map(selector).collect() }
}

/// Why a content has no digest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContentError {
    /// There is nothing at the path.
    #[error("\"{0}\": not found")]
    Missing(String),
    /// A pattern is malformed.
    #[error("invalid pattern `{0}`")]
    Pattern(String),
    /// A file could not be read.
    #[error("read {path}: {source}")]
    Read {
        /// The file, as the user knows it.
        path: String,
        /// What the system answered.
        source: io::Error,
    },
}

/// The digest of some parts of a file system; an absent root is the empty one.
pub(crate) fn digest(root: Option<&Path>, selectors: &[Selector]) -> Result<Digest, ContentError> {
    let mut hasher = Hasher::default();
    for selector in selectors {
        let matches = match root {
            Some(root) => find(root, selector)?,
            None => Vec::new(),
        };
        if matches.is_empty() && !selector.optional && !selector.wildcard && selector.path != "/" {
            return Err(ContentError::Missing(selector.path.clone()));
        }
        let filter = Filter::new(selector)?;
        for (name, path) in matches {
            hasher
                .update(format!("match {}\n", if selector.wildcard { name.as_str() } else { "" }));
            let Some(root) = root else { continue };
            let mut walk =
                Walk { root, hasher: &mut hasher, filter: &filter, links: BTreeMap::new() };
            walk.entry(&path, "")?;
        }
        hasher.update("end\n");
    }
    Ok(hasher.finish())
}

/// Base names and resolved paths of what a selector stands for.
fn find(
    root: &Path,
    selector: &Selector,
) -> Result<Vec<(String, std::path::PathBuf)>, ContentError> {
    let failed = |source| ContentError::Read { path: selector.path.clone(), source };
    let paths = match selector.wildcard {
        true => scope::expand(root, &selector.path).map_err(failed)?,
        false => vec![scope::clean(&selector.path)],
    };
    let mut found = Vec::new();
    for path in paths {
        let resolved = scope::resolve(root, &path, selector.follow).map_err(failed)?;
        if std::fs::symlink_metadata(&resolved).is_ok() {
            let name = scope::base_name(&path).map(|name| name.to_string_lossy().into_owned());
            found.push((name.unwrap_or_default(), resolved));
        }
    }
    Ok(found)
}

/// Include and exclude patterns of a selector.
pub(crate) struct Filter {
    include: Option<Patterns>,
    exclude: Option<Patterns>,
}

impl Filter {
    fn new(selector: &Selector) -> Result<Self, ContentError> {
        Self::of(&selector.include, &selector.exclude).map_err(ContentError::Pattern)
    }

    /// A filter; the error is the pattern that is malformed.
    pub(crate) fn of(include: &[String], exclude: &[String]) -> Result<Self, String> {
        let matcher = |patterns: &[String]| match patterns {
            [] => Ok(None),
            patterns => Patterns::parse(patterns).map(Some).map_err(|error| error.to_string()),
        };
        Ok(Self { include: matcher(include)?, exclude: matcher(exclude)? })
    }

    /// Whether everything passes.
    pub(crate) fn passes_all(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
    }

    /// Whether an entry passes, by its path relative to what is filtered.
    pub(crate) fn passes(&self, path: &str) -> bool {
        let fits = |patterns: &Patterns| patterns.matches(path);
        self.include.as_ref().is_none_or(fits) && !self.exclude.as_ref().is_some_and(fits)
    }
}

struct Walk<'a> {
    root: &'a Path,
    hasher: &'a mut Hasher,
    filter: &'a Filter,
    /// First names of files with several names, so that hard links count.
    links: BTreeMap<(u64, u64), String>,
}

impl Walk<'_> {
    /// Takes in an entry and what is below it. Returns whether anything passed the filter.
    fn entry(&mut self, path: &Path, name: &str) -> Result<bool, ContentError> {
        let failed = |source| ContentError::Read { path: scope::shown(self.root, path), source };
        let metadata = std::fs::symlink_metadata(path).map_err(failed)?;
        let passes = name.is_empty() || self.filter.passes(name);
        if metadata.is_dir() {
            return self.directory(path, name, &metadata, passes);
        }
        if !passes {
            return Ok(false);
        }
        self.header(path, name, &metadata)?;
        if metadata.is_file() {
            let sum = match self.links.get(&(metadata.dev(), metadata.ino())) {
                Some(first) => format!("link {first}\n"),
                None => format!("{}\n", file_digest(path, &metadata).map_err(failed)?),
            };
            if metadata.nlink() > 1 {
                self.links
                    .entry((metadata.dev(), metadata.ino()))
                    .or_insert_with(|| name.to_owned());
            }
            self.hasher.update(sum);
        } else if metadata.is_symlink() {
            let target = std::fs::read_link(path).map_err(failed)?;
            self.hasher.update(target.as_os_str().as_bytes());
            self.hasher.update("\n");
        }
        Ok(true)
    }

    fn directory(
        &mut self,
        path: &Path,
        name: &str,
        metadata: &Metadata,
        passes: bool,
    ) -> Result<bool, ContentError> {
        let failed = |source| ContentError::Read { path: scope::shown(self.root, path), source };
        let mut names: Vec<_> = std::fs::read_dir(path)
            .and_then(|entries| {
                entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()
            })
            .map_err(failed)?;
        names.sort();
        // A directory that holds nothing that passes does not count, unless it passes itself.
        let before = self.hasher.clone();
        self.header(path, name, metadata)?;
        let mut any = passes;
        for child in names {
            let below = match name {
                "" => child.to_string_lossy().into_owned(),
                name => format!("{name}/{}", child.to_string_lossy()),
            };
            any |= self.entry(&path.join(&child), &below)?;
        }
        if !any {
            *self.hasher = before;
        }
        Ok(any)
    }

    fn header(&mut self, path: &Path, name: &str, metadata: &Metadata) -> Result<(), ContentError> {
        let failed = |source| ContentError::Read { path: scope::shown(self.root, path), source };
        let (uid, gid) = kiln_store::owner::owner_of(path, metadata);
        let size = if metadata.is_file() { metadata.len() } else { 0 };
        // Permissions of a link mean nothing and differ between file systems.
        let mode = if metadata.is_symlink() { metadata.mode() | 0o777 } else { metadata.mode() };
        self.hasher.update(format!("{name}\0{mode:o} {uid} {gid} {size} {}\n", metadata.rdev()));
        for (key, value) in crate::sys::xattrs(path).map_err(failed)? {
            self.hasher.update(format!("xattr {key} {}\n", Digest::sha256(value)));
        }
        Ok(())
    }
}

/// What identifies the bytes of a file as long as nobody rewrites them.
type FileKey = (u64, u64, u64, i64, i64, i64, i64);

/// Digests of files by what identifies their bytes; bounded, and only a shortcut.
static KNOWN: LazyLock<Mutex<BTreeMap<FileKey, Digest>>> = LazyLock::new(Mutex::default);
const KNOWN_MAX: usize = 200_000;

fn file_digest(path: &Path, metadata: &Metadata) -> io::Result<Digest> {
    let key = (
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    );
    if let Some(digest) = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Ok(digest.clone());
    }
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Hasher::default();
    let mut buffer = [0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    let digest = hasher.finish();
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if known.len() >= KNOWN_MAX {
        known.clear();
    }
    known.insert(key, digest.clone());
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Selector> {
        vec![Selector { path: "/".into(), ..Selector::default() }]
    }

    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("src/deep")).unwrap();
        std::fs::write(root.path().join("src/a.c"), "int a;").unwrap();
        std::fs::write(root.path().join("src/deep/b.c"), "int b;").unwrap();
        std::os::unix::fs::symlink("src", root.path().join("link")).unwrap();
        root
    }

    #[test]
    fn times_do_not_count_but_bytes_and_permissions_do() {
        use std::os::unix::fs::PermissionsExt;
        let root = tree();
        let file = root.path().join("src/a.c");
        let first = digest(Some(root.path()), &all()).unwrap();
        std::fs::File::open(&file)
            .unwrap()
            .set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
        assert_eq!(digest(Some(root.path()), &all()).unwrap(), first);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let second = digest(Some(root.path()), &all()).unwrap();
        assert_ne!(second, first);
        std::fs::write(&file, "int c;").unwrap();
        assert_ne!(digest(Some(root.path()), &all()).unwrap(), second);
    }

    #[test]
    fn only_what_is_selected_counts() {
        let root = tree();
        let select =
            |path: &str| vec![Selector { path: path.into(), follow: true, ..Selector::default() }];
        let deep = digest(Some(root.path()), &select("/link/deep")).unwrap();
        std::fs::write(root.path().join("src/a.c"), "changed").unwrap();
        assert_eq!(digest(Some(root.path()), &select("/src/deep")).unwrap(), deep);
        let missing = digest(Some(root.path()), &select("/nothing")).unwrap_err();
        assert_eq!(missing.to_string(), "\"/nothing\": not found");
    }

    #[test]
    fn patterns_that_exclude_nothing_change_nothing() {
        let root = tree();
        let plain = digest(Some(root.path()), &all()).unwrap();
        let mut selectors = all();
        selectors[0].exclude = vec!["*.o".into()];
        assert_eq!(digest(Some(root.path()), &selectors).unwrap(), plain);
        selectors[0].exclude = vec!["src/deep".into()];
        assert_ne!(digest(Some(root.path()), &selectors).unwrap(), plain);
    }
}
