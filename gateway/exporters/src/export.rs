//! The API of this crate: a result and a list of exports in, what clients are told out.
//!
//! Exports run at the same time, each in a vertex of its own. The first that fails ends the
//! others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::future::try_join_all;
use kiln_frontend::{BuildResult, keys};
use kiln_oci::{Descriptor, Digest, Platform};
use kiln_progress::Sender;
use kiln_registry::{Credentials, Registry};
use kiln_store::{Blob, Ref, Requester, Store};

use crate::archive::Archive;
use crate::assemble::{Document, Image, made};
use crate::claims::{Claim, Claims};
use crate::client::{Client, ClientError};
use crate::error::ExportError;
use crate::options::{Export, Kind, Name, Names};
use crate::target::{TargetError, Targets, epoch};
use crate::vertex::{Clock, Reporter};
use crate::{files, image, layout, pipe};

/// What exporters may use.
#[derive(Clone)]
pub struct ExportContext {
    /// Where results and blobs are.
    pub store: Store,
    /// Who gets archives and directories; without it only images can be exported.
    pub client: Option<Arc<dyn Client>>,
    /// The session's id, part of the addresses of the vertices.
    pub session: String,
    /// How to reach registries.
    pub registry: Registry,
    /// In whose name.
    pub credentials: Arc<dyn Credentials>,
    /// Who watches.
    pub progress: Sender,
    /// The platform of results that name none.
    pub platform: Platform,
    /// The clock.
    pub clock: Clock,
    /// What the builder itself claims about the result, by platform id.
    pub claims: BTreeMap<String, Vec<Claim>>,
    /// A cache that rides in the images.
    pub inline_cache: Option<Arc<dyn InlineCache>>,
}

/// A cache that rides in the config of an image.
#[async_trait]
pub trait InlineCache: Send + Sync {
    /// The cache for the image of a platform; `None` if there is nothing to say. `platform` is the key of
    /// the result, which may have only one; `stored` are the layers as results are known by them, and
    /// `exported` as the image has them, by diff id.
    ///
    /// # Errors
    ///
    /// Whatever failed.
    async fn records(
        &self,
        platform: &str,
        stored: &[Digest],
        exported: &[Digest],
    ) -> Result<Option<CacheRecords>, ClientError>;
}

/// A cache as it stands in the config of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheRecords {
    /// The records as JSON.
    pub records: Vec<u8>,
    /// Signatures of the records and the layers.
    pub signatures: Vec<String>,
}

impl std::fmt::Debug for ExportContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExportContext").field("session", &self.session).finish_non_exhaustive()
    }
}

impl ExportContext {
    /// For whom layers are fetched that an export wants to see: the client, shown at the export.
    pub(crate) fn requester(&self, reporter: &Reporter) -> Requester {
        let sessions = vec![self.session.clone()];
        Requester { sessions, vertex: reporter.vertex(), progress: self.progress.clone() }
    }

    pub(crate) fn client(&self) -> Result<&dyn Client, ExportError> {
        self.client.as_deref().ok_or(ExportError::NoSession)
    }
}

/// Writes a result to every place it should go, and gives what came of it.
///
/// Where several exports say something under the same key, the last one counts.
///
/// # Errors
///
/// The first failure; what other exports did until then stays done.
///
/// # Cancellation
///
/// Dropping the future ends streams to the client and to registries; an archive that was half sent
/// ends in an error at the client.
pub fn export<'a>(
    exports: &'a [Export],
    result: &'a BuildResult<Ref>,
    context: &'a ExportContext,
) -> BoxFuture<'a, Result<Exported, ExportError>> {
    Box::pin(async move {
        let mut runs = Vec::with_capacity(exports.len());
        for (index, export) in exports.iter().enumerate() {
            runs.push(one(index, export, result, context));
        }
        let mut exported = Exported::default();
        for (index, one) in try_join_all(runs).await?.into_iter().enumerate() {
            exported.response.extend(one.response);
            exported.images.extend(one.image.map(|image| (index, image)));
        }
        Ok(exported)
    })
}

/// A file system of a result: its id, its platform, and itself unless it is empty.
pub type FileSystem<'r, R> = (String, Platform, Option<&'r R>);

/// The file systems of a result with their platforms, in order, by the ids that attestations have.
/// `default` is the platform of a result that names none.
///
/// # Errors
///
/// If the result does not fit its list of platforms.
pub fn targets<'r, R>(
    result: &'r BuildResult<R>,
    default: &Platform,
) -> Result<Vec<FileSystem<'r, R>>, TargetError> {
    let targets = Targets::of(&result.refs, &result.metadata, default)?;
    let named = targets.list.into_iter().map(|target| (target.id, target.platform, target.files));
    Ok(named.collect())
}

/// What came of the exports of a build.
#[derive(Clone, Debug, Default)]
pub struct Exported {
    /// What the client is told.
    pub response: BTreeMap<String, String>,
    /// The images among the exports, by their number.
    pub images: BTreeMap<usize, ExportedImage>,
}

/// An image that was exported.
#[derive(Clone, Debug)]
pub struct ExportedImage {
    /// Its index, or its only manifest.
    pub root: Descriptor,
    /// All that it consists of but its layers.
    pub documents: Vec<Document>,
}

impl From<&Image> for ExportedImage {
    fn from(image: &Image) -> Self {
        Self { root: image.root.clone(), documents: image.documents().cloned().collect() }
    }
}

/// What came of one export.
#[derive(Default)]
struct Outcome {
    response: BTreeMap<String, String>,
    image: Option<ExportedImage>,
}

async fn one(
    index: usize,
    export: &Export,
    result: &BuildResult<Ref>,
    context: &ExportContext,
) -> Result<Outcome, ExportError> {
    let digest = Digest::sha256(format!("{}-export-{index}", context.session));
    let title = export.kind.title();
    let reporter = Reporter::start(&context.progress, digest, title, context.clock);
    let run = Run { context, export, result, reporter: &reporter };
    let done = run.run().await;
    reporter.finish(done.as_ref().err().map(|error| error as &dyn std::error::Error));
    done
}

/// One export.
struct Run<'a> {
    context: &'a ExportContext,
    export: &'a Export,
    result: &'a BuildResult<Ref>,
    reporter: &'a Reporter,
}

impl Run<'_> {
    async fn run(&self) -> Result<Outcome, ExportError> {
        let (context, export, reporter) = (self.context, self.export, self.reporter);
        let metadata = self.metadata();
        let targets = Targets::of(&self.result.refs, &metadata, &context.platform)?;
        match export.kind {
            Kind::Tar => {
                files::export_tar(context, export, &targets, &metadata, self.claims(), reporter)
                    .await?;
                Ok(Outcome::default())
            }
            Kind::Local => {
                files::export_local(context, export, &targets, &metadata, self.claims(), reporter)
                    .await?;
                Ok(Outcome::default())
            }
            Kind::Image => self.image(&targets, &metadata).await,
            Kind::Oci | Kind::Docker => self.archive(&targets, &metadata).await,
        }
    }

    fn claims(&self) -> Claims<'_> {
        Claims { frontend: &self.result.attestations, own: &self.context.claims }
    }

    /// What the frontend said, overridden by what the client said.
    fn metadata(&self) -> BTreeMap<String, Bytes> {
        let mut metadata = self.result.metadata.clone();
        let own = self.export.options.metadata.iter();
        metadata.extend(own.map(|(key, value)| (key.clone(), Bytes::from(value.clone()))));
        metadata
    }

    async fn image(
        &self,
        targets: &Targets<'_, Ref>,
        metadata: &BTreeMap<String, Bytes>,
    ) -> Result<Outcome, ExportError> {
        let (image, names, mut response) = self.assemble(targets, metadata).await?;
        let options = &self.export.options;
        image::name_and_push(self.context, options, &image, &names, self.reporter).await?;
        if !names.is_empty() {
            let texts: Vec<&str> = names.iter().map(|name| name.text.as_str()).collect();
            response.insert(keys::IMAGE_NAME.into(), texts.join(","));
        }
        Ok(Outcome { response, image: Some((&image).into()) })
    }

    async fn archive(
        &self,
        targets: &Targets<'_, Ref>,
        metadata: &BTreeMap<String, Bytes>,
    ) -> Result<Outcome, ExportError> {
        let kind = self.export.kind;
        if kind == Kind::Docker && targets.multi {
            return Err(ExportError::DockerIndex);
        }
        let context = self.context;
        let client = context.client()?;
        let (image, names, mut response) = self.assemble(targets, metadata).await?;
        if !names.is_empty() {
            let texts: Vec<String> = names.iter().map(|name| name.reference.to_string()).collect();
            response.insert(keys::IMAGE_NAME.into(), texts.join(","));
        }
        let exported = Some((&image).into());
        if !self.export.options.tar {
            let requester = context.requester(self.reporter);
            layout::store(context, client, &image, &requester, self.reporter).await?;
            return Ok(Outcome { response, image: exported });
        }
        let blobs = self.blobs(&image).await?;
        let archive = match kind {
            Kind::Docker => Archive::docker(&image, &names, blobs),
            _ => Archive::layout(&image, &names, blobs),
        };
        let status = self.reporter.status("sending tarball");
        let body = pipe::pipe(move |out| archive.write(out));
        let sent = client.send_stream(&self.export.id, &response, body).await;
        sent.map_err(ExportError::Client)?;
        status.done();
        Ok(Outcome { response, image: exported })
    }

    /// The layers of an image, fetched where they are not here.
    async fn blobs(&self, image: &Image) -> Result<Vec<Blob>, ExportError> {
        let requester = self.context.requester(self.reporter);
        let fetched = image.layers().into_iter().map(|layer| layer.blob(&requester));
        Ok(try_join_all(fetched).await?)
    }

    /// The image, its names, and what the client is told about it.
    async fn assemble(
        &self,
        targets: &Targets<'_, Ref>,
        metadata: &BTreeMap<String, Bytes>,
    ) -> Result<(Image, Vec<Name>, BTreeMap<String, String>), ExportError> {
        let options = &self.export.options;
        let names = match &options.names {
            Names::None => Vec::new(),
            Names::Given(names) => names.clone(),
            Names::FromResult => {
                let names = metadata.get(keys::IMAGE_NAME).map(|name| &name[..]);
                Name::parse_list(&String::from_utf8_lossy(names.unwrap_or_default()))?
            }
        };
        let (claims, reporter) = (self.claims(), self.reporter);
        let assembled =
            Image::assemble(self.context, options, targets, metadata, claims, &names, reporter);
        let mut image = assembled.await?;
        let newest = targets.list.iter().filter_map(made).max();
        let now: SystemTime = newest.unwrap_or_else(|| (self.context.clock)());
        // Without a platform's own epoch, that of the whole result.
        let time = epoch(options, metadata, "")?.unwrap_or_else(|| now.into());
        image.date(time);
        let response = image.response(self.export.kind == Kind::Image);
        Ok((image, names, response))
    }
}
