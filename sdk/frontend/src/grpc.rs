//! The bridge over the gateway protocol, for a frontend in its own process or in a client.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use kiln_llb::Definition;
use kiln_wire::proto::gateway as wire;
use kiln_wire::proto::gateway::llb_bridge_client::LlbBridgeClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::containers::Containers;
use crate::convert::{
    cache_imports_to_wire, checksum_to_wire, digest_from_wire, graphs_of, inputs_to_wire,
    policies_to_wire, some_ref, source_meta_from_wire,
};
use crate::{
    Bridge, BuildInfo, BuildResult, Code, FileRange, FileStat, FrontendError, ImageConfigRequest,
    ImageFacts, Inputs, LayoutStore, Options, Ref, ResolvedImage, Solve, SourceIdentifier,
    SourceMeta, SourceRequest, Warning, Worker,
};

#[cfg(feature = "pb")]
pub use crate::convert::source_from_wire;
pub use crate::convert::{
    inputs_from_wire, platform_from_wire, platform_to_wire, result_from_wire, result_to_wire,
    source_to_wire,
};
#[cfg(feature = "pb")]
pub use crate::convert_daemon::{checksum_from_wire, source_meta_to_wire};

/// The metadata key by which a daemon finds the build of a client's gateway call.
const BUILD_ID_KEY: &str = "buildkit-controlapi-buildid";

/// What a daemon can that knows more about sources than the configs of images.
const META_RESOLVER: &str = "source.metaresolver";

/// Adds the build id to every call of a gateway that shares the control connection.
#[derive(Clone, Debug, Default)]
pub struct BuildId(Option<MetadataValue<Ascii>>);

impl Interceptor for BuildId {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(id) = &self.0 {
            request.metadata_mut().insert(BUILD_ID_KEY, id.clone());
        }
        Ok(request)
    }
}

/// The client of the gateway service.
pub(crate) type GatewayClient = LlbBridgeClient<InterceptedService<Channel, BuildId>>;

/// A [`Bridge`] at the end of a gRPC channel.
#[derive(Clone, Debug)]
pub struct GrpcBridge {
    pub(crate) client: GatewayClient,
    info: BuildInfo,
    /// The graphs the daemon told, by ref.
    graphs: Arc<Mutex<BTreeMap<String, Definition>>>,
}

impl GrpcBridge {
    /// Greets the daemon and learns what it can do.
    ///
    /// `build_id` is needed where the channel is the daemon's control connection.
    ///
    /// # Errors
    ///
    /// If the daemon does not answer, or the id is not ASCII.
    pub async fn connect(
        channel: Channel,
        options: Options,
        session_id: String,
        build_id: Option<&str>,
    ) -> Result<Self, FrontendError> {
        let id = build_id.map(str::parse).transpose();
        let id =
            id.map_err(|_| FrontendError::new(Code::InvalidArgument, "the build id is not ASCII"))?;
        let mut client = LlbBridgeClient::with_interceptor(channel, BuildId(id))
            .max_decoding_message_size(kiln_wire::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(kiln_wire::MAX_MESSAGE_BYTES);
        let pong = client
            .ping(wire::PingRequest {})
            .await
            .map_err(|s| FrontendError::from_wire(&s))?
            .into_inner();
        let enabled = |caps: Vec<kiln_wire::proto::apicaps::ApiCap>| {
            caps.into_iter().filter(|cap| cap.enabled).map(|cap| cap.id).collect()
        };
        let info = BuildInfo {
            options,
            workers: pong.workers.into_iter().map(worker_from).collect(),
            session_id,
            llb_caps: enabled(pong.llb_caps),
            gateway_caps: enabled(pong.frontend_api_caps),
        };
        Ok(Self { client, info, graphs: Arc::default() })
    }

    /// Hands the result, or the error, to the daemon. Nothing may be asked after that.
    ///
    /// # Errors
    ///
    /// If the daemon does not take it.
    pub async fn finish(
        &self,
        result: Result<BuildResult<Ref>, FrontendError>,
    ) -> Result<(), FrontendError> {
        let wired = |result| Some(result_to_wire(result, &BTreeMap::new()));
        let request = match result {
            Ok(result) => wire::ReturnRequest { result: wired(result), error: None },
            Err(error) => wire::ReturnRequest { result: None, error: Some(error.0.to_rpc()) },
        };
        self.client
            .clone()
            .r#return(request)
            .await
            .map(drop)
            .map_err(|s| FrontendError::from_wire(&s))
    }
}

#[async_trait]
impl Bridge for GrpcBridge {
    fn info(&self) -> &BuildInfo {
        &self.info
    }

    async fn solve(&self, request: Solve) -> Result<BuildResult<Ref>, FrontendError> {
        // An older daemon runs a graph when somebody looks inside.
        let look_inside =
            request.evaluate && !self.info.gateway_caps.contains("gateway.solve.evaluate");
        let request = wire::SolveRequest {
            definition: request.definition.map(kiln_llb::wire::to_message),
            frontend: request.frontend,
            frontend_opt: request.options,
            allow_result_return: true,
            allow_result_array_ref: true,
            frontend_inputs: inputs_to_wire(request.inputs),
            evaluate: request.evaluate,
            cache_imports: cache_imports_to_wire(request.cache_imports),
            source_policies: policies_to_wire(request.source_policies),
            ..wire::SolveRequest::default()
        };
        let response = call(self.client.clone().solve(request)).await?;
        let Some(result) = response.result else {
            return Ok(BuildResult::single(some_ref(response.r#ref)));
        };
        self.graphs.lock().unwrap_or_else(PoisonError::into_inner).extend(graphs_of(&result));
        let result = result_from_wire(result);
        if look_inside {
            for (_, one) in result.iter() {
                if let Some(one) = one {
                    self.stat_file(one, ".").await?;
                }
            }
        }
        Ok(result)
    }

    async fn resolve_image(
        &self,
        reference: &str,
        request: ImageConfigRequest,
    ) -> Result<ResolvedImage, FrontendError> {
        // The newer question also tells what a policy turned the image into.
        if self.info.gateway_caps.contains(META_RESOLVER) {
            return self.resolve_image_source(reference, request).await;
        }
        let layout = request.layout.unwrap_or_default();
        let request = wire::ResolveImageConfigRequest {
            r#ref: reference.to_owned(),
            platform: request.platform.map(platform_to_wire),
            resolve_mode: request.resolve_mode,
            log_name: request.log_name,
            resolver_type: i32::from(!layout.store_id.is_empty()),
            session_id: layout.session_id,
            store_id: layout.store_id,
            source_policies: policies_to_wire(request.source_policies),
        };
        let response = call(self.client.clone().resolve_image_config(request)).await?;
        let reference =
            if response.r#ref.is_empty() { reference.to_owned() } else { response.r#ref };
        let (digest, config) = (digest_from_wire(&response.digest), response.config);
        Ok(ResolvedImage { reference, digest, config, non_image: None })
    }

    async fn resolve_source(
        &self,
        source: SourceIdentifier,
        request: SourceRequest,
    ) -> Result<SourceMeta, FrontendError> {
        if !self.info.gateway_caps.contains(META_RESOLVER) {
            return self.resolve_source_as_image(source, request).await;
        }
        let git = wire::ResolveSourceGitRequest { return_object: true };
        let image = wire::ResolveSourceImageRequest {
            no_config: request.no_config,
            attestation_chain: request.attestation_chain,
            resolve_attestations: request.attestations,
        };
        let is_asked = image != wire::ResolveSourceImageRequest::default();
        let request = wire::ResolveSourceMetaRequest {
            source: Some(source_to_wire(source)),
            platform: request.platform.map(platform_to_wire),
            log_name: request.log_name,
            resolve_mode: request.resolve_mode,
            git: request.git_object.then_some(git),
            image: is_asked.then_some(image),
            http: request.checksum.map(|asked| wire::ResolveSourceHttpRequest {
                checksum_request: Some(checksum_to_wire(asked)),
            }),
            source_policies: policies_to_wire(request.source_policies),
        };
        let response = call(self.client.clone().resolve_source_meta(request)).await?;
        Ok(source_meta_from_wire(response))
    }

    async fn definition(&self, of: &Ref) -> Result<Option<Definition>, FrontendError> {
        let graphs = self.graphs.lock().unwrap_or_else(PoisonError::into_inner);
        let found = graphs.get(&of.0).cloned();
        let untold = || {
            let message = format!("the daemon did not tell the graph of {}", of.0);
            FrontendError::new(Code::Unimplemented, message)
        };
        found.map(|graph| Some(graph).filter(|graph| !graph.is_empty())).ok_or_else(untold)
    }

    async fn read_file(
        &self,
        of: &Ref,
        path: &str,
        range: Option<FileRange>,
    ) -> Result<Bytes, FrontendError> {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let range =
            range.map(|r| wire::FileRange { offset: number(r.offset), length: number(r.length) });
        let request = wire::ReadFileRequest {
            r#ref: of.0.clone(),
            file_path: path.into(),
            range,
            mount_index: 0,
        };
        Ok(call(self.client.clone().read_file(request)).await?.data)
    }

    async fn read_dir(
        &self,
        of: &Ref,
        path: &str,
        include_pattern: &str,
    ) -> Result<Vec<FileStat>, FrontendError> {
        let request = wire::ReadDirRequest {
            r#ref: of.0.clone(),
            dir_path: path.into(),
            include_pattern: include_pattern.into(),
            mount_index: 0,
        };
        let entries = call(self.client.clone().read_dir(request)).await?.entries;
        Ok(entries.into_iter().map(FileStat::from_wire).collect())
    }

    async fn stat_file(&self, of: &Ref, path: &str) -> Result<FileStat, FrontendError> {
        let request =
            wire::StatFileRequest { r#ref: of.0.clone(), path: path.into(), mount_index: 0 };
        let stat = call(self.client.clone().stat_file(request)).await?.stat;
        Ok(FileStat::from_wire(stat.unwrap_or_default()))
    }

    fn containers(&self) -> Option<&dyn Containers> {
        self.info.gateway_caps.contains("gateway.exec").then_some(self)
    }

    async fn evaluate(&self, of: &Ref) -> Result<(), FrontendError> {
        call(self.client.clone().evaluate(wire::EvaluateRequest { r#ref: of.0.clone() }))
            .await
            .map(drop)
    }

    async fn inputs(&self) -> Result<Inputs, FrontendError> {
        let inputs = call(self.client.clone().inputs(wire::InputsRequest {})).await?.definitions;
        Ok(inputs_from_wire(inputs))
    }

    async fn warn(&self, warning: Warning) -> Result<(), FrontendError> {
        let request = wire::WarnRequest {
            digest: warning.vertex,
            level: warning.level,
            short: warning.short.into(),
            detail: warning.detail.into_iter().map(Into::into).collect(),
            url: warning.url,
            info: warning.info.map(|info| info.0),
            ranges: warning.ranges.into_iter().map(kiln_llb::wire::range_to_message).collect(),
        };
        call(self.client.clone().warn(request)).await.map(drop)
    }
}

impl GrpcBridge {
    /// What an older daemon tells of a source: the config of an image, and of others nothing.
    async fn resolve_source_as_image(
        &self,
        source: SourceIdentifier,
        request: SourceRequest,
    ) -> Result<SourceMeta, FrontendError> {
        let attr = |name: &str| source.attrs.get(name).cloned().unwrap_or_default();
        let store = LayoutStore { session_id: attr("oci.session"), store_id: attr("oci.store") };
        let (name, layout) = match source.identifier.split_once("://") {
            Some(("docker-image", name)) => (name, None),
            Some(("oci-layout", name)) => (name, Some(store)),
            _ => return Ok(SourceMeta { source, ..SourceMeta::default() }),
        };
        let asked = ImageConfigRequest {
            platform: request.platform,
            resolve_mode: request.resolve_mode,
            log_name: request.log_name,
            layout,
            source_policies: request.source_policies,
        };
        let found = self.resolve_image(name, asked).await?;
        let (digest, config) = (found.digest, found.config);
        let image = Some(ImageFacts { digest, config, attestations: None });
        Ok(SourceMeta { source, image, ..SourceMeta::default() })
    }

    async fn resolve_image_source(
        &self,
        reference: &str,
        request: ImageConfigRequest,
    ) -> Result<ResolvedImage, FrontendError> {
        let source = match request.layout {
            None => SourceIdentifier::new(format!("docker-image://{reference}")),
            Some(layout) => SourceIdentifier::new(format!("oci-layout://{reference}"))
                .attr("oci.session", layout.session_id)
                .attr("oci.store", layout.store_id),
        };
        let asked = SourceRequest {
            platform: request.platform,
            resolve_mode: request.resolve_mode,
            log_name: request.log_name,
            source_policies: request.source_policies,
            ..SourceRequest::default()
        };
        let meta = self.resolve_source(source, asked).await?;
        let identifier = meta.source.identifier;
        let Some(image) = meta.image else {
            let non_image = Some(identifier);
            return Ok(ResolvedImage { non_image, ..ResolvedImage::default() });
        };
        let name = ["docker-image://", "oci-layout://"]
            .iter()
            .find_map(|scheme| identifier.strip_prefix(scheme));
        Ok(ResolvedImage {
            reference: name.unwrap_or(reference).to_owned(),
            digest: image.digest,
            config: image.config,
            non_image: None,
        })
    }
}

async fn call<T>(
    future: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, FrontendError> {
    future
        .await
        .map(tonic::Response::into_inner)
        .map_err(|status| FrontendError::from_wire(&status))
}

fn worker_from(worker: kiln_wire::proto::types::WorkerRecord) -> Worker {
    Worker {
        id: worker.id,
        labels: worker.labels,
        platforms: worker.platforms.into_iter().map(platform_from_wire).collect(),
    }
}
