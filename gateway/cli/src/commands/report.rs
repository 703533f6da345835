//! Gathers what a page about a build shows: a record comes in, everything that it refers to is asked
//! of the daemon. What the daemon does not give is said on the page and is no error.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow, bail};
use futures::TryStreamExt as _;
use kiln_client::Client;
use kiln_oci::Digest;
use kiln_progress::wire::from_response;
use kiln_wire::MAX_MESSAGE_BYTES;
use kiln_wire::proto::content::ReadContentRequest;
use kiln_wire::proto::content::content_client::ContentClient;
use kiln_wire::proto::control::{BuildHistoryRecord, BuildResultInfo, Descriptor};
use kiln_wire::proto::rpc;
use kiln_wire::status::RichStatus;
use prost::Message as _;

use crate::page::{Failure, ImageManifest, Output, Provenance, Report, Steps};

/// The longest document that is read, in bytes.
const MAX_DOCUMENT: i64 = 32 << 20;
/// How many documents are read at most.
const MAX_DOCUMENTS: usize = 200;
/// A build that runs tells at once what has happened; after such a pause that was all.
const PAUSE: Duration = Duration::from_millis(400);
/// However much it tells, no longer is listened to a build that runs.
const LISTEN: Duration = Duration::from_secs(5);

/// The names of the annotation of a predicate type.
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

/// Everything about a build that a page shows.
pub(super) async fn gather(client: &Client, record: BuildHistoryRecord) -> Report {
    let mut reader = Reader { client, left: MAX_DOCUMENTS, missing: Vec::new() };
    let mut steps = Steps::default();
    if let Err(error) = progress(client, &record, &mut steps).await {
        reader.missing.push(format!("The progress of the build could not be read: {error:#}."));
    }
    steps.finish();
    let failure = reader.failure(&record).await;
    let platforms = record.results.iter().map(|(id, result)| (Some(id.as_str()), result));
    let results: Vec<(Option<&str>, &BuildResultInfo)> =
        record.result.iter().map(|result| (None, result)).chain(platforms).collect();
    let mut provenance = Vec::new();
    for (platform, result) in &results {
        for attestation in &result.attestations {
            provenance.push(reader.provenance(attestation, *platform).await);
        }
    }
    let mut outputs = Vec::new();
    for descriptor in results.iter().flat_map(|(_, result)| descriptors(result)) {
        if !outputs.iter().any(|output: &Output| output.digest == descriptor.digest) {
            outputs.push(reader.output(descriptor).await);
        }
    }
    let missing = reader.missing;
    Report { record, steps, failure, outputs, provenance, missing, made: SystemTime::now() }
}

/// What was exported, under old names and new ones.
fn descriptors(result: &BuildResultInfo) -> impl Iterator<Item = &Descriptor> {
    result.results.values().chain(&result.result_deprecated)
}

/// Reads the progress of a build: all of it, or what there is if the build still runs.
async fn progress(
    client: &Client,
    record: &BuildHistoryRecord,
    steps: &mut Steps,
) -> anyhow::Result<()> {
    let mut messages = client.status(&record.r#ref).await?;
    let runs = record.completed_at.is_none();
    let end = tokio::time::Instant::now() + LISTEN;
    loop {
        let next = messages.try_next();
        let message = match runs {
            false => next.await?,
            true if tokio::time::Instant::now() > end => None,
            true => match tokio::time::timeout(PAUSE, next).await {
                Ok(message) => message?,
                Err(_) => None,
            },
        };
        let Some(message) = message else { return Ok(()) };
        from_response(message).into_iter().for_each(|progress| steps.apply(progress));
    }
}

/// Reads documents of a build.
struct Reader<'a> {
    client: &'a Client,
    /// How many more may be read.
    left: usize,
    /// What could not be read.
    missing: Vec<String>,
}

impl Reader<'_> {
    /// Why a build failed, with everything that is said about it.
    async fn failure(&mut self, record: &BuildHistoryRecord) -> Option<Failure> {
        let short = record.error.clone().map(RichStatus::from_rpc)?;
        let Some(descriptor) = &record.external_error else { return Some(Failure::of(&short)) };
        let whole = self.document(descriptor).await;
        match whole.and_then(|bytes| Ok(rpc::Status::decode(bytes.as_slice())?)) {
            Ok(status) => Some(Failure::of(&RichStatus::from_rpc(status))),
            Err(error) => {
                self.missing.push(format!("Where the build failed could not be read: {error:#}."));
                Some(Failure::of(&short))
            }
        }
    }

    async fn provenance(&mut self, descriptor: &Descriptor, of: Option<&str>) -> Provenance {
        let kind = descriptor.annotations.get(PREDICATE_TYPE).unwrap_or(&descriptor.media_type);
        let (digest, size) = (descriptor.digest.as_str(), descriptor.size);
        let said = Provenance::new(kind, digest, size, of);
        match self.document(descriptor).await {
            Ok(document) => said.read(&document),
            Err(error) => {
                self.missing.push(format!("What was used could not be read: {error:#}."));
                said
            }
        }
    }

    async fn output(&mut self, descriptor: &Descriptor) -> Output {
        let mut output = Output {
            media_type: descriptor.media_type.clone(),
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            images: Vec::new(),
        };
        // Where the content of results is not kept with the record, the digest is what is known.
        let Ok(document) = self.document(descriptor).await else { return output };
        let listed = ImageManifest::of_index(&document);
        if listed.is_empty() {
            let only = ImageManifest { digest: descriptor.digest.clone(), ..Default::default() };
            output.images.push(only.with_layers(&document));
        }
        for image in listed {
            let manifest = Descriptor { digest: image.digest.clone(), ..Descriptor::default() };
            output.images.push(match self.document(&manifest).await {
                Ok(document) => image.with_layers(&document),
                Err(_) => image,
            });
        }
        output
    }

    /// A document that belongs to the record.
    async fn document(&mut self, descriptor: &Descriptor) -> anyhow::Result<Vec<u8>> {
        self.left =
            self.left.checked_sub(1).ok_or_else(|| anyhow!("there are too many documents"))?;
        if descriptor.size > MAX_DOCUMENT {
            bail!("{} is too long", descriptor.digest);
        }
        let request = ReadContentRequest { digest: descriptor.digest.clone(), offset: 0, size: 0 };
        let mut content =
            ContentClient::new(self.client.channel()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let read = async {
            let mut pieces = content.read(request).await?.into_inner();
            let mut bytes = Vec::new();
            while let Some(piece) = pieces.try_next().await? {
                bytes.extend_from_slice(&piece.data);
                if bytes.len() as u64 > MAX_DOCUMENT.unsigned_abs() {
                    return Err(tonic::Status::out_of_range("it is too long"));
                }
            }
            Ok::<_, tonic::Status>(bytes)
        };
        let bytes = read.await.map_err(|status| RichStatus::from_status(&status));
        let bytes = bytes.with_context(|| format!("failed to read {}", descriptor.digest))?;
        if Digest::sha256(&bytes).as_str() != descriptor.digest {
            bail!("{} is something else than its digest says", descriptor.digest);
        }
        Ok(bytes)
    }
}
