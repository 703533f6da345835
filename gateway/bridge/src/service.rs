//! The gateway service: the bridge, as the far side of a gRPC connection sees it.
//!
//! One connection may carry one build (a frontend's standard streams) or many (the control socket,
//! where metadata names the build); [`Find`] tells which bridge a call is for.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use kiln_frontend::{
    Bridge, BuildResult, FileRange, ImageConfigRequest, Ref, Solve, Warning,
    grpc::{platform_from_wire, result_from_wire, result_to_wire},
};
use kiln_wire::caps;
use kiln_wire::proto::gateway as wire;
use kiln_wire::proto::gateway::llb_bridge_server::{LlbBridge, LlbBridgeServer};
use kiln_wire::status::RichStatus;
use tokio::sync::oneshot;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};

use crate::build_bridge::worker_record;

/// What a frontend returned.
pub type Returned = Result<BuildResult<Ref>, RichStatus>;

/// A bridge with the place where its frontend's result goes.
pub struct Seated {
    bridge: Arc<dyn Bridge>,
    returned: Mutex<Option<oneshot::Sender<Returned>>>,
}

impl Seated {
    /// Seats a frontend; the receiver gets what it returns.
    pub fn new(bridge: Arc<dyn Bridge>) -> (Arc<Self>, oneshot::Receiver<Returned>) {
        let (sender, receiver) = oneshot::channel();
        (Arc::new(Self { bridge, returned: Mutex::new(Some(sender)) }), receiver)
    }
}

/// Tells which bridge a call is for.
#[async_trait]
pub trait Find: Send + Sync + 'static {
    /// The bridge, by the metadata of the call.
    async fn find(&self, metadata: &MetadataMap) -> Result<Arc<Seated>, Status>;
}

/// Every call is for the same bridge.
#[async_trait]
impl Find for Arc<Seated> {
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
    async fn open<T>(&self, request: Request<T>) -> Result<(Arc<Seated>, T), Status> {
        let seated = self.0.find(request.metadata()).await?;
        Ok((seated, request.into_inner()))
    }
}

fn answer<T>(result: Result<T, RichStatus>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|status| status.to_status())
}

#[async_trait]
impl<F: Find> LlbBridge for Gateway<F> {
    async fn ping(
        &self,
        request: Request<wire::PingRequest>,
    ) -> Result<Response<wire::PongResponse>, Status> {
        let (seated, _) = self.open(request).await?;
        Ok(Response::new(wire::PongResponse {
            frontend_api_caps: caps::advertise(caps::GATEWAY),
            llb_caps: caps::advertise(caps::LLB),
            workers: seated.bridge.info().workers.iter().map(worker_record).collect(),
        }))
    }

    async fn resolve_image_config(
        &self,
        request: Request<wire::ResolveImageConfigRequest>,
    ) -> Result<Response<wire::ResolveImageConfigResponse>, Status> {
        let (seated, request) = self.open(request).await?;
        let asked = ImageConfigRequest {
            platform: request.platform.map(platform_from_wire),
            resolve_mode: request.resolve_mode,
            log_name: request.log_name,
        };
        answer(seated.bridge.resolve_image(&request.r#ref, asked).await.map(|image| {
            wire::ResolveImageConfigResponse {
                digest: image.digest,
                config: image.config,
                r#ref: image.reference,
            }
        }))
    }

    async fn resolve_source_meta(
        &self,
        request: Request<wire::ResolveSourceMetaRequest>,
    ) -> Result<Response<wire::ResolveSourceMetaResponse>, Status> {
        let (seated, request) = self.open(request).await?;
        let source =
            request.source.ok_or_else(|| Status::invalid_argument("no source was named"))?;
        let meta =
            seated.bridge.resolve_source(source, request.platform.map(platform_from_wire)).await;
        answer(meta.map(|meta| wire::ResolveSourceMetaResponse {
            source: Some(meta.source),
            image: meta.image.map(|(digest, config)| wire::ResolveSourceImageResponse {
                digest,
                config,
                attestation_chain: None,
            }),
            git: meta.git.map(|(checksum, reference)| wire::ResolveSourceGitResponse {
                checksum,
                r#ref: reference,
                ..Default::default()
            }),
            http: meta.http.map(|(checksum, filename)| wire::ResolveSourceHttpResponse {
                checksum,
                filename,
                ..Default::default()
            }),
        }))
    }

    async fn solve(
        &self,
        request: Request<wire::SolveRequest>,
    ) -> Result<Response<wire::SolveResponse>, Status> {
        let (seated, request) = self.open(request).await?;
        let arrays = request.allow_result_array_ref;
        let solve = Solve {
            definition: request.definition,
            frontend: request.frontend,
            options: request.frontend_opt,
            inputs: request.frontend_inputs,
            evaluate: request.evaluate,
        };
        answer(seated.bridge.solve(solve).await.map(|result| {
            let first = result
                .iter()
                .find_map(|(_, one)| one.cloned())
                .map(|one| one.0)
                .unwrap_or_default();
            let mut wired = result_to_wire(result);
            // Clients from before ref messages know refs by their names alone.
            if !arrays {
                wired.result = wired.result.map(deprecated);
            }
            wire::SolveResponse { r#ref: first, result: Some(wired) }
        }))
    }

    async fn read_file(
        &self,
        request: Request<wire::ReadFileRequest>,
    ) -> Result<Response<wire::ReadFileResponse>, Status> {
        let (seated, request) = self.open(request).await?;
        let number = |n: i64| u64::try_from(n).unwrap_or(0);
        let range =
            request.range.map(|r| FileRange { offset: number(r.offset), length: number(r.length) });
        let data = seated.bridge.read_file(&Ref(request.r#ref), &request.file_path, range).await;
        answer(data.map(|data| wire::ReadFileResponse { data }))
    }

    async fn read_dir(
        &self,
        request: Request<wire::ReadDirRequest>,
    ) -> Result<Response<wire::ReadDirResponse>, Status> {
        let (seated, request) = self.open(request).await?;
        let of = Ref(request.r#ref);
        let entries =
            seated.bridge.read_dir(&of, &request.dir_path, &request.include_pattern).await;
        answer(entries.map(|entries| wire::ReadDirResponse { entries }))
    }

    async fn stat_file(
        &self,
        request: Request<wire::StatFileRequest>,
    ) -> Result<Response<wire::StatFileResponse>, Status> {
        let (seated, request) = self.open(request).await?;
        let stat = seated.bridge.stat_file(&Ref(request.r#ref), &request.path).await;
        answer(stat.map(|stat| wire::StatFileResponse { stat: Some(stat) }))
    }

    async fn evaluate(
        &self,
        request: Request<wire::EvaluateRequest>,
    ) -> Result<Response<wire::EvaluateResponse>, Status> {
        let (seated, request) = self.open(request).await?;
        answer(
            seated.bridge.evaluate(&Ref(request.r#ref)).await.map(|()| wire::EvaluateResponse {}),
        )
    }

    async fn r#return(
        &self,
        request: Request<wire::ReturnRequest>,
    ) -> Result<Response<wire::ReturnResponse>, Status> {
        let (seated, request) = self.open(request).await?;
        let returned = match request.error {
            Some(error) => Err(RichStatus::from_rpc(error)),
            None => Ok(request.result.map(result_from_wire).unwrap_or_default()),
        };
        let sender = seated.returned.lock().unwrap_or_else(PoisonError::into_inner).take();
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
        let (seated, _) = self.open(request).await?;
        answer(seated.bridge.inputs().await.map(|definitions| wire::InputsResponse { definitions }))
    }

    async fn warn(
        &self,
        request: Request<wire::WarnRequest>,
    ) -> Result<Response<wire::WarnResponse>, Status> {
        let (seated, request) = self.open(request).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let warning = Warning {
            vertex: request.digest,
            level: request.level,
            short: text(&request.short),
            detail: request.detail.iter().map(|line| text(line)).collect(),
            url: request.url,
            info: request.info,
            ranges: request.ranges,
        };
        answer(seated.bridge.warn(warning).await.map(|()| wire::WarnResponse {}))
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
