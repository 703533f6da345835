//! `COPY` and `ADD`.

use super::read::Request;
use crate::flags::{Flags, Takes};
use crate::heredoc;

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

impl Sources {
    /// Reads the words of an instruction: the last is the destination, heredocs are files.
    fn read(request: &Request<'_, '_>, instruction: &str) -> Result<Self, String> {
        let mut words = request.strings();
        let destination = words.pop().unwrap_or_default();
        let heredoc_of = |word: &str| {
            // Almost no word is one; what cannot be expanded is taken for a path, too.
            word.contains("<<").then(|| heredoc::parse_word(word).ok().flatten()).flatten()
        };
        if heredoc_of(&destination).is_some() {
            return Err(format!("{instruction} cannot accept a heredoc as a destination"));
        }
        let mut sources = Self { destination, ..Self::default() };
        for word in words {
            match heredoc_of(&word) {
                None => sources.paths.push(word),
                Some(heredoc) => {
                    let content = request.heredoc(&heredoc.name);
                    let content =
                        if heredoc.chomp { heredoc::chomp(content) } else { content.into() };
                    sources.inline.push(InlineFile {
                        content: content.into_owned(),
                        name: heredoc.name.into_owned(),
                        expand: heredoc.expand,
                    });
                }
            }
        }
        Ok(sources)
    }
}

impl Copy {
    pub(crate) const FLAGS: &[(&str, Takes)] = &[
        ("chown", Takes::Text),
        ("from", Takes::Text),
        ("chmod", Takes::Text),
        ("link", Takes::Bool),
        ("exclude", Takes::Texts),
        ("parents", Takes::Bool),
    ];

    /// Reads a `COPY`.
    pub(super) fn read(request: &Request<'_, '_>) -> Result<Self, String> {
        need_destination(request, "COPY")?;
        let mut flags = Flags::read(&request.node.flags, Self::FLAGS)?;
        Ok(Self {
            sources: Sources::read(request, "COPY")?,
            from: flags.text("from"),
            chown: flags.text("chown"),
            chmod: flags.text("chmod"),
            link: flags.bool("link").unwrap_or_default(),
            parents: flags.bool("parents").unwrap_or_default(),
            excludes: flags.texts("exclude"),
        })
    }
}

impl Add {
    pub(crate) const FLAGS: &[(&str, Takes)] = &[
        ("chown", Takes::Text),
        ("chmod", Takes::Text),
        ("link", Takes::Bool),
        ("keep-git-dir", Takes::Bool),
        ("checksum", Takes::Text),
        ("unpack", Takes::Bool),
        ("exclude", Takes::Texts),
    ];

    /// Reads an `ADD`.
    pub(super) fn read(request: &Request<'_, '_>) -> Result<Self, String> {
        need_destination(request, "ADD")?;
        let mut flags = Flags::read(&request.node.flags, Self::FLAGS)?;
        Ok(Self {
            sources: Sources::read(request, "ADD")?,
            chown: flags.text("chown"),
            chmod: flags.text("chmod"),
            link: flags.bool("link").unwrap_or_default(),
            excludes: flags.texts("exclude"),
            keep_git_dir: flags.bool("keep-git-dir"),
            checksum: flags.text("checksum"),
            unpack: flags.bool("unpack"),
        })
    }
}

fn need_destination(request: &Request<'_, '_>, instruction: &str) -> Result<(), String> {
    if request.count() < 2 {
        return Err(format!(
            "{instruction} requires at least two arguments, but only one was provided. Destination could not be determined"
        ));
    }
    Ok(())
}
