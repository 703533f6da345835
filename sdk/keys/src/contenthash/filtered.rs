//! The digest of those entries that fit a path with wildcards, or include and exclude patterns.
//!
//! What is included is a list of entries, each by its own digest: files, links, and of directories
//! the header only, because not all of their content may be included. A directory is in it too if
//! something in it is.

use kiln_oci::{Digest, Hasher};
use kiln_paths::Patterns;
use kiln_paths::glob::{Glob, has_wildcard};
use kiln_paths::path::base;
use kiln_paths::pattern::Matched;

use super::checksum::{ChecksumError, own, plain, sorted_names};
use super::resolve::{push, resolve};
use super::tree::{Kind, Node, Tree};
use crate::content::{Selector, rooted};

/// The digest of the entries that a selector with wildcards or patterns includes.
pub(super) fn filtered<T: Tree>(
    tree: &T,
    selector: &Selector,
) -> Result<Digest, ChecksumError<T::Error>> {
    let pattern = Some(rooted(&selector.path)).filter(|path| path != "/").unwrap_or_default();
    let filter = Filter::new(selector)?;
    let (fixed, follow) = match selector.wildcard {
        true => fixed_part(&pattern),
        false => (pattern.clone(), false),
    };
    let start = resolve(tree, fixed.as_bytes(), follow)?;
    let mut walk = Walk {
        tree,
        selector,
        filter,
        fits: Fits::new(selector.wildcard, &pattern),
        // Written with a slash at its end, a directory stands for what is in it.
        without_header: selector.path.ends_with('/').then(|| pattern.clone().into_bytes()),
        list: List { base: base(&selector.path).as_bytes(), fixed: fixed.len(), ..List::default() },
        missing: selector.required_paths.iter().map(String::as_bytes).collect(),
        open: Vec::new(),
    };
    if let Some(node) = start.node {
        walk.everything(start.path, fixed.into_bytes(), node)?;
    }
    match walk.missing.first() {
        Some(path) => Err(ChecksumError::NotFound(String::from_utf8_lossy(path).into_owned())),
        None => Ok(walk.list.finish()),
    }
}

/// The part of a pattern before the first component with wildcards, and whether a link at its end is
/// followed: only if a component comes behind it.
fn fixed_part(pattern: &str) -> (String, bool) {
    let mut fixed = String::new();
    for part in pattern.split('/').skip(1) {
        if has_wildcard(part) {
            return (fixed, true);
        }
        fixed.push('/');
        fixed.push_str(part);
    }
    (fixed, false)
}

/// Which entries are looked at more closely.
enum Fits {
    /// All that are walked over.
    All,
    /// Those whose name the pattern matches, and what is below them.
    Some(Glob),
    /// A pattern that is none, which is an error once a name is to be matched.
    Malformed,
}

impl Fits {
    fn new(wildcard: bool, pattern: &str) -> Self {
        match (wildcard && !pattern.is_empty(), Glob::parse(pattern)) {
            (false, _) => Self::All,
            (true, Ok(glob)) => Self::Some(glob),
            (true, Err(_)) => Self::Malformed,
        }
    }
}

/// Include and exclude patterns, ready to match.
struct Filter {
    include: Option<Patterns>,
    exclude: Option<Patterns>,
}

/// What the patterns said about a directory, for what is in it.
#[derive(Clone, Default)]
struct Above {
    include: Option<Matched>,
    exclude: Option<Matched>,
}

/// What the patterns say about an entry.
struct Judged {
    included: bool,
    /// Something below it may be, if it is not.
    may_hold: bool,
    above: Above,
}

impl Filter {
    fn new<E>(selector: &Selector) -> Result<Self, ChecksumError<E>> {
        let parse = |list, patterns: &[String]| match patterns {
            [] => Ok(None),
            patterns => Patterns::parse(patterns).map(Some).map_err(|source| {
                ChecksumError::Patterns { list, patterns: patterns.to_vec(), source }
            }),
        };
        Ok(Self {
            include: parse("includepatterns", &selector.include)?,
            exclude: parse("excludepatterns", &selector.exclude)?,
        })
    }

    fn judge(&self, path: &str, above: &Above) -> Judged {
        let mut below = Above::default();
        let judged = |included, may_hold, above| Judged { included, may_hold, above };
        if let Some(include) = &self.include {
            let (matched, info) = include.matches_below(path, above.include.as_ref());
            below.include = Some(info);
            if !matched {
                return judged(false, path.is_empty() || include.may_match_below(path), below);
            }
        }
        if let Some(exclude) = &self.exclude {
            let (matched, info) = exclude.matches_below(path, above.exclude.as_ref());
            below.exclude = Some(info);
            if matched {
                return judged(false, path.is_empty() || exclude.may_negate_below(path), below);
            }
        }
        judged(true, true, below)
    }
}

/// An entry that the walk is at.
struct At<M> {
    /// Where it is.
    real: Vec<u8>,
    /// What it is called: as the selector spells the way to it.
    shown: Vec<u8>,
    node: Node<M>,
}

/// A directory on the way down.
struct Open<M> {
    at: At<M>,
    names: std::vec::IntoIter<Vec<u8>>,
    /// How long the name is that the pattern matched, here or above; nothing outside of matches.
    matched: Option<usize>,
    /// What is to be known of it by what is in it; nothing if it is outside of all matches, or only
    /// what is in it was asked for. Once a directory has one, all below do.
    header: Option<Header>,
}

struct Header {
    /// It is in the list already; it will be as soon as something in it is.
    included: bool,
    above: Above,
}

struct Walk<'a, T: Tree> {
    tree: &'a T,
    selector: &'a Selector,
    filter: Filter,
    fits: Fits,
    without_header: Option<Vec<u8>>,
    list: List<'a>,
    /// Required paths that nothing was found for so far.
    missing: Vec<&'a [u8]>,
    open: Vec<Open<T::Mark>>,
}

impl<T: Tree> Walk<'_, T> {
    /// Walks over an entry and all below it that may matter, parents first, names in byte order.
    fn everything(
        &mut self,
        real: Vec<u8>,
        shown: Vec<u8>,
        node: Node<T::Mark>,
    ) -> Result<(), ChecksumError<T::Error>> {
        self.visit(At { real, shown, node })?;
        while let Some(inner) = self.open.last_mut() {
            let Some(name) = inner.names.next() else {
                self.open.pop();
                continue;
            };
            let mut real = inner.at.real.clone();
            push(&mut real, &name);
            let mut shown = inner.at.shown.clone();
            shown.push(b'/');
            shown.extend_from_slice(&name);
            let node = self.tree.look(&real).map_err(ChecksumError::Tree)?.ok_or_else(|| {
                ChecksumError::NotFound(String::from_utf8_lossy(&shown).into_owned())
            })?;
            self.visit(At { real, shown, node })?;
        }
        Ok(())
    }

    fn visit(&mut self, at: At<T::Mark>) -> Result<(), ChecksumError<T::Error>> {
        let is_directory = at.node.kind == Kind::Directory;
        let Some(matched) = self.matched(&at.shown)? else {
            return match is_directory && self.may_match_below(&at.shown) {
                true => self.descend(at, None, None),
                false => Ok(()),
            };
        };
        if is_directory && self.without_header.as_ref() == Some(&at.shown) {
            return self.descend(at, Some(matched), None);
        }
        let below = at.shown.get(matched..).unwrap_or_default();
        let below = text(below.strip_prefix(b"/").unwrap_or(below));
        let top = Above::default();
        let parent = self.open.last().and_then(|open| open.header.as_ref());
        let judged = self.filter.judge(&below, parent.map_or(&top, |header| &header.above));
        let is_top = parent.is_none();
        if judged.included {
            self.include_parents()?;
            let digest = self.digest(&at, is_top)?;
            self.include(&at.shown, &digest);
        }
        match is_directory && (judged.included || judged.may_hold) {
            true => {
                let header = Header { included: judged.included, above: judged.above };
                self.descend(at, Some(matched), Some(header))
            }
            false => Ok(()),
        }
    }

    /// How much of a name is what the pattern matched; nothing if it is outside of all matches.
    fn matched(&self, shown: &[u8]) -> Result<Option<usize>, ChecksumError<T::Error>> {
        let above = self.open.last().and_then(|open| open.matched);
        match &self.fits {
            // Relative to the path itself, which is the whole of the fixed part.
            Fits::All => Ok(Some(self.list.fixed)),
            _ if above.is_some() => Ok(above),
            Fits::Some(glob) => Ok(glob.matches(&text(shown)).then_some(shown.len())),
            Fits::Malformed => Err(ChecksumError::Wildcard),
        }
    }

    fn may_match_below(&self, shown: &[u8]) -> bool {
        matches!(&self.fits, Fits::Some(glob) if glob.may_match_below(&text(shown)))
    }

    fn descend(
        &mut self,
        at: At<T::Mark>,
        matched: Option<usize>,
        header: Option<Header>,
    ) -> Result<(), ChecksumError<T::Error>> {
        let names = sorted_names(self.tree, &at.real)?.into_iter();
        self.open.push(Open { at, names, matched, header });
        Ok(())
    }

    /// Includes the directories above, outermost first.
    fn include_parents(&mut self) -> Result<(), ChecksumError<T::Error>> {
        let waits = |open: &Open<_>| open.header.as_ref().is_some_and(|header| !header.included);
        let first = self.open.iter().rposition(|open| !waits(open)).map_or(0, |last| last + 1);
        for number in first..self.open.len() {
            let open = &mut self.open[number];
            if let Some(header) = &mut open.header {
                header.included = true;
            }
            let digest = own(self.tree, &open.at.real, &open.at.node)?;
            let shown = open.at.shown.clone();
            self.include(&shown, &digest);
        }
        Ok(())
    }

    /// The digest of an entry; with followed links, that of what a link at the top points to.
    fn digest(&self, at: &At<T::Mark>, top: bool) -> Result<Digest, ChecksumError<T::Error>> {
        match at.node.kind {
            Kind::Symlink(_) if top && self.selector.follow_links => {
                plain(self.tree, &at.shown, true)
            }
            _ => own(self.tree, &at.real, &at.node),
        }
    }

    fn include(&mut self, shown: &[u8], digest: &Digest) {
        self.missing.retain(|required| !shown.starts_with(required));
        self.list.add(shown, digest);
    }
}

/// Bytes as text, each byte that is none as one replacement character, as Go reads them.
fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

/// The list of what is included, as a digest under way.
#[derive(Default)]
struct List<'a> {
    /// The last component of the selector's path.
    base: &'a [u8],
    /// How long the part of the names is that does not count.
    fixed: usize,
    /// The only entry so far.
    only: Option<(Vec<u8>, Digest)>,
    hasher: Option<Hasher>,
}

impl List<'_> {
    fn add(&mut self, shown: &[u8], digest: &Digest) {
        let mut hasher = match (self.hasher.take(), self.only.take()) {
            (Some(hasher), _) => hasher,
            (None, None) => {
                self.only = Some((shown.to_vec(), digest.clone()));
                return;
            }
            (None, Some((first, own))) => {
                let mut hasher = Hasher::default();
                self.feed(&mut hasher, &first, &own);
                hasher
            }
        };
        self.feed(&mut hasher, shown, digest);
        self.hasher = Some(hasher);
    }

    fn feed(&self, hasher: &mut Hasher, shown: &[u8], digest: &Digest) {
        let name = shown.get(self.fixed..).unwrap_or(shown);
        match name {
            b"" => hasher.update("\0"),
            name => {
                for part in name.split_inclusive(|byte| *byte == b'/') {
                    match part.strip_suffix(b"/") {
                        Some(part) => {
                            hasher.update(part);
                            hasher.update("\0");
                        }
                        None => hasher.update(part),
                    }
                }
            }
        }
        hasher.update(digest.as_str());
    }

    fn finish(self) -> Digest {
        match (&self.hasher, &self.only) {
            (None, None) => Digest::sha256(""),
            (None, Some((shown, digest))) if base_of(shown) == self.base => digest.clone(),
            (None, Some((shown, digest))) => {
                let mut hasher = Hasher::default();
                self.feed(&mut hasher, shown, digest);
                hasher.finish()
            }
            (Some(hasher), _) => hasher.clone().finish(),
        }
    }
}

/// The last component of a name that is clean; the root has none, which Go calls `.`.
fn base_of(shown: &[u8]) -> &[u8] {
    match shown.rsplit(|byte| *byte == b'/').next() {
        Some(b"") | None => b".",
        Some(name) => name,
    }
}
