//! The gateway service: the bridge, as the far side of a gRPC connection sees it.
//!
//! One connection may carry one build (a frontend's standard streams) or many (the control socket,
//! where metadata names the build); [`Find`] tells which bridge a call is for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use kiln_wire::proto::apicaps::ApiCap;
use kiln_wire::proto::gateway as wire;
use kiln_wire::proto::gateway::llb_bridge_server::{LlbBridge, LlbBridgeServer};
use kiln_wire::proto::types::WorkerRecord;
use kiln_wire::status::RichStatus;
use tokio::sync::oneshot;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxStream;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::container_table::Table;
use crate::containers::ContainerRequest;
use crate::convert::{
    inputs_from_wire, inputs_to_wire, platform_from_wire, platform_to_wire, result_from_wire,
    result_to_wire, source_from_wire,
};
use crate::convert_daemon::{
    cache_imports_from_wire, checksum_from_wire, digest_to_wire, policies_from_wire,
    source_meta_to_wire,
};
use crate::exec_stream;
use crate::{
    Bridge, BuildResult, FileRange, FileStat, FrontendError, ImageConfigRequest, LayoutStore, Ref,
    Solve, SourceInfo, SourceRequest, Warning, Worker,
};

/// The resolver type of images of registries.
const REGISTRY: i32 = 0;
/// The resolver type of images that are in a client's OCI layout.
const OCI_LAYOUT: i32 = 1;

/// What a frontend returned.
pub type Returned = Result<BuildResult<Ref>, FrontendError>;

/// A bridge with the place where its frontend's result goes.
pub struct FrontendSession {
    bridge: Arc<dyn Bridge>,
    returned: Mutex<Option<oneshot::Sender<Returned>>>,
    /// The result that a frontend from before `Return` (2018) called its last.
    last: Mutex<Option<BuildResult<Ref>>>,
    calls: AtomicUsize,
    containers: Arc<Table>,
}

impl FrontendSession {
    /// FrontendRegistry a frontend; the receiver gets what it returns.
    pub fn new(bridge: Arc<dyn Bridge>) -> (Arc<Self>, oneshot::Receiver<Returned>) {
        let (sender, receiver) = oneshot::channel();
        let returned = Mutex::new(Some(sender));
        let (last, calls) = (Mutex::default(), AtomicUsize::new(0));
        let containers = Arc::default();
        (Arc::new(Self { bridge, returned, last, calls, containers }), receiver)
    }

    /// The result that was called the last one, if the frontend did that. It counts when the frontend
    /// ends well.
    pub fn take_final(&self) -> Option<BuildResult<Ref>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// How many calls the frontend has made.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

/// Tells which bridge a call is for.
#[async_trait]
pub trait Find: Send + Sync + 'static {
    /// The bridge, by the metadata of the call.
    async fn find(&self, metadata: &MetadataMap) -> Result<Arc<FrontendSession>, Status>;
}

/// Every call is for the same bridge.
#[async_trait]
impl Find for Arc<FrontendSession> {
    async fn find(&self, _: &MetadataMap) -> Result<Self, Status> {
        Ok(Self::clone(self))
    }
}

/// The service for a way to find bridges.
pub fn service<F: Find>(find: F) -> LlbBridgeServer<Gateway<F>> {
    LlbBridgeServer::new(Gateway(find))
        .max_decoding_message_size(kiln_wire::MAX_MESSAGE_BYTES)
        .max_encoding_message_size(kiln_wire::MAX_MESSAGE_BYTES)
}

/// The service.
pub struct Gateway<F>(F);

impl<F: Find> Gateway<F> {
    async fn open<T>(&self, request: Request<T>) -> Result<(Arc<FrontendSession>, T), Status> {
        let session = self.0.find(request.metadata()).await?;
        session.calls.fetch_add(1, Ordering::Relaxed);
        Ok((session, request.into_inner()))
    }
}

/// Bytes of a file as they are asked for.
fn file_range(range: wire::FileRange) -> Result<FileRange, Status> {
    let wire::FileRange { offset, length } = range;
    let number = |name, number: i64| {
        let invalid = || Status::invalid_argument(format!("invalid {name} {number} of a range"));
        u64::try_from(number).map_err(|_| invalid())
    };
    Ok(FileRange { offset: number("Offset", offset)?, length: number("Length", length)? })
}

/// Refs have no mounts; containers do.
fn check_mount(index: i64) -> Result<(), Status> {
    match index {
        0 => Ok(()),
        _ => Err(Status::invalid_argument(format!(
            "MountIndex {index} is for files of a container, not of a ref"
        ))),
    }
}

/// Which mount of a container is asked about.
fn mount_index(index: i64) -> Result<usize, Status> {
    usize::try_from(index)
        .map_err(|_| Status::invalid_argument(format!("mount index {index} is out of bounds")))
}

/// What the service cannot be asked for yet. Its capabilities do not promise it either.
fn unsupported(what: &str) -> Status {
    Status::unimplemented(format!("{what} cannot be resolved by this version; ask without"))
}

/// Metadata as frontends of 2018 handed it over: JSON, with values in base64.
fn exporter_attr(json: &[u8]) -> Result<BTreeMap<String, Bytes>, Status> {
    if json.is_empty() {
        return Ok(BTreeMap::new());
    }
    let invalid = |error: &dyn std::fmt::Display| {
        Status::invalid_argument(format!("ExporterAttr is not a map of base64 values: {error}"))
    };
    let texts: BTreeMap<String, Option<String>> =
        serde_json::from_slice(json).map_err(|error| invalid(&error))?;
    let value = |(name, text): (String, Option<String>)| {
        let value = STANDARD.decode(text.unwrap_or_default()).map_err(|error| invalid(&error))?;
        Ok((name, Bytes::from(value)))
    };
    texts.into_iter().map(value).collect()
}

fn answer<T>(result: Result<T, FrontendError>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|error| error.to_status())
}

#[async_trait]
impl<F: Find> LlbBridge for Gateway<F> {
    async fn new_container(
        &self,
        request: Request<wire::NewContainerRequest>,
    ) -> Result<Response<wire::NewContainerResponse>, Status> {
        let (session, request) = self.open(request).await?;
        let containers = session.bridge.containers();
        let containers = containers
            .ok_or_else(|| Status::unimplemented("this daemon runs no containers of frontends"))?;
        let name = request.container_id.clone();
        let made = containers
            .create(ContainerRequest(request))
            .await
            .map_err(|error| error.to_status())?;
        session.containers.add(&name, made)?;
        Ok(Response::new(wire::NewContainerResponse {}))
    }

    async fn release_container(
        &self,
        request: Request<wire::ReleaseContainerRequest>,
    ) -> Result<Response<wire::ReleaseContainerResponse>, Status> {
        let (session, request) = self.open(request).await?;
        session.containers.release(&request.container_id).await?;
        Ok(Response::new(wire::ReleaseContainerResponse {}))
    }

    async fn exec_process(
        &self,
        request: Request<Streaming<wire::ExecMessage>>,
    ) -> Result<Response<BoxStream<wire::ExecMessage>>, Status> {
        let (session, messages) = self.open(request).await?;
        let table = Arc::downgrade(&session.containers);
        let answers = ReceiverStream::new(exec_stream::serve(table, messages));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn read_file_container(
        &self,
        request: Request<wire::ReadFileRequest>,
    ) -> Result<Response<wire::ReadFileResponse>, Status> {
        let (session, request) = self.open(request).await?;
        let container = session.containers.get(&request.r#ref)?;
        let mount = mount_index(request.mount_index)?;
        let range = request.range.map(file_range).transpose()?;
        let data = container.read_file(mount, &request.file_path, range).await;
        answer(data.map(|data| wire::ReadFileResponse { data }))
    }

    async fn read_dir_container(
        &self,
        request: Request<wire::ReadDirRequest>,
    ) -> Result<Response<wire::ReadDirResponse>, Status> {
        let (session, request) = self.open(request).await?;
        let container = session.containers.get(&request.r#ref)?;
        let mount = mount_index(request.mount_index)?;
        let entries = container.read_dir(mount, &request.dir_path, &request.include_pattern).await;
        answer(entries.map(listed))
    }

    async fn stat_file_container(
        &self,
        request: Request<wire::StatFileRequest>,
    ) -> Result<Response<wire::StatFileResponse>, Status> {
        let (session, request) = self.open(request).await?;
        let container = session.containers.get(&request.r#ref)?;
        let mount = mount_index(request.mount_index)?;
        let stat = container.stat_file(mount, &request.path).await;
        answer(stat.map(|stat| wire::StatFileResponse { stat: Some(stat.into_wire()) }))
    }

    async fn ping(
        &self,
        request: Request<wire::PingRequest>,
    ) -> Result<Response<wire::PongResponse>, Status> {
        let (session, _) = self.open(request).await?;
        Ok(Response::new(wire::PongResponse {
            frontend_api_caps: enabled(&session.bridge.info().gateway_caps),
            llb_caps: enabled(&session.bridge.info().llb_caps),
            workers: session.bridge.info().workers.iter().map(worker_record).collect(),
        }))
    }

    async fn resolve_image_config(
        &self,
        request: Request<wire::ResolveImageConfigRequest>,
    ) -> Result<Response<wire::ResolveImageConfigResponse>, Status> {
        let (session, request) = self.open(request).await?;
        let wire::ResolveImageConfigRequest {
            r#ref,
            platform,
            resolve_mode,
            log_name,
            resolver_type,
            session_id,
            store_id,
            source_policies,
        } = request;
        let layout = match resolver_type {
            REGISTRY => None,
            OCI_LAYOUT => Some(LayoutStore { session_id, store_id }),
            other => return Err(unsupported(&format!("images of ResolverType {other}"))),
        };
        let platform = platform.map(platform_from_wire);
        let source_policies = policies_from_wire(source_policies);
        let asked =
            ImageConfigRequest { platform, resolve_mode, log_name, layout, source_policies };
        let image = session.bridge.resolve_image(&r#ref, asked).await;
        answer(image.and_then(|image| match image.non_image {
            None => Ok(wire::ResolveImageConfigResponse {
                digest: digest_to_wire(image.digest),
                config: image.config,
                r#ref: image.reference,
            }),
            // This question has no way to say so, so it is an error.
            Some(source) => {
                let message = format!("ref mutated by policy to non-image: {source}");
                Err(FrontendError::unknown(message))
            }
        }))
    }

    async fn resolve_source_meta(
        &self,
        request: Request<wire::ResolveSourceMetaRequest>,
    ) -> Result<Response<wire::ResolveSourceMetaResponse>, Status> {
        let (session, request) = self.open(request).await?;
        let wire::ResolveSourceMetaRequest {
            source,
            platform,
            log_name,
            resolve_mode,
            git,
            image,
            http,
            source_policies,
        } = request;
        let source = source.ok_or_else(|| Status::invalid_argument("no source was named"))?;
        let wire::ResolveSourceImageRequest { no_config, attestation_chain, resolve_attestations } =
            image.unwrap_or_default();
        let checksum = http.and_then(|http| http.checksum_request);
        let checksum = checksum.map(checksum_from_wire).transpose();
        let asked = SourceRequest {
            platform: platform.map(platform_from_wire),
            resolve_mode,
            log_name,
            git_object: git.is_some_and(|git| git.return_object),
            no_config,
            attestation_chain,
            attestations: resolve_attestations,
            checksum: checksum.map_err(Status::invalid_argument)?,
            source_policies: policies_from_wire(source_policies),
        };
        let meta = session.bridge.resolve_source(source_from_wire(source), asked).await;
        answer(meta.map(source_meta_to_wire))
    }

    async fn solve(
        &self,
        request: Request<wire::SolveRequest>,
    ) -> Result<Response<wire::SolveResponse>, Status> {
        let (session, request) = self.open(request).await?;
        let wire::SolveRequest {
            definition,
            frontend,
            frontend_opt: options,
            // The answer has the result and, for older clients, its ref.
            allow_result_return: _,
            allow_result_array_ref: arrays,
            r#final: last,
            // It belongs to the last result.
            exporter_attr: attrs,
            cache_imports,
            frontend_inputs: inputs,
            evaluate,
            source_policies,
        } = request;
        let said = last.then(|| exporter_attr(&attrs)).transpose()?;
        let cache_imports = cache_imports_from_wire(cache_imports);
        let solve = Solve {
            definition: definition.map(kiln_llb::wire::from_message),
            frontend,
            options,
            inputs: inputs_from_wire(inputs),
            evaluate,
            cache_imports,
            source_policies: policies_from_wire(source_policies),
        };
        let result = session.bridge.solve(solve).await.map_err(|error| error.to_status())?;
        if let Some(said) = said {
            let mut last = result.clone();
            for (name, value) in said {
                last.metadata.entry(name).or_insert(value);
            }
            *session.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
        }
        let first = result.iter().find_map(|(_, one)| one.cloned());
        let first = first.map(|one| one.0).unwrap_or_default();
        let mut graphs = BTreeMap::new();
        if arrays {
            for one in result.held() {
                // A bridge that does not tell graphs is as good for everything else.
                if let Ok(Some(graph)) = session.bridge.definition(one).await {
                    graphs.insert(one.clone(), kiln_llb::wire::to_message(graph));
                }
            }
        }
        let mut wired = result_to_wire(result, &graphs);
        // Clients from before ref messages know refs by their names alone.
        if !arrays {
            wired.result = wired.result.map(deprecated);
        }
        Ok(Response::new(wire::SolveResponse { r#ref: first, result: Some(wired) }))
    }

    async fn read_file(
        &self,
        request: Request<wire::ReadFileRequest>,
    ) -> Result<Response<wire::ReadFileResponse>, Status> {
        let (session, request) = self.open(request).await?;
        let wire::ReadFileRequest { r#ref, file_path, range, mount_index } = request;
        check_mount(mount_index)?;
        let range = range.map(file_range).transpose()?;
        let data = session.bridge.read_file(&Ref(r#ref), &file_path, range).await;
        answer(data.map(|data| wire::ReadFileResponse { data }))
    }

    async fn read_dir(
        &self,
        request: Request<wire::ReadDirRequest>,
    ) -> Result<Response<wire::ReadDirResponse>, Status> {
        let (session, request) = self.open(request).await?;
        let wire::ReadDirRequest { r#ref, dir_path, include_pattern, mount_index } = request;
        check_mount(mount_index)?;
        let entries = session.bridge.read_dir(&Ref(r#ref), &dir_path, &include_pattern).await;
        answer(entries.map(listed))
    }

    async fn stat_file(
        &self,
        request: Request<wire::StatFileRequest>,
    ) -> Result<Response<wire::StatFileResponse>, Status> {
        let (session, request) = self.open(request).await?;
        let wire::StatFileRequest { r#ref, path, mount_index } = request;
        check_mount(mount_index)?;
        let stat = session.bridge.stat_file(&Ref(r#ref), &path).await;
        answer(stat.map(|stat| wire::StatFileResponse { stat: Some(stat.into_wire()) }))
    }

    async fn evaluate(
        &self,
        request: Request<wire::EvaluateRequest>,
    ) -> Result<Response<wire::EvaluateResponse>, Status> {
        let (session, request) = self.open(request).await?;
        answer(
            session.bridge.evaluate(&Ref(request.r#ref)).await.map(|()| wire::EvaluateResponse {}),
        )
    }

    async fn r#return(
        &self,
        request: Request<wire::ReturnRequest>,
    ) -> Result<Response<wire::ReturnResponse>, Status> {
        let (session, request) = self.open(request).await?;
        let wire::ReturnRequest { result, error } = request;
        let returned = match error {
            Some(error) => Err(FrontendError(RichStatus::from_rpc(error))),
            None => Ok(result.map(result_from_wire).unwrap_or_default()),
        };
        let sender = session.returned.lock().unwrap_or_else(PoisonError::into_inner).take();
        let sender = sender
            .ok_or_else(|| Status::new(Code::AlreadyExists, "the frontend has returned already"))?;
        // The build may have been cancelled meanwhile.
        sender.send(returned).ok();
        Ok(Response::new(wire::ReturnResponse {}))
    }

    async fn inputs(
        &self,
        request: Request<wire::InputsRequest>,
    ) -> Result<Response<wire::InputsResponse>, Status> {
        let (session, _) = self.open(request).await?;
        let inputs = session.bridge.inputs().await.map(inputs_to_wire);
        answer(inputs.map(|definitions| wire::InputsResponse { definitions }))
    }

    async fn warn(
        &self,
        request: Request<wire::WarnRequest>,
    ) -> Result<Response<wire::WarnResponse>, Status> {
        let (session, request) = self.open(request).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let wire::WarnRequest { digest: vertex, level, short, detail, url, info, ranges } = request;
        let (short, detail) = (text(&short), detail.iter().map(|line| text(line)).collect());
        let info = info.map(SourceInfo);
        let ranges = ranges.iter().map(kiln_llb::wire::range_from_message).collect();
        let warning = Warning { vertex, level, short, detail, url, info, ranges };
        answer(session.bridge.warn(warning).await.map(|()| wire::WarnResponse {}))
    }
}

/// A directory as it travels.
fn listed(entries: Vec<FileStat>) -> wire::ReadDirResponse {
    wire::ReadDirResponse { entries: entries.into_iter().map(FileStat::into_wire).collect() }
}

/// Capabilities as they travel.
fn enabled(caps: &BTreeSet<String>) -> Vec<ApiCap> {
    caps.iter().map(|id| ApiCap { id: id.clone(), enabled: true, ..ApiCap::default() }).collect()
}

/// What a frontend is told about a worker.
fn worker_record(worker: &Worker) -> WorkerRecord {
    WorkerRecord {
        id: worker.id.clone(),
        labels: worker.labels.clone(),
        platforms: worker.platforms.iter().cloned().map(platform_to_wire).collect(),
        ..WorkerRecord::default()
    }
}

/// A result in the form of old clients.
fn deprecated(result: wire::result::Result) -> wire::result::Result {
    use wire::result::Result as Wire;
    match result {
        Wire::Ref(one) => Wire::RefDeprecated(one.id),
        Wire::Refs(map) => {
            let refs = map.refs.into_iter().map(|(platform, one)| (platform, one.id)).collect();
            Wire::RefsDeprecated(wire::RefMapDeprecated { refs })
        }
        other => other,
    }
}
