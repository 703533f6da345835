//! What an image is based on: nothing, an image of a registry, or what the user gives for its name.

use kiln_llb::{Constraints, Image, ResolveMode, State};
use kiln_oci::{ImageConfig, Platform};

use crate::{
    BaseImage, Bridge, Contexts, FrontendError, LoadedContext, NamedRequest, Settings, base_image,
};

/// What an image is based on.
#[derive(Clone, Debug)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// An image of a registry, pinned to the digest that was found.
    Image {
        /// The image.
        image: Box<BaseImage>,
        /// How it is found.
        resolve_mode: ResolveMode,
    },
    /// A context that the user gives for the name.
    Context(Box<LoadedContext>),
}

impl Base {
    /// Its file system, with the values of its config. The constraints are those of the vertex that
    /// fetches an image; a context has its own.
    pub fn state(&self, constraints: Constraints) -> State {
        match self {
            Self::Scratch => match constraints.platform {
                Some(platform) => State::scratch().with_platform(platform),
                None => State::scratch(),
            },
            Self::Context(context) => context.state.clone(),
            Self::Image { image, resolve_mode } => {
                // The image is pinned, so it is the same however often it is fetched.
                let constraints = constraints.with_ignore_cache(false);
                let resolve_mode = *resolve_mode;
                let options =
                    Image::default().with_resolve_mode(resolve_mode).with_constraints(constraints);
                State::image_with(&image.reference.to_string(), options)
                    .with_image_config(&image.config)
            }
        }
    }

    /// The config of the image it is, if it is one.
    pub fn image_config(&self) -> Option<&ImageConfig> {
        match self {
            Self::Scratch => None,
            Self::Image { image, .. } => Some(&image.config),
            Self::Context(context) => context.config.as_ref(),
        }
    }

    /// The config to go on from: that of the image it is, or an empty one for the platform.
    pub fn config(&self, platform: &Platform) -> ImageConfig {
        self.image_config().cloned().unwrap_or_else(|| ImageConfig::new(platform))
    }
}

/// Finds a base by its name in the user's file.
///
/// # Errors
///
/// If the name is no image reference, or there is no such image or context.
pub async fn base(
    bridge: &dyn Bridge,
    settings: &Settings,
    contexts: &Contexts<'_>,
    name: &str,
    platform: &Platform,
) -> Result<Base, FrontendError> {
    if name == "scratch" {
        return Ok(Base::Scratch);
    }
    let request = NamedRequest {
        platform: Some(platform.clone()),
        resolve_mode: settings.resolve_mode,
        ..NamedRequest::default()
    };
    if let Some(context) = contexts.named(name, request)? {
        return Ok(Base::Context(Box::new(context.load().await?)));
    }
    let image = Box::new(base_image(bridge, name, platform).await?);
    Ok(Base::Image { image, resolve_mode: settings.resolve_mode })
}
