//! Attestations of a result: what its frontend claims, and what the builder itself does.
//!
//! Claims come in as files of refs, as directories of whole statements, or as contents that are made when
//! they are wanted ([`Claim`]); predicates with what they are about go out. What frontends write is
//! bounded, stays inside its ref, and may be anything but provenance, which is the builder's to give.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use kiln_frontend::{Attestation, AttestationKind, Subject as Named, SubjectKind};
use kiln_provenance::{StatementError, Subject};
use kiln_store::{FillError, MountError, Ref, Requester};
use rustix::fs::{Mode, OFlags, ResolveFlags};

/// The largest statement that is read, in bytes.
const MOST: u64 = 40 << 20;
/// The metadata of a claim that is wanted only where it can stand beside an image.
const INLINE_ONLY: &str = "inline-only";
/// The metadata of the scan of the result itself: the name of its file, without what follows a dot.
const CORE: &str = "sbom-core";

/// A claim of the builder's own.
#[derive(Clone)]
pub struct Claim {
    /// The name of its file, where it is one.
    pub path: String,
    /// The in-toto predicate type.
    pub predicate_type: String,
    /// It is wanted only where it can stand beside an image.
    pub inline_only: bool,
    /// What it says.
    pub content: Arc<dyn ClaimContent>,
}

/// What a claim says.
#[async_trait]
pub trait ClaimContent: Send + Sync {
    /// The predicate as JSON, when the layers of the result are there.
    async fn predicate(&self) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>>;
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Why a claim cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// A predicate without a file.
    #[error("attestation does not have set path")]
    NoPath,
    /// A claim of nothing.
    #[error("attestation {0:?} does not have available content")]
    NoContent(String),
    /// Provenance that the builder did not make.
    #[error("frontend may not set provenance attestations")]
    Provenance,
    /// A statement of another type than its bundle says.
    #[error("bundle entry {got} does not match required predicate type {wanted}")]
    Type {
        /// Of the statement.
        got: String,
        /// Of the bundle.
        wanted: String,
    },
    /// A subject with a digest that is none.
    #[error("attestation {path:?}: {source}")]
    Subject {
        /// The claim.
        path: String,
        /// What is wrong with it.
        source: kiln_oci::DigestError,
    },
    /// The ref could not be shown.
    #[error("cannot read in-toto attestation")]
    Mount(#[from] MountError),
    /// The files of a claim are not here and could not be had.
    #[error(transparent)]
    Fill(#[from] FillError),
    /// A file could not be read.
    #[error("cannot read in-toto attestation {path:?}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A statement that is none.
    #[error("attestation {path:?}")]
    Statement {
        /// Which.
        path: String,
        /// Why.
        source: StatementError,
    },
    /// The builder could not make its own.
    #[error("cannot make {path}")]
    Own {
        /// Which.
        path: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Two claims would be the same file.
    #[error("duplicate attestation path name {0}")]
    Duplicate(String),
}

/// All claims about a result, by platform id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claims<'a> {
    pub(crate) frontend: &'a BTreeMap<String, Vec<Attestation<Ref>>>,
    pub(crate) own: &'a BTreeMap<String, Vec<Claim>>,
}

/// A predicate, and what it is about.
#[derive(Clone, Debug)]
pub(crate) struct Predicate {
    /// The name of its file.
    pub(crate) path: String,
    pub(crate) kind: String,
    subjects: Vec<Named>,
    pub(crate) content: Bytes,
    /// The scan of the result itself.
    pub(crate) is_core: bool,
}

impl Predicate {
    /// The statement about a result that is these subjects, indented.
    pub(crate) fn statement(&self, itself: &[Subject]) -> Result<String, ClaimError> {
        let subjects = self.about(itself)?;
        let statement = kiln_provenance::statement(&self.kind, &subjects, &self.content);
        statement.map_err(|source| ClaimError::Statement { path: self.path.clone(), source })
    }

    fn about(&self, itself: &[Subject]) -> Result<Vec<Subject>, ClaimError> {
        let whole = [Named::default()];
        let named = if self.subjects.is_empty() { &whole[..] } else { &self.subjects };
        let mut about = Vec::new();
        for Named { kind, name, digests } in named {
            let name = if name.is_empty() { "_" } else { name };
            match kind {
                SubjectKind::Itself => about.extend(itself.iter().flat_map(|subject| {
                    let further = (name != "_")
                        .then(|| Subject { name: name.to_owned(), digest: subject.digest.clone() });
                    [subject.clone()].into_iter().chain(further)
                })),
                SubjectKind::Raw => {
                    let digests: Result<Vec<kiln_oci::Digest>, _> =
                        digests.iter().map(|digest| digest.parse()).collect();
                    let digests = digests.map_err(|source| ClaimError::Subject {
                        path: self.path.clone(),
                        source,
                    })?;
                    about.push(Subject::new(name, &digests));
                }
            }
        }
        Ok(about)
    }
}

impl Claims<'_> {
    /// Whether there are claims about a result that is written, with those that are only wanted beside
    /// an image if `inline`.
    pub(crate) fn any(&self, id: &str, inline: bool) -> bool {
        let frontend = self.frontend.get(id).into_iter().flatten();
        let own = self.own.get(id).into_iter().flatten();
        frontend.filter(|claim| inline || !is_inline_only(claim)).count() > 0
            || own.filter(|claim| inline || !claim.inline_only).count() > 0
    }

    /// The predicates about a result, the scan of the result itself first.
    pub(crate) async fn predicates(
        &self,
        id: &str,
        inline: bool,
        requester: &Requester,
    ) -> Result<Vec<Predicate>, ClaimError> {
        let mut predicates = Vec::new();
        for claim in self.frontend.get(id).into_iter().flatten() {
            if inline || !is_inline_only(claim) {
                predicates.extend(read(claim, requester).await?);
            }
        }
        for claim in self.own.get(id).into_iter().flatten() {
            if inline || !claim.inline_only {
                predicates.push(own(claim).await?);
            }
        }
        predicates.sort_by_key(|predicate| !predicate.is_core);
        Ok(predicates)
    }
}

fn is_inline_only(claim: &Attestation<Ref>) -> bool {
    claim.metadata.get(INLINE_ONLY).is_some_and(|value| &value[..] == b"true")
}

async fn own(claim: &Claim) -> Result<Predicate, ClaimError> {
    let content = claim.content.predicate().await;
    let content = content.map_err(|source| ClaimError::Own { path: claim.path.clone(), source })?;
    Ok(Predicate {
        path: claim.path.clone(),
        kind: claim.predicate_type.clone(),
        subjects: Vec::new(),
        content,
        is_core: false,
    })
}

/// The predicates of a claim of a frontend.
async fn read(
    claim: &Attestation<Ref>,
    requester: &Requester,
) -> Result<Vec<Predicate>, ClaimError> {
    if kiln_provenance::is_provenance(&claim.predicate_type) {
        return Err(ClaimError::Provenance);
    }
    let is_bundle = claim.kind == AttestationKind::Bundle;
    if claim.path.is_empty() && !is_bundle {
        return Err(ClaimError::NoPath);
    }
    let Some(reference) = &claim.reference else {
        return Err(ClaimError::NoContent(claim.path.clone()));
    };
    let mounted = reference.files(requester).await?.mount().await?;
    let claim = claim.clone();
    let read = tokio::task::spawn_blocking(move || match is_bundle {
        true => bundle(mounted.path(), &claim),
        false => single(mounted.path(), &claim).map(|one| vec![one]),
    });
    read.await.map_err(|error| ClaimError::Read { path: String::new(), source: error.into() })?
}

fn single(root: &Path, claim: &Attestation<Ref>) -> Result<Predicate, ClaimError> {
    let content = file(root, &claim.path)?;
    Ok(predicate(claim, &claim.path, &claim.predicate_type, claim.subjects.clone(), content))
}

fn bundle(root: &Path, claim: &Attestation<Ref>) -> Result<Vec<Predicate>, ClaimError> {
    let failed = |path: &str| {
        let path = path.to_owned();
        move |source: io::Error| ClaimError::Read { path, source }
    };
    let directory = open(root, &claim.path, OFlags::DIRECTORY).map_err(failed(&claim.path))?;
    let mut names = Vec::new();
    for entry in
        rustix::fs::Dir::read_from(&directory).map_err(|e| failed(&claim.path)(e.into()))?
    {
        let entry = entry.map_err(|error| failed(&claim.path)(error.into()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    names.sort();
    let statement = |name: String| {
        let path = format!("{}/{name}", claim.path.trim_end_matches('/'));
        let text = file(root, &path)?;
        let parsed = kiln_provenance::parse(&text);
        let (kind, subjects, content) =
            parsed.map_err(|source| ClaimError::Statement { path: path.clone(), source })?;
        if !claim.predicate_type.is_empty() && kind != claim.predicate_type {
            let wanted = claim.predicate_type.clone();
            return Err(ClaimError::Type { got: kind, wanted });
        }
        if kiln_provenance::is_provenance(&kind) {
            return Err(ClaimError::Provenance);
        }
        let subjects = subjects.into_iter().map(|subject| Named {
            kind: SubjectKind::Raw,
            digests: subject.digests(),
            name: subject.name,
        });
        Ok(predicate(claim, &path, &kind, subjects.collect(), content))
    };
    names.into_iter().map(statement).collect()
}

fn predicate(
    claim: &Attestation<Ref>,
    path: &str,
    kind: &str,
    subjects: Vec<Named>,
    content: Vec<u8>,
) -> Predicate {
    let name = path.rsplit('/').next().unwrap_or_default();
    let stem = name.split('.').next().unwrap_or_default();
    let core = claim.metadata.get(CORE);
    Predicate {
        path: path.to_owned(),
        kind: kind.to_owned(),
        subjects,
        content: content.into(),
        is_core: core.is_some_and(|core| core[..] == *stem.as_bytes()),
    }
}

/// Reads a regular file of a file system that is somebody else's.
fn file(root: &Path, path: &str) -> Result<Vec<u8>, ClaimError> {
    let read = || {
        let file = open(root, path, OFlags::NONBLOCK)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut content = Vec::new();
        file.take(MOST + 1).read_to_end(&mut content)?;
        match content.len() as u64 > MOST {
            true => Err(io::Error::other(format!("exceeds {MOST} bytes"))),
            false => Ok(content),
        }
    };
    read().map_err(|source| ClaimError::Read { path: path.to_owned(), source })
}

/// Opens a path as if `root` were the root of everything.
fn open(root: &Path, path: &str, flags: OFlags) -> io::Result<File> {
    let root = File::open(root)?;
    let path = if path.trim_matches('/').is_empty() { "." } else { path };
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve)?.into())
}
