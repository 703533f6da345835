//! Names of images as package URLs.

use kiln_oci::{Platform, Reference};

/// Where an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageKind {
    /// In a registry.
    Docker,
    /// In a layout.
    Oci,
}

/// An image as a package URL: `pkg:docker/alpine@3.20?platform=linux%2Famd64`.
pub fn package_url(
    kind: PackageKind,
    reference: &Reference,
    platform: Option<&Platform>,
) -> String {
    let kind = match kind {
        PackageKind::Docker => "docker",
        PackageKind::Oci => "oci",
    };
    let familiar = Reference::parse_untagged(&reference.name())
        .map_or_else(|_| reference.name(), |bare| bare.familiar());
    let path: Vec<String> = familiar.split('/').map(|part| escaped(part, "")).collect();
    let mut url = format!("pkg:{kind}/{}", path.join("/"));
    let tag = reference.tag().or(reference.digest().is_none().then_some("latest"));
    if let Some(tag) = tag {
        url.push('@');
        url.push_str(&escaped(tag, SEGMENT));
    }
    let digest = reference.digest().map(|digest| ("digest", digest.to_string()));
    let platform = platform.map(|platform| ("platform", platform.clone().normalized().format()));
    for (mark, (key, value)) in ["?", "&"].into_iter().zip(digest.into_iter().chain(platform)) {
        url.push_str(&format!("{mark}{key}={}", escaped(&value, SEGMENT)));
    }
    url
}

/// A value of a qualifier, escaped.
pub(crate) fn qualifier(value: &str) -> String {
    escaped(value, SEGMENT)
}

/// What may stand in a segment of a path beside letters and digits.
const SEGMENT: &str = ":@&=+$";

fn escaped(text: &str, also: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || "-_.~".contains(c) || also.contains(c) {
            out.push(c);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
