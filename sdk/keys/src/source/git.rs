//! Keys of git repositories. The address is in none of them: a commit is the same everywhere.

use super::SourceKey;

/// What the key of a checkout is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct GitKey<'a> {
    /// The object: a commit, or with `.git` an annotated tag.
    pub object: &'a str,
    /// The full name of the reference, such as `refs/heads/main`; a commit is its own. Counts with
    /// `.git` only.
    pub reference: &'a str,
    /// Keep `.git`.
    pub keep_git_dir: bool,
    /// Only this directory.
    pub subdir: &'a str,
    /// Leave submodules out.
    pub skip_submodules: bool,
    /// Which times files get; empty and `checkout` are the same.
    pub mtime: &'a str,
    /// Make a bundle instead of files.
    pub bundle: bool,
}

impl GitKey<'_> {
    /// The key.
    pub fn key(&self) -> SourceKey {
        let mut key = self.object.to_owned();
        if self.keep_git_dir {
            key += ".git";
            if !self.reference.is_empty() {
                key += &format!("#{}", self.reference);
            }
        }
        if !self.subdir.is_empty() {
            key += &format!(":{}", self.subdir);
        }
        if self.skip_submodules {
            key += "(skip-submodules)";
        }
        if !matches!(self.mtime, "" | "checkout") {
            key += &format!("(mtime={})", self.mtime);
        }
        if self.bundle {
            key += "(bundle)";
        }
        SourceKey::new(key)
    }
}

/// Whether a text is the full id of a commit.
pub fn is_commit_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}
