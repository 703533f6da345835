//! `COPY` and `ADD`.

/// What is copied and where to, before expansion.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Paths (for `ADD` also URLs), in order.
    pub paths: Vec<String>,
    /// Files whose content stands in the Dockerfile, in order.
    pub inline: Vec<InlineFile>,
    /// The destination.
    pub destination: String,
}

/// A file whose content stands in the Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InlineFile {
    /// The file's name: the heredoc's delimiter.
    pub name: String,
    /// Its content, leading tabs already removed if the heredoc asks for that.
    pub content: String,
    /// Whether variables in the content are expanded (quotes and escapes untouched).
    pub expand: bool,
}

/// `COPY`.
#[derive(Clone, Debug, Default)]
pub struct Copy {
    /// What and where to.
    pub sources: Sources,
    /// `--from`, never expanded; empty if not given.
    pub from: String,
    /// `--chown`, before expansion; empty if not given.
    pub chown: String,
    /// `--chmod`, before expansion; empty if not given.
    pub chmod: String,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude` patterns in order, never expanded.
    pub excludes: Vec<String>,
}

/// `ADD`.
#[derive(Clone, Debug, Default)]
pub struct Add {
    /// What and where to.
    pub sources: Sources,
    /// `--chown`, before expansion; empty if not given.
    pub chown: String,
    /// `--chmod`, before expansion; empty if not given.
    pub chmod: String,
    /// `--link`.
    pub link: bool,
    /// `--exclude` patterns in order, never expanded.
    pub excludes: Vec<String>,
    /// `--keep-git-dir`; `None` if not given.
    pub keep_git_dir: Option<bool>,
    /// `--checksum`, before expansion; empty if not given.
    pub checksum: String,
    /// `--unpack`; `None` if not given.
    pub unpack: Option<bool>,
}
