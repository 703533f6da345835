//! A frontend in its own process: an image's entrypoint or a plugin, in a container.
//!
//! Processes are started here and gone when the build ends; what is said to them, and what they say,
//! is [`kiln_frontend::process`]'s.

use std::path::Path;
use std::sync::Arc;

use kiln_executor::{
    ExecError, HostProcess, HostRunning, Mount, MountSource, Network, Pipes, Process, Rootfs,
    Running, Spawner, Stdio, spawn_host,
};
use kiln_frontend::process::{self, Ended, FrontendProcess};
use kiln_frontend::{Bridge, BuildInfo, BuildResult, Ref, Solve};
use kiln_oci::ImageConfig;
use kiln_wire::pb;
use kiln_wire::status::RichStatus;
use prost::Message;
use tonic::Code;

use crate::error::op_status;
use crate::frontend_image::FrontendImage;
use crate::{BuildBridge, confinement};

/// Calls a plugin, confined.
pub(crate) async fn call_plugin(
    path: &Path,
    bridge: &BuildBridge,
) -> Result<BuildResult<Ref>, RichStatus> {
    let name = format!("frontend {}", path.display());
    let env = environment(bridge.info()).collect();
    let process = confinement::confined(path, unique_id(), env);
    let process = process.map_err(|error| failed(&name, &error))?;
    let (stdio, pipes) = Stdio::piped().map_err(|error| failed(&name, &error))?;
    let started = bridge.worker().executor().start(process, stdio).await;
    let running = started.map_err(|error| {
        let mut status = failed(&name, &error);
        if matches!(error, ExecError::Program { .. }) {
            status.message = format!("{}; {}", status.message, confinement::HINT);
        }
        status
    })?;
    converse(name, RunningFrontend::Container(running), pipes, bridge).await
}

/// Calls a plugin as a plain process of the host.
pub(crate) async fn call_on_host(
    spawner: &Spawner,
    path: &Path,
    bridge: &BuildBridge,
) -> Result<BuildResult<Ref>, RichStatus> {
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
}

/// Calls the frontend in an image.
pub(crate) async fn call_image(
    source: &str,
    bridge: &BuildBridge,
) -> Result<BuildResult<Ref>, RichStatus> {
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
    let image = match image {
        Some(image) => match bridge.result(&image).await? {
            Some(result) => {
                let files = result.files(&bridge.requester(&image)).await;
                Some(files.map_err(|error| failed(&name, &error))?)
            }
            None => None,
        },
        None => None,
    };
    let entrypoint = config.config.entrypoint.clone().filter(|words| !words.is_empty());
    let has_entrypoint = entrypoint.is_some();
    let store = bridge.worker().store();
    let writable = store.prepare(image.as_ref()).await.map_err(|error| failed(&name, &error))?;
    let overlay = writable.overlay();
    let rootfs = match overlay.lowers.is_empty() {
        true => Rootfs::Bind { source: overlay.upper, readonly: false },
        false => {
            Rootfs::Overlay { lowers: overlay.lowers, upper: overlay.upper, work: overlay.work }
        }
    };
    let metadata = store.temporary_file(&definition.encode_to_vec());
    let metadata = metadata.map_err(|error| failed(&name, &error))?;
    let arguments = entrypoint.unwrap_or_else(|| vec!["/run".to_owned()]);
    let mut process = Process::new(unique_id(), rootfs, &[]);
    process.args = arguments;
    process.env = config.config.env.iter().cloned().chain(environment(bridge.info())).collect();
    process.cwd = if config.config.working_dir.is_empty() {
        "/".into()
    } else {
        config.config.working_dir.clone()
    };
    let isolated = config
        .config
        .labels
        .get("moby.buildkit.frontend.network.none")
        .and_then(|value| kiln_frontend::boolean(value))
        .unwrap_or(false);
    process.network = if isolated { Network::None } else { Network::Default };
    process.remove_mount_stubs = true;
    let described = MountSource::File(metadata.path().to_owned());
    process
        .mounts
        .push(Mount::new("/run/config/buildkit/metadata/frontend.bin", described).readonly());
    let proxy = bridge.proxy_network().filter(|_| !isolated);
    let _network = match &proxy {
        Some(proxy) => bridge.worker().proxied(proxy, &mut process).await,
        None => Ok(None),
    }
    .map_err(|error| op_status(&error))?;
    let (stdio, pipes) = Stdio::piped().map_err(|error| failed(&name, &error))?;
    let running = bridge.worker().executor().start(process, stdio).await.map_err(|error| {
        match has_entrypoint {
            true => failed(&name, &error),
            false => {
                let hint =
                    "it has no entrypoint and no program at /run; is it the image of a frontend?";
                RichStatus::new(Code::InvalidArgument, format!("{name}: {hint}"))
            }
        }
    })?;
    converse(name, RunningFrontend::Container(running), pipes, bridge).await
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
    let digest = kiln_oci::Digest::sha256(&bytes).to_string();
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
    Container(Box<dyn Running>),
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

fn unique_id() -> String {
    kiln_executor::unique_id("frontend")
}
