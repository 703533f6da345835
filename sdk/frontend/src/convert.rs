//! The bridge's values as messages of the gateway protocol, both ways.
//!
//! [`crate::grpc`] speaks them as a client and [`crate::service`] as a server. A message may come
//! from anybody: what does not make sense becomes its nearest sensible value, never a panic.

use std::collections::BTreeMap;

use kiln_oci::{Descriptor, Digest, Platform};
use kiln_wire::pb;
use kiln_wire::proto::gateway as wire;
use kiln_wire::proto::gateway::checksum_request::ChecksumAlgo;
use kiln_wire::proto::sourcepolicy::Policy;

use crate::{
    Attestation, AttestationChain, AttestationKind, BuildResult, CacheImport, ChecksumAlgorithm,
    ChecksumAnswer, ChecksumQuestion, GitFacts, HttpFacts, ImageFacts, Inputs, Ref, Refs,
    SourceIdentifier, SourceMeta, SourcePolicy, Subject, SubjectKind, Timestamp,
};

/// A result as it travels. `graphs` adds the graph of a ref, where it is known.
pub fn result_to_wire(
    result: BuildResult<Ref>,
    graphs: &BTreeMap<Ref, pb::Definition>,
) -> wire::Result {
    let one = |r: Option<Ref>| match r {
        Some(r) => wire::Ref { def: graphs.get(&r).cloned(), id: r.0 },
        None => wire::Ref::default(),
    };
    let refs = match result.refs {
        Refs::Single(r) => wire::result::Result::Ref(one(r)),
        Refs::ByPlatform(map) => {
            let refs: BTreeMap<_, _> = map.into_iter().map(|(id, r)| (id, one(r))).collect();
            wire::result::Result::Refs(wire::RefMap { refs })
        }
    };
    let attestations = result.attestations.into_iter().map(|(id, list)| {
        let attestation = list.into_iter().map(|a| attestation_to_wire(a, one)).collect();
        (id, wire::Attestations { attestation })
    });
    wire::Result {
        result: Some(refs),
        metadata: result.metadata,
        attestations: attestations.collect(),
    }
}

/// A result as it came; an empty id is an empty file system.
pub fn result_from_wire(result: wire::Result) -> BuildResult<Ref> {
    use wire::result::Result as Wire;
    let refs = match result.result {
        None => Refs::Single(None),
        Some(Wire::RefDeprecated(id)) => Refs::Single(some_ref(id)),
        Some(Wire::Ref(r)) => Refs::Single(some_ref(r.id)),
        Some(Wire::RefsDeprecated(map)) => Refs::ByPlatform(
            map.refs.into_iter().map(|(platform, id)| (platform, some_ref(id))).collect(),
        ),
        Some(Wire::Refs(map)) => Refs::ByPlatform(
            map.refs.into_iter().map(|(platform, r)| (platform, some_ref(r.id))).collect(),
        ),
    };
    let attestations = result
        .attestations
        .into_iter()
        .map(|(id, list)| (id, list.attestation.into_iter().map(attestation_from_wire).collect()));
    BuildResult { refs, metadata: result.metadata, attestations: attestations.collect() }
}

/// The graphs that a result brings along, by ref.
pub(crate) fn graphs_of(result: &wire::Result) -> Inputs {
    use wire::result::Result as Wire;
    let refs: Vec<&wire::Ref> = match &result.result {
        Some(Wire::Ref(one)) => vec![one],
        Some(Wire::Refs(map)) => map.refs.values().collect(),
        _ => Vec::new(),
    };
    let attested = result.attestations.values().flat_map(|list| &list.attestation);
    let refs = refs.into_iter().chain(attested.filter_map(|a| a.r#ref.as_ref()));
    refs.filter_map(|one| Some((one.id.clone(), kiln_llb::wire::from_message(one.def.clone()?))))
        .collect()
}

pub(crate) fn some_ref(id: String) -> Option<Ref> {
    (!id.is_empty()).then_some(Ref(id))
}

fn attestation_to_wire(
    attestation: Attestation<Ref>,
    one: impl Fn(Option<Ref>) -> wire::Ref,
) -> wire::Attestation {
    let kind = match attestation.kind {
        AttestationKind::InToto => wire::AttestationKind::InToto,
        AttestationKind::Bundle => wire::AttestationKind::Bundle,
    };
    let subjects = attestation.subjects.into_iter().map(|subject| wire::InTotoSubject {
        kind: match subject.kind {
            SubjectKind::Itself => wire::InTotoSubjectKind::Self_.into(),
            SubjectKind::Raw => wire::InTotoSubjectKind::Raw.into(),
        },
        digest: subject.digests,
        name: subject.name,
    });
    wire::Attestation {
        kind: kind.into(),
        metadata: attestation.metadata,
        r#ref: Some(one(attestation.reference)),
        path: attestation.path,
        in_toto_predicate_type: attestation.predicate_type,
        in_toto_subjects: subjects.collect(),
    }
}

fn attestation_from_wire(attestation: wire::Attestation) -> Attestation<Ref> {
    let kind = match attestation.kind() {
        wire::AttestationKind::InToto => AttestationKind::InToto,
        wire::AttestationKind::Bundle => AttestationKind::Bundle,
    };
    let subjects = attestation.in_toto_subjects.into_iter().map(|subject| Subject {
        kind: match subject.kind() {
            wire::InTotoSubjectKind::Self_ => SubjectKind::Itself,
            wire::InTotoSubjectKind::Raw => SubjectKind::Raw,
        },
        name: subject.name,
        digests: subject.digest,
    });
    Attestation {
        kind,
        reference: attestation.r#ref.and_then(|one| some_ref(one.id)),
        path: attestation.path,
        predicate_type: attestation.in_toto_predicate_type,
        subjects: subjects.collect(),
        metadata: attestation.metadata,
    }
}

/// A digest as it came; `None` if it is none.
pub(crate) fn digest_from_wire(text: &str) -> Option<Digest> {
    text.parse().ok()
}

/// A chain as it came; `None` if a digest in it is none.
fn chain_from_wire(chain: wire::AttestationChain) -> Option<AttestationChain> {
    let blob = |wire::Blob { descriptor, data }: wire::Blob| {
        let described = descriptor?;
        let size = u64::try_from(described.size).ok()?;
        let mut descriptor =
            Descriptor::new(&described.media_type, described.digest.parse().ok()?, size);
        descriptor.annotations = described.annotations;
        Some((descriptor, data))
    };
    Some(AttestationChain {
        root: chain.root.parse().ok()?,
        image_manifest: chain.image_manifest.parse().ok()?,
        attestation_manifest: match chain.attestation_manifest.as_str() {
            "" => None,
            digest => Some(digest.parse().ok()?),
        },
        signature_manifests: chain
            .signature_manifests
            .iter()
            .map(|digest| digest.parse().ok())
            .collect::<Option<_>>()?,
        blobs: chain.blobs.into_values().map(blob).collect::<Option<_>>()?,
    })
}

/// What is known of a source, as it came.
pub(crate) fn source_meta_from_wire(meta: wire::ResolveSourceMetaResponse) -> SourceMeta {
    SourceMeta {
        source: source_from_wire(meta.source.unwrap_or_default()),
        image: meta.image.map(|image| ImageFacts {
            digest: digest_from_wire(&image.digest),
            config: image.config,
            attestations: image.attestation_chain.and_then(chain_from_wire),
        }),
        git: meta.git.map(|git| GitFacts {
            checksum: git.checksum,
            reference: git.r#ref,
            commit_checksum: git.commit_checksum,
            commit_object: git.commit_object,
            tag_object: git.tag_object,
        }),
        http: meta.http.map(|http| HttpFacts {
            checksum: digest_from_wire(&http.checksum),
            filename: http.filename,
            last_modified: http
                .last_modified
                .map(|at| Timestamp { seconds: at.seconds, nanos: at.nanos }),
            summed: http.checksum_response.and_then(|summed| {
                let digest = digest_from_wire(&summed.digest)?;
                Some(ChecksumAnswer { digest, suffix: summed.suffix })
            }),
        }),
    }
}

/// A question for a sum, as it travels.
pub(crate) fn checksum_to_wire(asked: ChecksumQuestion) -> wire::ChecksumRequest {
    let algo = match asked.algorithm {
        ChecksumAlgorithm::Sha256 => ChecksumAlgo::Sha256,
        ChecksumAlgorithm::Sha384 => ChecksumAlgo::Sha384,
        ChecksumAlgorithm::Sha512 => ChecksumAlgo::Sha512,
    };
    wire::ChecksumRequest { algo: algo.into(), suffix: asked.suffix }
}

/// Caches as they travel.
pub(crate) fn cache_imports_to_wire(imports: Vec<CacheImport>) -> Vec<wire::CacheOptionsEntry> {
    let entry =
        |import: CacheImport| wire::CacheOptionsEntry { r#type: import.kind, attrs: import.attrs };
    imports.into_iter().map(entry).collect()
}

/// Graphs as they travel.
pub(crate) fn inputs_to_wire(inputs: Inputs) -> BTreeMap<String, pb::Definition> {
    let message = |(name, graph)| (name, kiln_llb::wire::to_message(graph));
    inputs.into_iter().map(message).collect()
}

/// Graphs as they came.
pub fn inputs_from_wire(inputs: BTreeMap<String, pb::Definition>) -> Inputs {
    let graph = |(name, message)| (name, kiln_llb::wire::from_message(message));
    inputs.into_iter().map(graph).collect()
}

/// Policies as they travel.
pub(crate) fn policies_to_wire(policies: Vec<SourcePolicy>) -> Vec<Policy> {
    policies.into_iter().map(|policy| policy.0).collect()
}

/// A source as it travels.
pub fn source_to_wire(source: SourceIdentifier) -> pb::SourceOp {
    pb::SourceOp { identifier: source.identifier, attrs: source.attrs }
}

/// A source as it came.
pub fn source_from_wire(source: pb::SourceOp) -> SourceIdentifier {
    SourceIdentifier { identifier: source.identifier, attrs: source.attrs }
}

/// A platform as it travels.
pub fn platform_to_wire(platform: Platform) -> pb::Platform {
    pb::Platform {
        architecture: platform.architecture,
        os: platform.os,
        variant: platform.variant,
        os_version: platform.os_version,
        os_features: platform.os_features,
    }
}

/// A platform as it came, normalised.
pub fn platform_from_wire(platform: pb::Platform) -> Platform {
    Platform {
        architecture: platform.architecture,
        os: platform.os,
        variant: platform.variant,
        os_version: platform.os_version,
        os_features: platform.os_features,
    }
    .normalized()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_survives_the_wire_with_its_attestations_and_graphs() {
        let one = Ref("one".into());
        let mut attestation = Attestation::in_toto(Some(Ref("two".into())), "/sbom.json", "spdx");
        attestation.subjects.push(Subject {
            kind: SubjectKind::Raw,
            name: "app".into(),
            digests: vec!["sha256:00".into()],
        });
        attestation.metadata.insert("reason".into(), "asked".into());
        let bundle = Attestation::bundle(None, "/all");
        let id = "linux/amd64".to_owned();
        let result = BuildResult {
            refs: Refs::ByPlatform([(id.clone(), Some(one.clone())), ("x/y".into(), None)].into()),
            metadata: [("k".to_owned(), "v".into())].into(),
            attestations: [(id, vec![attestation, bundle])].into(),
        };
        assert_eq!(result.held().count(), 2);
        let graph = pb::Definition { def: vec!["op".into()], ..pb::Definition::default() };
        let wired = result_to_wire(result.clone(), &[(one, graph.clone())].into());
        assert_eq!(
            graphs_of(&wired),
            [("one".to_owned(), kiln_llb::wire::from_message(graph))].into()
        );
        assert_eq!(result_from_wire(wired), result);
    }

    #[test]
    fn what_a_stranger_says_is_taken_as_it_can_be() {
        let strange = wire::Attestation { kind: 77, ..wire::Attestation::default() };
        let list = wire::Attestations { attestation: vec![strange] };
        let wired = wire::Result {
            attestations: [("p".to_owned(), list)].into(),
            ..wire::Result::default()
        };
        let result = result_from_wire(wired);
        assert_eq!(result.refs, Refs::Single(None));
        assert_eq!(result.attestations["p"][0].kind, AttestationKind::InToto);
    }
}
