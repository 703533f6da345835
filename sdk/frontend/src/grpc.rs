//! The bridge over the gateway protocol, for a frontend in its own process or in a client.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use kiln_oci::Platform;
use kiln_wire::pb;
use kiln_wire::proto::filetree::Stat;
use kiln_wire::proto::gateway as wire;
use kiln_wire::proto::gateway::llb_bridge_client::LlbBridgeClient;
use kiln_wire::status::RichStatus;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::{
    Bridge, BuildInfo, BuildResult, FileRange, FrontendError, ImageConfigRequest, Inputs, Options,
    Ref, Refs, ResolvedImage, Solve, SourceMeta, Warning, Worker,
};

/// The metadata key by which a daemon finds the build of a client's gateway call.
const BUILD_ID_KEY: &str = "buildkit-controlapi-buildid";

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

/// A [`Bridge`] at the end of a gRPC channel.
#[derive(Clone, Debug)]
pub struct GrpcBridge {
    client: LlbBridgeClient<InterceptedService<Channel, BuildId>>,
    info: BuildInfo,
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
    ) -> Result<Self, RichStatus> {
        let id = build_id.map(str::parse).transpose();
        let id =
            id.map_err(|_| RichStatus::new(Code::InvalidArgument, "the build id is not ASCII"))?;
        let mut client = LlbBridgeClient::with_interceptor(channel, BuildId(id))
            .max_decoding_message_size(kiln_wire::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(kiln_wire::MAX_MESSAGE_BYTES);
        let pong = client
            .ping(wire::PingRequest {})
            .await
            .map_err(|s| RichStatus::from_status(&s))?
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
        Ok(Self { client, info })
    }

    /// Hands the result, or the error, to the daemon. Nothing may be asked after that.
    ///
    /// # Errors
    ///
    /// If the daemon does not take it.
    pub async fn finish(
        &self,
        result: Result<BuildResult<Ref>, FrontendError>,
    ) -> Result<(), RichStatus> {
        let request = match result {
            Ok(result) => wire::ReturnRequest { result: Some(result_to_wire(result)), error: None },
            Err(error) => {
                wire::ReturnRequest { result: None, error: Some(error.status().to_rpc()) }
            }
        };
        self.client
            .clone()
            .r#return(request)
            .await
            .map(drop)
            .map_err(|s| RichStatus::from_status(&s))
    }
}

#[async_trait]
impl Bridge for GrpcBridge {
    fn info(&self) -> &BuildInfo {
        &self.info
    }

    async fn solve(&self, request: Solve) -> Result<BuildResult<Ref>, RichStatus> {
        let request = wire::SolveRequest {
            definition: request.definition,
            frontend: request.frontend,
            frontend_opt: request.options,
            allow_result_return: true,
            allow_result_array_ref: true,
            frontend_inputs: request.inputs,
            evaluate: request.evaluate,
            ..wire::SolveRequest::default()
        };
        let response = call(self.client.clone().solve(request)).await?;
        Ok(match response.result {
            Some(result) => result_from_wire(result),
            None => BuildResult::single(some_ref(response.r#ref)),
        })
    }

    async fn resolve_image(
        &self,
        reference: &str,
        request: ImageConfigRequest,
    ) -> Result<ResolvedImage, RichStatus> {
        let request = wire::ResolveImageConfigRequest {
            r#ref: reference.to_owned(),
            platform: request.platform.map(platform_to_wire),
            resolve_mode: request.resolve_mode,
            log_name: request.log_name,
            ..wire::ResolveImageConfigRequest::default()
        };
        let response = call(self.client.clone().resolve_image_config(request)).await?;
        let reference =
            if response.r#ref.is_empty() { reference.to_owned() } else { response.r#ref };
        Ok(ResolvedImage { reference, digest: response.digest, config: response.config })
    }

    async fn resolve_source(
        &self,
        source: pb::SourceOp,
        platform: Option<Platform>,
    ) -> Result<SourceMeta, RichStatus> {
        let request = wire::ResolveSourceMetaRequest {
            source: Some(source),
            platform: platform.map(platform_to_wire),
            ..wire::ResolveSourceMetaRequest::default()
        };
        let response = call(self.client.clone().resolve_source_meta(request)).await?;
        Ok(SourceMeta {
            source: response.source.unwrap_or_default(),
            image: response.image.map(|image| (image.digest, image.config)),
            git: response.git.map(|git| (git.checksum, git.r#ref)),
            http: response.http.map(|http| (http.checksum, http.filename)),
        })
    }

    async fn read_file(
        &self,
        of: &Ref,
        path: &str,
        range: Option<FileRange>,
    ) -> Result<Bytes, RichStatus> {
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
    ) -> Result<Vec<Stat>, RichStatus> {
        let request = wire::ReadDirRequest {
            r#ref: of.0.clone(),
            dir_path: path.into(),
            include_pattern: include_pattern.into(),
            mount_index: 0,
        };
        Ok(call(self.client.clone().read_dir(request)).await?.entries)
    }

    async fn stat_file(&self, of: &Ref, path: &str) -> Result<Stat, RichStatus> {
        let request =
            wire::StatFileRequest { r#ref: of.0.clone(), path: path.into(), mount_index: 0 };
        Ok(call(self.client.clone().stat_file(request)).await?.stat.unwrap_or_default())
    }

    async fn evaluate(&self, of: &Ref) -> Result<(), RichStatus> {
        call(self.client.clone().evaluate(wire::EvaluateRequest { r#ref: of.0.clone() }))
            .await
            .map(drop)
    }

    async fn inputs(&self) -> Result<Inputs, RichStatus> {
        Ok(call(self.client.clone().inputs(wire::InputsRequest {})).await?.definitions)
    }

    async fn warn(&self, warning: Warning) -> Result<(), RichStatus> {
        let request = wire::WarnRequest {
            digest: warning.vertex,
            level: warning.level,
            short: warning.short.into(),
            detail: warning.detail.into_iter().map(Into::into).collect(),
            url: warning.url,
            info: warning.info,
            ranges: warning.ranges,
        };
        call(self.client.clone().warn(request)).await.map(drop)
    }
}

async fn call<T>(
    future: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, RichStatus> {
    future.await.map(tonic::Response::into_inner).map_err(|status| RichStatus::from_status(&status))
}

/// A result as it travels.
pub fn result_to_wire(result: BuildResult<Ref>) -> wire::Result {
    let one = |r: Option<Ref>| wire::Ref { id: r.map(|r| r.0).unwrap_or_default(), def: None };
    let refs = match result.refs {
        Refs::Single(r) => wire::result::Result::Ref(one(r)),
        Refs::ByPlatform(map) => {
            let refs: BTreeMap<_, _> = map.into_iter().map(|(id, r)| (id, one(r))).collect();
            wire::result::Result::Refs(wire::RefMap { refs })
        }
    };
    wire::Result { result: Some(refs), metadata: result.metadata, attestations: BTreeMap::new() }
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
    BuildResult { refs, metadata: result.metadata }
}

fn some_ref(id: String) -> Option<Ref> {
    (!id.is_empty()).then_some(Ref(id))
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

fn worker_from(worker: kiln_wire::proto::types::WorkerRecord) -> Worker {
    Worker {
        id: worker.id,
        labels: worker.labels,
        platforms: worker.platforms.into_iter().map(platform_from_wire).collect(),
    }
}
