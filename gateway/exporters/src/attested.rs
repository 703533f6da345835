//! The manifest of the attestations of an image, which stands beside the image in its index.

use kiln_oci::{Descriptor, Digest, Platform, media_type};
use kiln_provenance::{MEDIA_TYPE, PREDICATE_TYPE, SPDX, Subject, compact, package_url};
use kiln_store::{Ref, Requester};
use serde::Serialize;

use crate::assemble::{Document, ImageLayer, PlatformImage};
use crate::claims::{ClaimError, Predicate};
use crate::error::ExportError;
use crate::json;
use crate::layer_files::LayerFiles;
use crate::options::Name;

/// What the manifest says it is.
const ARTIFACT: &str = "application/vnd.docker.attestation.manifest.v1+json";
/// The config of what has none.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// What a manifest is for, in an index.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// Which image it is about.
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

/// The attestations of an image of one platform.
#[derive(Clone, Debug)]
pub(crate) struct Attested {
    pub(crate) manifest: Document,
    pub(crate) config: Document,
    pub(crate) statements: Vec<Document>,
}

/// A descriptor with its content.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<&'static str>,
    config: Config,
    layers: Vec<Descriptor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Descriptor>,
}

/// A config for readers that want one: the statements are its layers.
#[derive(Serialize)]
struct ImageConfig {
    architecture: &'static str,
    os: &'static str,
    config: serde_json::Map<String, serde_json::Value>,
    rootfs: Rootfs,
}

#[derive(Serialize)]
struct Rootfs {
    r#type: &'static str,
    diff_ids: Vec<Digest>,
}

impl Attested {
    /// The attestations of an image with these names.
    pub(crate) fn new(
        image: &PlatformImage,
        names: &[Name],
        predicates: &[Predicate],
        artifact: bool,
    ) -> Result<Self, ClaimError> {
        let itself = subjects(image, names);
        let mut statements = Vec::with_capacity(predicates.len());
        for predicate in predicates {
            statements.push(document(predicate, &itself)?);
        }
        let config = match artifact {
            true => Document::new(EMPTY, "{}".into()),
            false => Document::new(media_type::OCI_CONFIG, config(&statements)),
        };
        let described = &image.manifest.descriptor;
        let subject =
            || Descriptor::new(&described.media_type, described.digest.clone(), described.size);
        let manifest = Manifest {
            schema_version: 2,
            media_type: media_type::OCI_MANIFEST,
            artifact_type: artifact.then_some(ARTIFACT),
            config: Config {
                media_type: config.descriptor.media_type.clone(),
                digest: config.descriptor.digest.clone(),
                size: config.descriptor.size,
                data: artifact.then_some("e30="),
            },
            layers: statements.iter().map(|statement| statement.descriptor.clone()).collect(),
            subject: artifact.then(subject),
        };
        let mut manifest = Document::new(media_type::OCI_MANIFEST, json::pretty(&manifest));
        let annotations = &mut manifest.descriptor.annotations;
        annotations.insert(REFERENCE_TYPE.into(), "attestation-manifest".into());
        annotations.insert(REFERENCE_DIGEST.into(), described.digest.to_string());
        manifest.descriptor.platform = Some(Platform::new("unknown", "unknown"));
        Ok(Self { manifest, config, statements })
    }

    /// Every document, those that are named by others first.
    pub(crate) fn documents(&self) -> impl Iterator<Item = &Document> {
        self.blobs().chain([&self.manifest])
    }

    /// What the manifest names.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Document> {
        self.statements.iter().chain([&self.config])
    }
}

/// The image under each of its names.
fn subjects(image: &PlatformImage, names: &[Name]) -> Vec<Subject> {
    let digest = &image.manifest.descriptor.digest;
    let subject = |name: &Name| {
        let kind = kiln_provenance::PackageKind::Docker;
        Subject::new(&package_url(kind, &name.reference, Some(&image.platform)), [digest])
    };
    names.iter().map(subject).collect()
}

fn document(predicate: &Predicate, itself: &[Subject]) -> Result<Document, ClaimError> {
    let statement = compact(&predicate.statement(itself)?);
    let statement = statement
        .map_err(|source| ClaimError::Statement { path: predicate.path.clone(), source })?;
    let mut statement = Document::new(MEDIA_TYPE, statement);
    let annotations = &mut statement.descriptor.annotations;
    annotations.insert(PREDICATE_TYPE.into(), predicate.kind.clone());
    Ok(statement)
}

fn config(statements: &[Document]) -> String {
    let diff_ids = statements.iter().map(|statement| statement.descriptor.digest.clone());
    json::compact(&ImageConfig {
        architecture: "unknown",
        os: "unknown",
        config: serde_json::Map::new(),
        rootfs: Rootfs { r#type: "layers", diff_ids: diff_ids.collect() },
    })
}

/// Says of each file that the scan of a result lists which layer it came with.
pub(crate) async fn supplement(
    predicates: &mut [Predicate],
    files: Option<&Ref>,
    layers: &[ImageLayer],
    requester: &Requester,
) -> Result<(), ExportError> {
    let Some(files) = files else { return Ok(()) };
    let scans = predicates.iter_mut().filter(|scan| scan.is_core && scan.kind == SPDX);
    for scan in scans {
        let known = LayerFiles::of(&files.files(requester).await?, layers);
        let content = scan.content.clone();
        let work = move || {
            let tool = concat!("kiln-", env!("CARGO_PKG_VERSION"));
            kiln_provenance::supplement(&content, tool, |name| known.layer_of(name))
        };
        let done = tokio::task::spawn_blocking(work).await;
        if let Some(content) = done.map_err(|error| ExportError::Read(error.into()))? {
            scan.content = content.into();
        }
    }
    Ok(())
}
