//! A frontend in its own process: an image's entrypoint or a plugin, in a container.
//!
//! Processes are started here and gone when the build ends; what is said to them, and what they say,
//! is [`kiln_frontend::process`]'s.

use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;
use kiln_container::{ProcessSpec, RunningProcess};
use kiln_engine::JobContext;
use kiln_executor::{
    ExecError, HostProcess, HostRunning, Mount, MountSource, Pipes, Spawner, Stdio, spawn_host,
};
use kiln_frontend::process::{self, Ended, FrontendProcess};
use kiln_frontend::{Bridge, BuildInfo, BuildResult, Ref, Solve};
use kiln_graph::{Exec, ExecMount, NetworkMode};
use kiln_oci::{Digest, ImageConfig};
use kiln_wire::pb;
use kiln_wire::status::RichStatus;
use prost::Message;
use tonic::Code;

use crate::BuildBridge;
use crate::error::op_status;
use crate::frontend_image::FrontendImage;

/// The label of an image whose frontend wants no network.
const NO_NETWORK_LABEL: &str = "moby.buildkit.frontend.network.none";

/// Where a frontend in an image finds the graph that is its image.
const METADATA: &str = "/run/config/buildkit/metadata/frontend.bin";

/// What to say when a plugin could not be executed.
const PLUGIN_HINT: &str = "a plugin sees /usr, /bin, /lib and its own files only; if its interpreter or libraries \
                           are elsewhere, put them there, or run plugins unconfined (--unconfined-plugins)";

/// What to say when an image without an entrypoint could not be run.
const IMAGE_HINT: &str =
    "it has no entrypoint and no program at /run; is it the image of a frontend?";

/// Calls a plugin, confined.
pub(crate) fn call_plugin<'a>(
    path: &'a Path,
    bridge: &'a BuildBridge,
) -> BoxFuture<'a, Result<BuildResult<Ref>, RichStatus>> {
    Box::pin(async move {
        let name = format!("frontend {}", path.display());
        let spec = ProcessSpec::plugin(path, environment(bridge.info()).collect());
        let spec = spec.map_err(|error| failed(&name, &error))?;
        let job = bridge.process_context(Digest::sha256(&name));
        call_contained(name, spec, &job, bridge, |mut status, error| {
            if matches!(error, ExecError::Program { .. }) {
                status.message = format!("{}; {PLUGIN_HINT}", status.message);
            }
            status
        })
        .await
    })
}

/// Calls a plugin as a plain process of the host.
pub(crate) fn call_on_host<'a>(
    spawner: &'a Spawner,
    path: &'a Path,
    bridge: &'a BuildBridge,
) -> BoxFuture<'a, Result<BuildResult<Ref>, RichStatus>> {
    Box::pin(async move {
        let process = HostProcess {
            args: vec![path.to_string_lossy().into_owned()],
            env: environment(bridge.info()).collect(),
            cwd: "/".into(),
        };
        let name = format!("frontend {}", path.display());
        let (stdio, pipes) = Stdio::piped().map_err(|error| failed(&name, &error))?;
        let running =
            spawn_host(spawner, process, stdio).await.map_err(|error| failed(&name, &error))?;
        converse(name, RunningFrontend::Plugin(running), pipes, bridge).await
    })
}

/// Calls the frontend in an image.
pub(crate) fn call_image<'a>(
    source: &'a str,
    bridge: &'a BuildBridge,
) -> BoxFuture<'a, Result<BuildResult<Ref>, RichStatus>> {
    Box::pin(async move {
        let name = format!("frontend image {source}");
        let found = FrontendImage::find(source, bridge).await.map_err(|mut status| {
            status.message = format!("{name}: {}", status.message);
            status
        })?;
        let config: ImageConfig =
            serde_json::from_slice(&found.config).map_err(|error| failed(&name, &error))?;
        let definition = image_definition(found.source, bridge);
        let solve = Solve::default().with_definition(Some(definition.clone().into()));
        let image = bridge.solve(solve).await?.into_single();
        let image =
            image.map_err(|error| RichStatus::new(Code::Unknown, format!("{name}: {error}")))?;
        let (result, vertex) = match &image {
            Some(image) => (bridge.result(image).await?, bridge.shown_as(image)),
            None => (None, Digest::sha256(&name)),
        };
        let entrypoint = config.config.entrypoint.clone().filter(|words| !words.is_empty());
        let has_entrypoint = entrypoint.is_some();
        // It is there until the process is gone.
        let metadata = bridge.worker().store().temporary_file(&definition.encode_to_vec());
        let metadata = metadata.map_err(|error| failed(&name, &error))?;
        let described = MountSource::File(metadata.path().to_owned());
        let exec = Exec {
            args: entrypoint.unwrap_or_else(|| vec!["/run".to_owned()]),
            ..exec(&config, bridge)
        };
        let spec = ProcessSpec {
            inputs: vec![result],
            host_mounts: vec![Mount::new(METADATA, described).readonly()],
            ..ProcessSpec::new("frontend", exec, bridge.info().default_platform())
        };
        let job = bridge.process_context(vertex);
        call_contained(name.clone(), spec, &job, bridge, |status, _| match has_entrypoint {
            true => status,
            false => RichStatus::new(Code::InvalidArgument, format!("{name}: {IMAGE_HINT}")),
        })
        .await
    })
}

/// The process of a frontend, as the config of its image says, on top of the image.
fn exec(config: &ImageConfig, bridge: &BuildBridge) -> Exec {
    let config = &config.config;
    let label = config.labels.get(NO_NETWORK_LABEL);
    let isolated = label.and_then(|value| kiln_frontend::boolean(value)).unwrap_or(false);
    let cwd = if config.working_dir.is_empty() { "/" } else { &config.working_dir };
    Exec {
        env: config.env.iter().cloned().chain(environment(bridge.info())).collect(),
        cwd: cwd.to_owned(),
        mounts: vec![ExecMount::bind(0, "/")],
        network: if isolated { NetworkMode::None } else { NetworkMode::Default },
        proxied: bridge.proxy_network().filter(|_| !isolated),
        ..Exec::default()
    }
}

/// Calls a frontend in a container. `explain` says more about why it could not be started.
async fn call_contained(
    name: String,
    spec: ProcessSpec,
    job: &JobContext,
    bridge: &BuildBridge,
    explain: impl FnOnce(RichStatus, &ExecError) -> RichStatus,
) -> Result<BuildResult<Ref>, RichStatus> {
    let containers = bridge.worker().containers();
    let prepared = containers.prepare(job, spec).await;
    let prepared = prepared.map_err(|failed| op_status(&failed.error.context(&name)))?;
    let (stdio, pipes) = Stdio::piped().map_err(|error| failed(&name, &error))?;
    let started = containers.start(prepared, stdio).await;
    let running = started.map_err(|error| explain(failed(&name, &error), &error))?;
    converse(name, RunningFrontend::Container(Box::new(running)), pipes, bridge).await
}

/// The graph that is just the frontend's image.
fn image_definition(mut source: pb::SourceOp, bridge: &BuildBridge) -> pb::Definition {
    if source.identifier.starts_with("docker-image://") {
        source.attrs.insert("image.recordtype".to_owned(), "frontend".to_owned());
    }
    let platform = kiln_frontend::grpc::platform_to_wire(bridge.info().default_platform());
    let op = pb::Op {
        op: Some(pb::op::Op::Source(source)),
        platform: Some(platform),
        ..Default::default()
    };
    let bytes = op.encode_to_vec();
    let digest = Digest::sha256(&bytes).to_string();
    let input = pb::Input { digest: digest.clone(), index: 0 };
    let terminal = pb::Op { inputs: vec![input], ..Default::default() };
    pb::Definition {
        def: vec![bytes.into(), terminal.encode_to_vec().into()],
        metadata: [(digest, pb::OpMetadata::default())].into(),
        source: None,
    }
}

/// What tells a frontend its options.
fn environment(info: &BuildInfo) -> impl Iterator<Item = String> {
    process::environment(info, "kiln").into_iter().map(|(name, value)| format!("{name}={value}"))
}

/// The frontend's process.
enum RunningFrontend {
    Plugin(HostRunning),
    Container(Box<RunningProcess>),
}

impl RunningFrontend {
    /// Waits for it and says how it ended.
    async fn ended(mut self) -> Ended {
        let status = match &mut self {
            Self::Plugin(running) => running.wait().await,
            Self::Container(running) => running.wait().await,
        };
        match status {
            Ok(status) => Ended::with_code(status.code),
            Err(error) => Ended::badly(format!("was lost ({error})")),
        }
    }
}

/// Talks to a frontend until it returns or ends.
async fn converse(
    name: String,
    process: RunningFrontend,
    pipes: Pipes,
    bridge: &BuildBridge,
) -> Result<BuildResult<Ref>, RichStatus> {
    let io = tokio::io::join(pipes.stdout, pipes.stdin);
    let frontend = FrontendProcess { name, io, stderr: pipes.stderr, ended: process.ended() };
    Ok(frontend.converse(Arc::new(bridge.clone()), None).await?)
}

fn failed(name: &str, error: &dyn std::error::Error) -> RichStatus {
    let error = kiln_engine::OpError::from_error(kiln_engine::ErrorKind::Failed, error);
    RichStatus::new(Code::Unknown, format!("{name}: {error}"))
}
