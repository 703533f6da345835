//! What only a daemon says or is asked, as messages of the gateway protocol; see [`crate::convert`].

use bytes::Bytes;
use kiln_oci::{Descriptor, Digest};
use kiln_wire::proto::gateway as wire;
use kiln_wire::proto::gateway::checksum_request::ChecksumAlgo;
use kiln_wire::proto::sourcepolicy::Policy;

use crate::convert::source_to_wire;
use crate::{
    AttestationChain, CacheImport, ChecksumAlgorithm, ChecksumQuestion, MAX_SUFFIX, SourceMeta,
    SourcePolicy,
};

/// A digest as it travels; empty if there is none.
pub(crate) fn digest_to_wire(digest: Option<Digest>) -> String {
    digest.map(|digest| digest.to_string()).unwrap_or_default()
}

/// What is known of a source, as it travels.
pub fn source_meta_to_wire(meta: SourceMeta) -> wire::ResolveSourceMetaResponse {
    wire::ResolveSourceMetaResponse {
        source: Some(source_to_wire(meta.source)),
        image: meta.image.map(|image| wire::ResolveSourceImageResponse {
            digest: digest_to_wire(image.digest),
            config: image.config,
            attestation_chain: image.attestations.map(chain_to_wire),
        }),
        git: meta.git.map(|git| wire::ResolveSourceGitResponse {
            checksum: git.checksum,
            r#ref: git.reference,
            commit_checksum: git.commit_checksum,
            commit_object: git.commit_object,
            tag_object: git.tag_object,
        }),
        http: meta.http.map(|http| wire::ResolveSourceHttpResponse {
            checksum: digest_to_wire(http.checksum),
            filename: http.filename,
            last_modified: http
                .last_modified
                .map(|at| wire::Timestamp { seconds: at.seconds, nanos: at.nanos }),
            checksum_response: http.summed.map(|summed| wire::ChecksumResponse {
                digest: summed.digest.to_string(),
                suffix: summed.suffix,
            }),
        }),
    }
}

fn chain_to_wire(chain: AttestationChain) -> wire::AttestationChain {
    let blob = |(descriptor, data): (Descriptor, Bytes)| {
        let described = wire::BlobDescriptor {
            media_type: descriptor.media_type,
            digest: descriptor.digest.to_string(),
            size: i64::try_from(descriptor.size).unwrap_or(i64::MAX),
            annotations: descriptor.annotations,
        };
        let digest = described.digest.clone();
        (digest, wire::Blob { descriptor: Some(described), data })
    };
    wire::AttestationChain {
        root: chain.root.to_string(),
        image_manifest: chain.image_manifest.to_string(),
        attestation_manifest: digest_to_wire(chain.attestation_manifest),
        signature_manifests: chain.signature_manifests.iter().map(Digest::to_string).collect(),
        blobs: chain.blobs.into_iter().map(blob).collect(),
    }
}

/// A question for a sum, as it came.
///
/// # Errors
///
/// What is wrong with it, as text.
pub fn checksum_from_wire(asked: wire::ChecksumRequest) -> Result<ChecksumQuestion, String> {
    if asked.suffix.len() > MAX_SUFFIX {
        return Err(format!("http checksum request suffix exceeds max size {MAX_SUFFIX}"));
    }
    let algorithm = match ChecksumAlgo::try_from(asked.algo) {
        Ok(ChecksumAlgo::Sha256) => ChecksumAlgorithm::Sha256,
        Ok(ChecksumAlgo::Sha384) => ChecksumAlgorithm::Sha384,
        Ok(ChecksumAlgo::Sha512) => ChecksumAlgorithm::Sha512,
        Err(_) => return Err(format!("unsupported checksum algorithm {}", asked.algo)),
    };
    Ok(ChecksumQuestion { algorithm, suffix: asked.suffix })
}

/// Caches as they came.
pub(crate) fn cache_imports_from_wire(imports: Vec<wire::CacheOptionsEntry>) -> Vec<CacheImport> {
    let import =
        |entry: wire::CacheOptionsEntry| CacheImport { kind: entry.r#type, attrs: entry.attrs };
    imports.into_iter().map(import).collect()
}

/// Policies as they came.
pub(crate) fn policies_from_wire(policies: Vec<Policy>) -> Vec<SourcePolicy> {
    policies.into_iter().map(SourcePolicy).collect()
}
