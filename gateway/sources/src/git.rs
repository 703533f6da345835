//! Git repositories, with the git program.
//!
//! A remote and a reference come in; a directory with the files of one commit goes out. Each remote
//! has a bare repository in the store that all builds share, so that a new commit costs what
//! changed. What the remote offers is hostile: it decides names, links and submodules.

mod auth;
mod bundle;
mod checkout;
mod hint;
mod program;
mod remote;
mod resolve;
mod submodules;

use std::sync::Arc;

use bytes::Bytes;
use kiln_graph::{GitSignature, GitSource};
use kiln_keys::source::{GitKey, SourceKey};
use kiln_oci::Digest;
use kiln_signatures::SignatureError;
use kiln_signatures::git::Objects;
use kiln_store::{Directory, Kind, RecordInfo, Ref, Sharing, Store};

use crate::blob::{BlobSourceError, Blobs};
use crate::builds::Builds;
use crate::command::HostCommand;
use crate::git::auth::Auth;
use crate::git::program::Git as Program;
use crate::keyed_lock::KeyedLock;
use crate::session::Session;
use crate::signed;
use crate::source::{Cause, Content, Context, GitObjects, Metadata, Pin};
use crate::state::{REFS, State};

pub(crate) use crate::git::resolve::Resolved;

/// The source of git repositories.
pub(crate) struct Git {
    store: Store,
    state: State,
    builds: Builds,
    commands: Arc<dyn HostCommand>,
    blobs: Blobs,
    /// One question about the same reference at a time.
    locks: KeyedLock,
}

/// What fetching needs to know from pinning.
#[derive(Clone, Debug)]
pub(crate) struct GitPin {
    key: SourceKey,
    resolved: Resolved,
}

/// Why a repository could not be had.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The remote, reference or directory is nothing git may be called with.
    #[error("invalid git source {remote}: {reason}")]
    Invalid {
        /// The remote, without login.
        remote: String,
        /// What is wrong.
        reason: String,
    },
    /// Git is not installed, or cannot be started.
    #[error(
        "cannot run git for {remote}; if it is not installed on the machine of the build daemon, \
         install it there, or name an archive by its URL instead"
    )]
    Start {
        /// The remote, without login.
        remote: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Git failed.
    #[error("git {verb} failed for {remote} ({status}): {said}{hint}")]
    Failed {
        /// What was to be done, such as `fetch`.
        verb: String,
        /// The remote, without login.
        remote: String,
        /// How it ended.
        status: String,
        /// The end of what it wrote, without secrets.
        said: String,
        /// What to do about it, ready to stand behind the message.
        hint: String,
    },
    /// There is no such branch, tag or commit.
    #[error("repository does not contain ref {reference}: {remote}")]
    NoReference {
        /// The remote, without login.
        remote: String,
        /// What was asked for.
        reference: String,
    },
    /// The commit is another one than the user wants.
    #[error("expected checksum to match {wanted}, got {got} for {remote}#{reference}")]
    Checksum {
        /// The remote, without login.
        remote: String,
        /// What was asked for.
        reference: String,
        /// What the user wants.
        wanted: String,
        /// What it is.
        got: String,
    },
    /// Neither the commit nor its tag is signed as the user wants it.
    #[error("failed to verify the signature of {remote}#{reference}")]
    Signature {
        /// The remote, without login.
        remote: String,
        /// What was asked for.
        reference: String,
        /// Why not.
        source: SignatureError,
    },
    /// The directory that is wanted does not exist, or is none.
    #[error("{remote}: {subdir} in commit {commit} is not a directory")]
    Subdir {
        /// The remote, without login.
        remote: String,
        /// The directory.
        subdir: String,
        /// The commit.
        commit: String,
    },
    /// The client does not let us use its SSH agent.
    #[error("SSH agent {id} of the client cannot be used for {remote}")]
    Agent {
        /// The remote, without login.
        remote: String,
        /// The agent.
        id: String,
        /// What the client said.
        source: Cause,
    },
    /// A secret could not be asked for.
    #[error("secret {id} for {remote} could not be had")]
    Secret {
        /// The remote, without login.
        remote: String,
        /// The secret.
        id: String,
        /// What the client said.
        source: Cause,
    },
    /// The bundle could not be had.
    #[error("failed to fetch the git bundle of {remote}")]
    Bundle {
        /// The remote, without login.
        remote: String,
        /// What went wrong.
        #[source]
        source: BlobSourceError,
    },
    /// The bundle does not have what is wanted.
    #[error("commit {commit} not found in bundle {bundle} of {remote}")]
    NotInBundle {
        /// The remote, without login.
        remote: String,
        /// The bundle.
        bundle: String,
        /// The commit.
        commit: String,
    },
    /// A file operation failed.
    #[error("cannot {doing} for {remote}")]
    Files {
        /// The remote, without login.
        remote: String,
        /// What was being done.
        doing: &'static str,
        /// What the disk said.
        source: std::io::Error,
    },
    /// The store failed.
    #[error("cannot store {remote}")]
    Store {
        /// The remote, without login.
        remote: String,
        /// What the store said.
        source: Cause,
    },
}

/// One checkout that is wanted, with all that git needs for it.
pub(crate) struct Wanted<'a> {
    pub(crate) source: &'a GitSource,
    /// The remote without login, for messages.
    pub(crate) shown: String,
    pub(crate) git: Program,
    /// Where bundles come from.
    pub(crate) blobs: &'a Blobs,
    pub(crate) context: &'a Context,
    /// Who has the secrets of other hosts.
    pub(crate) session: Arc<dyn Session>,
    /// Files and sockets that git reads while it runs.
    _auth: Auth,
}

impl Git {
    pub(crate) fn new(
        store: &Store,
        state: &State,
        builds: &Builds,
        commands: Arc<dyn HostCommand>,
        blobs: &Blobs,
    ) -> Self {
        let (store, state, builds) = (store.clone(), state.clone(), builds.clone());
        Self { store, state, builds, commands, blobs: blobs.clone(), locks: KeyedLock::default() }
    }

    pub(crate) async fn pin(&self, source: &GitSource, context: &Context) -> Result<Pin, GitError> {
        let shown = remote::check(source)?;
        let resolved = match resolve::without_asking(source) {
            Some(resolved) => resolved,
            None => self.ask(source, &shown, context).await?,
        };
        resolve::check(source, &shown, &resolved)?;
        let key = key(source, &resolved);
        let metadata = Metadata::Git {
            reference: resolved.reference.clone(),
            checksum: resolved.object.clone(),
            commit_checksum: resolved.commit.clone(),
        };
        let pin = GitPin { key: key.clone(), resolved };
        if let Some(wanted) = &source.signature {
            self.check_signature(source, &pin, wanted, context).await?;
        }
        let content = Content::Git(pin);
        Ok(Pin { key, content_key: None, metadata, content })
    }

    pub(crate) async fn fetch(
        &self,
        source: &GitSource,
        pin: &GitPin,
        context: &Context,
    ) -> Result<Ref, GitError> {
        let shown = remote::check(source)?;
        let memory_key = format!("{} {}", mirror_key(source, &shown), pin.key);
        if let Some(known) = self.known(&memory_key).await {
            return Ok(known);
        }
        let mirror = self.mirror(source, &shown).await?;
        // Whoever had the mirror before may have made the same checkout.
        if let Some(known) = self.known(&memory_key).await {
            return Ok(known);
        }
        let wanted = self.wanted(source, shown, context).await?;
        let result = self.fetch_into(&wanted, &mirror, &pin.resolved, context).await?;
        self.state.put(&REFS, &memory_key, &result.id()).await;
        Ok(result)
    }

    /// Asks what a reference is now, unless this build has been told before.
    async fn ask(
        &self,
        source: &GitSource,
        shown: &str,
        context: &Context,
    ) -> Result<Resolved, GitError> {
        // What a bundle says of a reference is not what the remote says of it.
        let bundle = source.bundle.as_ref().map(|bundle| bundle.reference.to_string());
        let key = match bundle {
            None => format!("{}#{}", source.remote, source.reference),
            Some(bundle) => format!("{}#{} in {bundle}", source.remote, source.reference),
        };
        let sessions = context.session.ids();
        let _turn = self.locks.take(&key).await;
        if let Some(resolved) = self.builds.reference(&sessions, &key)
            && resolve::check(source, shown, &resolved).is_ok()
        {
            return Ok(resolved);
        }
        let wanted = self.wanted(source, shown.to_owned(), context).await?;
        let _part = context.begin(format!("resolve {shown}"), 0);
        let resolved = match &source.bundle {
            None => resolve::ask(&wanted, self.store.root()).await?,
            Some(bundle) => {
                let mirror = self.mirror(source, shown).await?;
                bundle::ask(&wanted, bundle, &mirror.path()).await?
            }
        };
        self.builds.put_reference(&sessions, &key, &resolved);
        Ok(resolved)
    }

    /// The objects that a pin names, as git stores them.
    pub(crate) async fn objects(
        &self,
        source: &GitSource,
        pin: &GitPin,
        context: &Context,
    ) -> Result<GitObjects, GitError> {
        let shown = remote::check(source)?;
        let mirror = self.mirror(source, &shown).await?;
        let wanted = self.wanted(source, shown, context).await?;
        let (path, resolved) = (mirror.path(), &pin.resolved);
        let commit = {
            let _part = context.begin(format!("fetch {}", wanted.shown), 0);
            remote::fetch(&wanted, &path, resolved).await?
        };
        let object = async |kind: &str, id: &str| {
            let bytes = wanted.git.run_bytes(&path, &["cat-file", kind, id]).await?;
            Ok::<_, GitError>(Bytes::from(bytes))
        };
        let is_tag = commit != resolved.object;
        let tag = if is_tag { Some(object("tag", &resolved.object).await?) } else { None };
        let bytes = object("commit", &commit).await?;
        Ok(GitObjects { commit_checksum: is_tag.then_some(commit), commit: bytes, tag })
    }

    /// Checks that the commit of a pin, or its tag, is signed.
    async fn check_signature(
        &self,
        source: &GitSource,
        pin: &GitPin,
        wanted: &GitSignature,
        context: &Context,
    ) -> Result<(), GitError> {
        let objects = self.objects(source, pin, context).await?;
        let resolved = &pin.resolved;
        let commit = objects.commit_checksum.as_ref().unwrap_or(&resolved.object);
        let remote = remote::check(source)?;
        // A remote may say that a tag leads elsewhere; what was built of that before must not be used.
        resolve::check_commit(source, &remote, resolved, commit)?;
        let signed = Objects {
            commit: (commit, &objects.commit),
            tag: objects.tag.as_ref().map(|tag| (resolved.object.as_str(), tag.as_ref())),
        };
        let checked = signed::check_objects(&signed, wanted);
        let reference = resolved.reference.clone();
        checked.map_err(|source| GitError::Signature { remote, reference, source })
    }

    async fn known(&self, memory_key: &str) -> Option<Ref> {
        let id: String = self.state.get(&REFS, memory_key).await?;
        self.store.load(&id).ok()
    }

    async fn fetch_into(
        &self,
        wanted: &Wanted<'_>,
        mirror: &Directory,
        resolved: &Resolved,
        context: &Context,
    ) -> Result<Ref, GitError> {
        let mirror = mirror.path();
        let commit = {
            let _part = context.begin(format!("fetch {}", wanted.shown), 0);
            remote::fetch(wanted, &mirror, resolved).await?
        };
        resolve::check_commit(wanted.source, &wanted.shown, resolved, &commit)?;
        let _part = context.begin(format!("checkout {}", wanted.shown), 0);
        let mutable = self.store.prepare(None).await.map_err(|e| wanted.store(e))?;
        let mounted = mutable.mount().await.map_err(|e| wanted.store(e))?;
        checkout::checkout(wanted, &mirror, resolved, &commit, mounted.path()).await?;
        drop(mounted);
        let result = mutable.commit().await.map_err(|e| wanted.store(e))?;
        let info = RecordInfo {
            kind: Kind::SourceGitCheckout,
            description: format!("git snapshot for {}#{}", wanted.shown, resolved.reference),
        };
        result.keep(info).await.map_err(|e| wanted.store(e))?;
        Ok(result)
    }

    /// The bare repository of a remote, for us alone.
    async fn mirror(&self, source: &GitSource, shown: &str) -> Result<Directory, GitError> {
        let key = mirror_key(source, shown);
        let kind = Kind::SourceGitCheckout;
        let mirror = self.store.directory(&key, kind, Sharing::Locked, None).await;
        mirror.map_err(|error| GitError::Store { remote: shown.into(), source: error.into() })
    }

    async fn wanted<'a>(
        &'a self,
        source: &'a GitSource,
        shown: String,
        context: &'a Context,
    ) -> Result<Wanted<'a>, GitError> {
        let auth = auth::gather(source, &shown, context).await?;
        let session = context.session.clone();
        let git = Program::new(self.commands.clone(), source, shown.clone(), &auth);
        Ok(Wanted { source, shown, git, blobs: &self.blobs, context, session, _auth: auth })
    }
}

impl Wanted<'_> {
    pub(crate) fn store(&self, error: impl Into<Cause>) -> GitError {
        GitError::Store { remote: self.shown.clone(), source: error.into() }
    }

    pub(crate) fn files(
        &self,
        doing: &'static str,
    ) -> impl FnOnce(std::io::Error) -> GitError + use<> {
        let remote = self.shown.clone();
        move |source| GitError::Files { remote, doing, source }
    }
}

/// Names the shared repository of a remote, without showing a login that is part of its address.
fn mirror_key(source: &GitSource, shown: &str) -> String {
    format!("git {shown} {}", Digest::sha256(&source.remote).short())
}

/// The cache key.
fn key(source: &GitSource, resolved: &Resolved) -> SourceKey {
    // Without `.git` a tag and its commit give the same files.
    let object = match (&resolved.commit, source.keep_git_dir) {
        (Some(commit), false) => commit,
        _ => &resolved.object,
    };
    let key = GitKey {
        object,
        reference: &resolved.reference,
        keep_git_dir: source.keep_git_dir,
        subdir: &source.subdir,
        skip_submodules: source.skip_submodules,
        mtime: if source.commit_mtime { "commit" } else { "" },
        bundle: source.checkout_bundle,
    };
    key.key()
}
