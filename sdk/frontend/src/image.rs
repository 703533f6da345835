//! A base image and its config, so that no frontend loses what the base says.

use kiln_oci::{ImageConfig, Platform, Reference};

use crate::{Bridge, FrontendError, ImageConfigRequest};

/// A base image as a frontend starts from it.
#[derive(Clone, Debug, PartialEq)]
pub struct BaseImage {
    /// The reference, pinned to the digest the daemon found.
    pub reference: Reference,
    /// What the image says about itself.
    pub config: ImageConfig,
}

/// Finds a base image and its config.
///
/// # Errors
///
/// If the name is no image reference, the daemon does not find it, or its config is not one.
pub async fn base_image(
    bridge: &dyn Bridge,
    name: &str,
    platform: &Platform,
) -> Result<BaseImage, FrontendError> {
    let reference: Reference =
        name.parse().map_err(|error| FrontendError::invalid(format!("{error}")))?;
    let request = ImageConfigRequest {
        platform: Some(platform.clone()),
        resolve_mode: bridge.info().options.resolve_mode()?.to_owned(),
        log_name: format!("[internal] load metadata for {reference}"),
        ..ImageConfigRequest::default()
    };
    let resolved = bridge.resolve_image(&reference.to_string(), request).await?;
    let config: ImageConfig = serde_json::from_slice(&resolved.config).map_err(|error| {
        FrontendError::invalid(format!("image {reference} has a malformed config: {error}"))
    })?;
    let answered: Reference = resolved.reference.parse().unwrap_or(reference);
    let reference = match (answered.digest(), resolved.digest) {
        (None, Some(digest)) => answered.with_digest(digest),
        _ => answered,
    };
    Ok(BaseImage { reference, config })
}
