//! Which image a frontend runs from.
//!
//! The option `source` comes in; a source and the image's config go out. The client may give
//! another image for it, by an option `context:<source>`, as for every name that a build uses. An
//! image that lacks what the request requires of its frontend is refused before a layer is fetched:
//! it would ignore what it does not know.

use bytes::Bytes;
use futures::future::BoxFuture;
use kiln_frontend::grpc::{source_from_wire, source_to_wire};
use kiln_frontend::{
    Bridge, BuildInfo, FrontendError, ImageConfigRequest, ImageFacts, SourceRequest,
};
use kiln_oci::{Digest, ImageConfig, Platform, Reference};
use kiln_wire::pb;
use kiln_wire::status::RichStatus;
use tonic::Code;

use crate::BuildBridge;

/// The label in which an image says what may be required of its frontend, a comma list.
const CAPABILITIES_LABEL: &str = "moby.buildkit.frontend.caps";

/// The capability of a frontend that uses the graphs it is handed.
const INPUTS: &str = "moby.buildkit.frontend.inputs";

/// Images from before the label that use the graphs they are handed: docker/dockerfile 1.1.6 and
/// 1.1.7, stable and experimental.
const UNLABELLED_WITH_INPUTS: &[&str] = &[
    "sha256:9ac1c43a60e31dca741a6fe8314130a9cd4c4db0311fbbc636ff992ef60ae76d",
    "sha256:080bd74d8778f83e7b670de193362d8c593c8b14f5c8fb919d28ee8feda0d069",
    "sha256:60543a9d92b92af5088fb2938fb09b2072684af8384399e153e137fe081f8ab4",
    "sha256:de85b2f3a3e8a2f7fe48e8e84a65f6fdd5cd5183afa6412fff9caa6871649c44",
];

/// The image of a frontend.
#[derive(Debug)]
pub(crate) struct FrontendImage {
    /// It as a source, by digest.
    pub(crate) source: pb::SourceOp,
    /// Its config, as it came.
    pub(crate) config: Bytes,
    /// What it was resolved to.
    digest: Option<Digest>,
}

/// Why an option `context:<source>` names no image of a frontend.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ContextError {
    /// It is something else.
    #[error(
        "option {key}={value}: a frontend runs from docker-image://NAME or oci-layout://STORE@DIGEST"
    )]
    Kind {
        /// The option.
        key: String,
        /// Its value.
        value: String,
    },
    /// It has the right form and the wrong content.
    #[error("option {key}={value}: {reason}")]
    Malformed {
        /// The option.
        key: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl FrontendImage {
    /// Finds the image that `source` names in a build.
    ///
    /// # Errors
    ///
    /// What keeps the image from being found, or the first capability that the request requires and
    /// the image does not have (`errdefs.FrontendCap`, [`Code::Unimplemented`]).
    pub(crate) fn find<'a>(
        source: &'a str,
        bridge: &'a BuildBridge,
    ) -> BoxFuture<'a, Result<Self, RichStatus>> {
        Box::pin(async move {
            let invalid = |error: &dyn std::error::Error| {
                RichStatus::new(Code::InvalidArgument, error.to_string())
            };
            let reference: Reference = source.parse().map_err(|error| invalid(&error))?;
            let given =
                context(source, &reference, bridge.info()).map_err(|error| invalid(&error))?;
            let found = match given {
                Some(given) => Self::given(given, bridge).await,
                None => Self::named(reference, bridge).await,
            }?;
            let required = bridge.info().options.get("frontend.caps").unwrap_or_default();
            let has_inputs = !bridge.inputs().await?.is_empty();
            let config: ImageConfig = serde_json::from_slice(&found.config).map_err(|error| {
                let message = kiln_frontend::image_config_error(&found.config, &error);
                RichStatus::new(Code::Unknown, message)
            })?;
            let label = config.config.labels.get(CAPABILITIES_LABEL);
            let label = label.map_or("", String::as_str);
            match missing(required, has_inputs, label, found.digest.as_ref()) {
                Some(capability) => Err(FrontendError::unsupported_capability(&capability).into()),
                None => Ok(found),
            }
        })
    }

    async fn named(reference: Reference, bridge: &BuildBridge) -> Result<Self, RichStatus> {
        let log_name = format!("resolve image config for {reference}");
        let request = ImageConfigRequest::default().with_log_name(log_name);
        let resolved = bridge.resolve_image(&reference.to_string(), request).await?;
        let pinned = pinned(&reference, resolved.digest.as_ref());
        let identifier = format!("docker-image://{pinned}");
        let source = pb::SourceOp { identifier, ..Default::default() };
        Ok(Self { source, config: resolved.config, digest: resolved.digest })
    }

    async fn given(given: pb::SourceOp, bridge: &BuildBridge) -> Result<Self, RichStatus> {
        let identifier = given.identifier.clone();
        let meta = bridge.resolve_source(source_from_wire(given), SourceRequest::default()).await?;
        let Some(ImageFacts { digest, config, .. }) = meta.image else {
            let message = format!("{identifier} is not an image");
            return Err(RichStatus::new(Code::InvalidArgument, message));
        };
        let mut source = source_to_wire(meta.source);
        if let Some(name) = source.identifier.strip_prefix("docker-image://")
            && let Ok(reference) = name.parse::<Reference>()
        {
            source.identifier = format!("docker-image://{}", pinned(&reference, digest.as_ref()));
        }
        Ok(Self { source, config, digest })
    }
}

/// The first capability that is required and that an image with this label and digest does not have.
/// What stands behind a `+` says what happens to the others, and is none of the image's business.
fn missing(
    required: &str,
    has_inputs: bool,
    label: &str,
    digest: Option<&Digest>,
) -> Option<String> {
    let names = |list: &'_ str| -> Vec<String> {
        let names = list.split(',').map(|cap| cap.split('+').next().unwrap_or_default());
        names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    let mut known = names(label);
    if digest.is_some_and(|digest| UNLABELLED_WITH_INPUTS.contains(&digest.as_str())) {
        known.push(INPUTS.to_owned());
    }
    let implied = has_inputs.then(|| INPUTS.to_owned());
    names(required).into_iter().chain(implied).find(|cap| !known.contains(cap))
}

/// Whether the client gives an image for a frontend of this name.
pub(crate) fn is_given(source: &str, info: &BuildInfo) -> bool {
    keys(source, None, &info.default_platform()).iter().any(|key| info.options.get(key).is_some())
}

/// What the client gives for a frontend of this name, if it does.
///
/// # Errors
///
/// If the name is no image's, or what is given is none.
pub(crate) fn given(
    source: &str,
    info: &BuildInfo,
) -> Result<Option<pb::SourceOp>, Box<dyn std::error::Error + Send + Sync>> {
    let reference: Reference = source.parse()?;
    Ok(context(source, &reference, info)?)
}

/// The image that the client gives for this frontend, if it does.
fn context(
    source: &str,
    reference: &Reference,
    info: &BuildInfo,
) -> Result<Option<pb::SourceOp>, ContextError> {
    let keys = keys(source, Some(reference), &info.default_platform());
    let given = keys.into_iter().find_map(|key| {
        let value = info.options.get(&key)?.to_owned();
        Some((key, value))
    });
    given.map(|(key, value)| given_source(&key, &value, info)).transpose()
}

/// The options that could name another image, what counts most first.
fn keys(source: &str, reference: Option<&Reference>, platform: &Platform) -> Vec<String> {
    let familiar = reference.map(Reference::familiar);
    let familiar = familiar.as_deref().map(|name| name.strip_suffix(":latest").unwrap_or(name));
    let names = familiar.into_iter().chain([source]);
    let platform = platform.format_all();
    names
        .flat_map(|name| [format!("context:{name}::{platform}"), format!("context:{name}")])
        .collect()
}

fn given_source(key: &str, value: &str, info: &BuildInfo) -> Result<pb::SourceOp, ContextError> {
    let (key, value) = (key.to_owned(), value.to_owned());
    if let Some(name) = value.strip_prefix("docker-image://") {
        return match name.parse::<Reference>() {
            Ok(reference) => {
                let identifier = format!("docker-image://{reference}");
                Ok(pb::SourceOp { identifier, ..Default::default() })
            }
            Err(error) => Err(ContextError::Malformed { key, value, reason: error.to_string() }),
        };
    }
    let Some(layout) = value.strip_prefix("oci-layout://") else {
        return Err(ContextError::Kind { key, value });
    };
    let digest = layout.split_once('@').and_then(|(name, digest)| {
        let store = name.rsplit_once(':').map_or(name, |(store, _)| store);
        Some((store, digest.parse::<Digest>().ok()?))
    });
    let Some((store, digest)) = digest.filter(|(store, _)| !store.is_empty()) else {
        let reason = "a layout needs a digest (oci-layout://STORE@sha256:…)".to_owned();
        return Err(ContextError::Malformed { key, value, reason });
    };
    // What the client calls its store need not be a name of an image.
    let name = if store.parse::<Reference>().is_ok() { store } else { "layout" };
    let attrs = [("oci.store", store), ("oci.session", &info.session_id)];
    let attrs = attrs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Ok(pb::SourceOp { identifier: format!("oci-layout://{name}@{digest}"), attrs })
}

fn pinned(reference: &Reference, digest: Option<&Digest>) -> Reference {
    match (reference.digest(), digest) {
        (None, Some(digest)) => reference.with_digest(digest.clone()),
        _ => reference.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:2e43ff6e66315cce9884928230c583f089782fa691859abd5723a1641d8731b9";

    fn given(source: &str, options: &[(&str, &str)]) -> Result<Option<pb::SourceOp>, ContextError> {
        let pairs = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let worker =
            kiln_frontend::Worker::default().with_platforms(vec!["linux/amd64".parse().unwrap()]);
        let info = BuildInfo::default()
            .with_options(pairs.collect())
            .with_workers(vec![worker])
            .with_session_id("session-1".to_owned())
            .with_llb_caps([].into())
            .with_gateway_caps([].into());
        context(source, &source.parse().unwrap(), &info)
    }

    #[test]
    fn a_frontend_is_its_own_image_unless_another_is_given() {
        assert_eq!(given("front", &[("context:other", "docker-image://x")]), Ok(None));
        for source in ["front", "front:latest", "docker.io/library/front"] {
            let found = given(source, &[("context:front", "docker-image://x:2")]).unwrap().unwrap();
            assert_eq!(found.identifier, "docker-image://docker.io/library/x:2", "{source}");
        }
    }

    #[test]
    fn what_is_given_for_the_platform_counts_more() {
        let options = [
            ("context:front:1", "docker-image://any"),
            ("context:front:1::linux/amd64", "docker-image://amd64"),
            ("context:front:1::linux/arm64", "docker-image://arm64"),
        ];
        let found = given("front:1", &options).unwrap().unwrap();
        assert_eq!(found.identifier, "docker-image://docker.io/library/amd64:latest");
    }

    #[test]
    fn an_image_of_a_layout_comes_from_the_session() {
        for (layout, store, name) in [
            (format!("mine@{DIGEST}"), "mine", "mine"),
            (format!("mine:tag@{DIGEST}"), "mine", "mine"),
            (format!("Not An Image@{DIGEST}"), "Not An Image", "layout"),
        ] {
            let options = [("context:front", &*format!("oci-layout://{layout}"))];
            let found = given("front", &options).unwrap().unwrap();
            assert_eq!(found.identifier, format!("oci-layout://{name}@{DIGEST}"));
            assert_eq!(found.attrs["oci.store"], store);
            assert_eq!(found.attrs["oci.session"], "session-1");
        }
    }

    #[test]
    fn what_is_required_must_be_in_the_label() {
        let known = UNLABELLED_WITH_INPUTS[0];
        for (required, has_inputs, label, digest, want) in [
            ("", false, "", DIGEST, None),
            (",", false, "", DIGEST, None),
            ("a.b", false, "a.b,c", DIGEST, None),
            ("a.b+forward", false, "a.b+x", DIGEST, None),
            ("a.b", false, "", DIGEST, Some("a.b")),
            ("c,a.b,d", false, "c", DIGEST, Some("a.b")),
            ("a.b+forward", false, "c", DIGEST, Some("a.b")),
            ("", true, "c", DIGEST, Some(INPUTS)),
            ("c", true, "c,moby.buildkit.frontend.inputs", DIGEST, None),
            ("", true, "", known, None),
            (
                "moby.buildkit.frontend.contexts",
                true,
                "",
                known,
                Some("moby.buildkit.frontend.contexts"),
            ),
        ] {
            let digest = digest.parse().unwrap();
            let found = missing(required, has_inputs, label, Some(&digest));
            assert_eq!(found.as_deref(), want, "{required} of {label}");
        }
    }

    #[test]
    fn what_is_no_image_is_an_error_with_the_option() {
        for (value, said) in [
            ("local:dir", "a frontend runs from docker-image://NAME"),
            ("oci-layout://mine:tag", "a layout needs a digest"),
            ("oci-layout://@sha256:00", "a layout needs a digest"),
            ("docker-image://UPPER", "option context:front=docker-image://UPPER"),
        ] {
            let error = given("front", &[("context:front", value)]).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
