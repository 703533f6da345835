//! What a build finds outside its graph: the user's files, images, downloads, repositories.

use std::collections::BTreeMap;

use kiln_oci::Digest;

/// Files by path, relative and with slashes; each stands for its bytes by digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(pub BTreeMap<String, Digest>);

impl<P: AsRef<str>, B: AsRef<[u8]>> FromIterator<(P, B)> for Files {
    fn from_iter<I: IntoIterator<Item = (P, B)>>(files: I) -> Self {
        let files = files.into_iter();
        Self(files.map(|(path, bytes)| (relative(path.as_ref()), Digest::sha256(bytes))).collect())
    }
}

fn relative(path: &str) -> String {
    super::value::clean(path)
}

/// Everything outside a graph that its result depends on. What is not named here never changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// The user's directories, by the name of the local source.
    pub locals: BTreeMap<String, Files>,
    /// What references, URLs and repositories hold today, by identifier as in the text of a graph
    /// (`docker.io/library/alpine:3.20`, `https://example.com/a.tgz`): a digest, a commit.
    pub remote: BTreeMap<String, String>,
}

/// One change of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// A file has these bytes now, whether it was there or not.
    Write {
        /// The local source.
        local: String,
        /// The path in it.
        path: String,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A file, or a directory with all that is in it, is gone.
    Remove {
        /// The local source.
        local: String,
        /// The path in it.
        path: String,
    },
    /// A reference, URL or repository holds something else.
    Remote {
        /// The identifier.
        identifier: String,
        /// The new digest or commit.
        holds: String,
    },
}

impl Edit {
    /// A file of the local source `context` has these bytes now.
    pub fn write(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self::Write { local: "context".into(), path: path.into(), bytes: bytes.into() }
    }

    /// A file or directory of the local source `context` is gone.
    pub fn remove(path: impl Into<String>) -> Self {
        Self::Remove { local: "context".into(), path: path.into() }
    }

    /// A reference, URL or repository holds something else.
    pub fn remote(identifier: impl Into<String>, holds: impl Into<String>) -> Self {
        Self::Remote { identifier: identifier.into(), holds: holds.into() }
    }
}

impl World {
    /// A world whose only directory is the local source `context`.
    pub fn of_context<P: AsRef<str>, B: AsRef<[u8]>>(
        files: impl IntoIterator<Item = (P, B)>,
    ) -> Self {
        let files: Files = files.into_iter().collect();
        Self { locals: [("context".to_owned(), files)].into(), remote: BTreeMap::new() }
    }

    /// The world after some edits.
    #[must_use]
    pub fn edited(&self, edits: impl IntoIterator<Item = Edit>) -> Self {
        let mut world = self.clone();
        for edit in edits {
            match edit {
                Edit::Write { local, path, bytes } => {
                    let files = &mut world.locals.entry(local).or_default().0;
                    files.insert(relative(&path), Digest::sha256(bytes));
                }
                Edit::Remove { local, path } => {
                    let path = relative(&path);
                    let below = format!("{path}/");
                    let files = &mut world.locals.entry(local).or_default().0;
                    files.retain(|file, _| *file != path && !file.starts_with(&below));
                }
                Edit::Remote { identifier, holds } => {
                    world.remote.insert(identifier, holds);
                }
            }
        }
        world
    }
}
