//! States that are made when the graph is marshalled.
//!
//! A closure receives the state it stands on and a [`Deferral`], and returns the state to put in
//! its place. It runs at most once per marshal call, and only if something needs it.

use std::error::Error;
use std::fmt;

use kiln_oci::{Digest, ImageConfig, Platform};

use crate::{ResolveMode, State};

/// Any error of a closure or resolver; its text becomes the text of the marshal error.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What a deferred state may know when it is made.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Deferral<'a> {
    /// The platform of the marshal call.
    pub platform: Option<&'a Platform>,
    /// Who knows the configs of images.
    pub resolver: Option<&'a dyn MetaResolver>,
}

impl fmt::Debug for Deferral<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferral").field("platform", &self.platform).finish_non_exhaustive()
    }
}

/// Knows the configs of images. Asked while a graph is marshalled.
pub trait MetaResolver: Send + Sync {
    /// Finds the config of an image.
    ///
    /// # Errors
    ///
    /// Any; marshalling fails with it.
    fn resolve(&self, request: &ImageRequest<'_>) -> Result<ResolvedImage, BoxError>;
}

/// A question for the config of an image.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ImageRequest<'a> {
    /// The normalised reference.
    pub reference: &'a str,
    /// For this platform.
    pub platform: Option<&'a Platform>,
    /// Where to look.
    pub resolve_mode: ResolveMode,
}

/// The answer to an [`ImageRequest`].
#[derive(Clone, Debug, Default)]
pub struct ResolvedImage {
    /// The reference that was found, which may be another than the one asked for.
    pub reference: String,
    /// The digest of its manifest or index.
    pub digest: Option<Digest>,
    /// Its config.
    pub config: ImageConfig,
}

type Resolve = dyn Fn(State, &Deferral<'_>) -> Result<State, BoxError> + Send + Sync;

/// A state to be made later.
pub(crate) struct Deferred {
    base: State,
    resolve: Box<Resolve>,
}

impl Deferred {
    pub(crate) fn new(
        base: State,
        resolve: impl Fn(State, &Deferral<'_>) -> Result<State, BoxError> + Send + Sync + 'static,
    ) -> Self {
        Self { base, resolve: Box::new(resolve) }
    }

    pub(crate) fn resolve(&self, deferral: &Deferral<'_>) -> Result<State, BoxError> {
        (self.resolve)(self.base.clone(), deferral)
    }
}

impl fmt::Debug for Deferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deferred")
    }
}
