//! Images of a registry (`docker-image://`).

use kiln_oci::{Digest, Reference};

use super::{SourceError, SourceVertex, invalid};
use crate::deferred::{BoxError, Deferral, ImageRequest, ResolvedImage};
use crate::{Constraints, State, caps};

/// Options of [`State::image_with`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Image {
    /// Where to look for it.
    pub resolve_mode: ResolveMode,
    /// Whether its config and digest are asked for when the graph is marshalled.
    pub meta: ImageMeta,
    /// Take only the lowest layers, so many of them.
    pub layer_limit: Option<u32>,
    /// The digest the image must have.
    pub checksum: Option<Digest>,
    /// The image is a tool of the build, shown as such in the cache.
    pub internal: bool,
    /// What is said about the op.
    pub constraints: Constraints,
}

crate::setters!(Image {
    with_resolve_mode(resolve_mode: ResolveMode),
    with_meta(meta: ImageMeta),
    with_layer_limit(layer_limit: Option<u32>),
    with_checksum(checksum: impl Into<Option<Digest>>),
    with_internal(internal: bool),
    with_constraints(constraints: Constraints),
});

/// Where an image is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResolveMode {
    /// The daemon decides.
    #[default]
    Default,
    /// Always ask the registry.
    Pull,
    /// Take what is there, ask the registry for what is not.
    Local,
}

impl ResolveMode {
    /// The wire spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Pull => "pull",
            Self::Local => "local",
        }
    }
}

/// What an image's metadata is used for. Anything but `Ignored` needs a resolver when the graph is
/// marshalled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageMeta {
    /// Nothing.
    #[default]
    Ignored,
    /// The state takes environment, directory and platform from the image's config.
    Config,
    /// As `Config`, and the reference is pinned to the digest that was found.
    ConfigAndDigest,
}

impl State {
    /// The root file system of an image: `alpine` is `docker.io/library/alpine:latest`.
    ///
    /// A reference that is none makes marshalling fail, not this call.
    pub fn image(reference: &str) -> Self {
        Self::image_with(reference, Image::default())
    }

    /// As [`State::image`], with options.
    pub fn image_with(reference: &str, image: Image) -> Self {
        match reference.parse::<Reference>() {
            Ok(reference) => image.state(&reference),
            Err(error) => invalid(error.into()),
        }
    }
}

impl Image {
    fn state(self, reference: &Reference) -> State {
        let plain = self.source(&reference.to_string());
        let asked = reference.to_string();
        match self.meta {
            ImageMeta::Ignored => plain,
            ImageMeta::ConfigAndDigest if reference.digest().is_none() => State::scratch()
                .deferred(move |_, deferral| {
                    let found = self.resolve(&asked, deferral)?;
                    let mut reference =
                        Reference::parse_untagged(&found.reference).map_err(SourceError::from)?;
                    if let Some(digest) = found.digest {
                        reference = reference.with_digest(digest);
                    }
                    Ok(self.source(&reference.to_string()).with_image_config(&found.config))
                }),
            ImageMeta::Config | ImageMeta::ConfigAndDigest => {
                plain.deferred(move |plain, deferral| {
                    let found = self.resolve(&asked, deferral)?;
                    Ok(plain.with_image_config(&found.config))
                })
            }
        }
    }

    fn resolve(&self, asked: &str, deferral: &Deferral<'_>) -> Result<ResolvedImage, BoxError> {
        let resolver = deferral.resolver.ok_or_else(|| {
            format!("no resolver to ask for the config of {asked}, pass one to marshal")
        })?;
        let request = ImageRequest {
            reference: asked,
            platform: self.constraints.platform.as_ref().or(deferral.platform),
            resolve_mode: self.resolve_mode,
        };
        resolver.resolve(&request)
    }

    fn source(&self, reference: &str) -> State {
        let mut source = SourceVertex::new(caps::SOURCE_IMAGE);
        source.identifier = format!("docker-image://{reference}");
        if self.resolve_mode != ResolveMode::Default {
            source.set("image.resolvemode", self.resolve_mode.as_str());
        }
        // Only forced pulls are a promise to the user, so only they need a daemon that keeps it.
        if self.resolve_mode == ResolveMode::Pull {
            source.caps.push(caps::SOURCE_IMAGE_RESOLVE_MODE);
        }
        let limit = self.layer_limit.map(|limit| limit.to_string()).unwrap_or_default();
        source.set_capable("image.layerlimit", limit, caps::SOURCE_IMAGE_LAYER_LIMIT);
        let checksum = self.checksum.as_ref().map(Digest::to_string).unwrap_or_default();
        source.set_capable("image.checksum", checksum, caps::SOURCE_IMAGE_CHECKSUM);
        source.set("image.recordtype", if self.internal { "internal" } else { "" });
        source.state(self.constraints.clone())
    }
}
