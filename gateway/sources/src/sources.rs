//! The API of this crate: every identifier goes through here, whatever its kind.

use std::sync::Arc;

use futures::future::BoxFuture;
use kiln_graph::Identifier;
use kiln_oci::{Digest, Platform};
use kiln_registry::Registry;
use kiln_session::SessionManager;
use kiln_store::{Providers, Store};

use crate::blob::Blobs;
use crate::builds::{Builds, ResolvedSources};
use crate::command::HostCommand;
use crate::git::Git;
use crate::http::Http;
use crate::image::{Attestations, Image};
use crate::local::Local;
use crate::named::NamedImages;
use crate::source::{Content, Context, Fetched, GitObjects, Metadata, Pin, SourceError};
use crate::state::State;

/// All sources of one worker.
pub struct Sources {
    image: Image,
    blobs: Blobs,
    http: Http,
    git: Git,
    local: Local,
    builds: Builds,
}

/// Why the sources of a worker could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What they remember.
    #[error(transparent)]
    State(#[from] kiln_metadata::OpenError),
}

impl Sources {
    /// Opens the sources of a worker, with what they remember in the database of its store's root.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if neither the memory nor a new one can be opened.
    pub fn open(
        store: &Store,
        registry: &Registry,
        sessions: &SessionManager,
        commands: Arc<dyn HostCommand>,
        named: Arc<dyn NamedImages>,
    ) -> Result<Self, OpenError> {
        let state = State::open(store.metadata())?;
        let builds = Builds::default();
        let blobs = Blobs::new(registry, store, &state);
        Ok(Self {
            image: Image::new(registry, store, &state, named, sessions),
            http: Http::new(store, &state, &builds),
            git: Git::new(store, &state, &builds, commands, &blobs),
            local: Local::new(store),
            blobs,
            builds,
        })
    }

    /// Begins a build of a session: what its URLs and references are resolved to stays the same
    /// until the handle is dropped.
    pub fn begin_build(&self, session: &str) -> ResolvedSources {
        self.builds.begin(session)
    }

    /// Finds out what the content of a source will be.
    ///
    /// `platform` is the vertex's and matters to images only.
    ///
    /// # Errors
    ///
    /// [`SourceError`] if the source does not exist, cannot be reached, or is not what the user
    /// says it is.
    ///
    /// # Cancellation
    ///
    /// Safe at any await: requests and programs end with the future.
    pub fn pin<'a>(
        &'a self,
        identifier: &'a Identifier,
        platform: &'a Platform,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Pin, SourceError>> {
        Box::pin(async move {
            Ok(match identifier {
                Identifier::Image(source) => self.image.pin(source, platform, context).await?,
                Identifier::OciLayout(source) => {
                    self.image.pin_layout(source, platform, context).await?
                }
                Identifier::Blob(source) => Blobs::pin(source)?,
                Identifier::Http(source) => self.http.pin(source, context).await?,
                Identifier::Git(source) => self.git.pin(source, context).await?,
                Identifier::Local(source) => Local::pin(source, context),
            })
        })
    }

    /// The objects of a git source that was pinned, fetched if they are not here; `None` for other
    /// sources.
    ///
    /// # Errors
    ///
    /// [`SourceError`] if they cannot be fetched.
    pub fn git_objects<'a>(
        &'a self,
        identifier: &'a Identifier,
        pin: &'a Pin,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Option<GitObjects>, SourceError>> {
        Box::pin(async move {
            match (identifier, &pin.content) {
                (Identifier::Git(source), Content::Git(pin)) => {
                    Ok(Some(self.git.objects(source, pin, context).await?))
                }
                _ => Ok(None),
            }
        })
    }

    /// The sum of a file by URL that was pinned, and of some bytes behind it, by `algorithm`, one of
    /// `sha256`, `sha384` and `sha512`; `None` for other sources. The file is fetched if it is not here.
    ///
    /// # Errors
    ///
    /// [`SourceError`] if it cannot be fetched or read.
    pub fn file_sum<'a>(
        &'a self,
        identifier: &'a Identifier,
        pin: &'a Pin,
        algorithm: &'static str,
        suffix: &'a [u8],
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Option<Digest>, SourceError>> {
        Box::pin(async move {
            match (identifier, &pin.content) {
                (Identifier::Http(source), Content::Http(content)) => {
                    let file = self.http.fetch(source, content, context).await?;
                    Ok(Some(self.http.sum(source, &file, algorithm, suffix).await?))
                }
                _ => Ok(None),
            }
        })
    }

    /// What is claimed about an image that was pinned, with statements of these predicate types; `None`
    /// if what it was named by is no index, and for other sources.
    ///
    /// # Errors
    ///
    /// [`SourceError`] if something of it cannot be read.
    pub fn attestations<'a>(
        &'a self,
        pin: &'a Pin,
        kinds: &'a [String],
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Option<Attestations>, SourceError>> {
        Box::pin(async move {
            match (&pin.content, &pin.metadata) {
                (Content::Image(image), Metadata::Image { reference, manifest, .. }) => {
                    let root = reference.digest().unwrap_or(manifest);
                    let found =
                        self.image.attestations(image, root, manifest, kinds, context).await;
                    found.map_err(|error| SourceError::Image(error.into()))
                }
                _ => Ok(None),
            }
        })
    }

    /// Gets the content that was pinned. `None` is an image without layers.
    ///
    /// Results are kept in the store, except views of the client's directories, which cannot be.
    ///
    /// # Errors
    ///
    /// [`SourceError`], also if the content is no longer what was pinned.
    ///
    /// # Cancellation
    ///
    /// Safe at any await; what was half fetched is removed or fetched again.
    pub fn fetch<'a>(
        &'a self,
        identifier: &'a Identifier,
        pin: &'a Pin,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Fetched, SourceError>> {
        Box::pin(async move {
            Ok(match (identifier, &pin.content) {
                (Identifier::Image(_) | Identifier::OciLayout(_), Content::Image(pin)) => {
                    self.image.fetch(pin, context).await?
                }
                (Identifier::Blob(source), Content::Blob) => {
                    Some(self.blobs.fetch(source, pin, context).await?)
                }
                (Identifier::Http(source), Content::Http(pin)) => {
                    Some(self.http.fetch(source, pin, context).await?)
                }
                (Identifier::Git(source), Content::Git(pin)) => {
                    Some(self.git.fetch(source, pin, context).await?)
                }
                (Identifier::Local(source), Content::Local(_)) => {
                    Some(self.local.fetch(source, context).await?)
                }
                _ => return Err(SourceError::Mixed),
            })
        })
    }
}

impl Sources {
    /// Who has the layers of an image that was pinned; `None` for other sources.
    pub fn layers_of(&self, pin: &Pin, context: &Context) -> Option<Arc<dyn Providers>> {
        match &pin.content {
            Content::Image(pin) => Some(Arc::new(self.image.blobs(pin, context))),
            _ => None,
        }
    }

    /// Who has the layers of images that earlier builds have pulled: the registries they are from.
    pub fn layers(&self) -> Arc<dyn Providers> {
        Arc::new(self.image.repositories())
    }
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}
