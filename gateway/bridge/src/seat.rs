//! A frontend in its own process: an image's entrypoint in a container, or a plugin on the host.
//!
//! The process speaks the gateway protocol on its standard input and output (BuildKit's
//! `frontend/gateway`); what it writes to standard error is kept for the error message. It may
//! return, crash, hang or talk nonsense; in every case the build ends and the process is gone.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kiln_executor::{
    ExecError, ExitStatus, HostProcess, HostRunning, Mount, MountSource, Network, Pipes, Process,
    Rootfs, Running, Spawner, Stdio, spawn_host,
};
use kiln_frontend::{Bridge, BuildInfo, BuildResult, Ref, Solve};
use kiln_oci::ImageConfig;
use kiln_wire::pb;
use kiln_wire::status::RichStatus;
use prost::Message;
use tokio::io::AsyncReadExt;
use tonic::Code;

use crate::BuildBridge;
use crate::frontend_image::FrontendImage;
use crate::service::{self, Seated};

/// How long a frontend that has returned may take to end by itself.
const FAREWELL: Duration = Duration::from_secs(2);
/// How much of standard error is kept for the message, in bytes.
const STDERR_TAIL: usize = 4 << 10;

/// Calls a plugin.
pub(crate) async fn call_plugin(
    spawner: &Spawner,
    path: &Path,
    bridge: &BuildBridge,
) -> Result<BuildResult<Ref>, RichStatus> {
    let process = HostProcess {
        args: vec![path.to_string_lossy().into_owned()],
        env: environment(bridge.info()),
        cwd: "/".into(),
    };
    let name = format!("frontend {}", path.display());
    let (stdio, pipes) = Stdio::piped().map_err(|error| failed(&name, &error))?;
    let running =
        spawn_host(spawner, process, stdio).await.map_err(|error| failed(&name, &error))?;
    converse(&name, Guest::Plugin(running), pipes, bridge).await
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
    let solve = Solve { definition: Some(definition.clone()), ..Solve::default() };
    let image = bridge.solve(solve).await?.into_single();
    let image =
        image.map_err(|error| RichStatus::new(Code::Unknown, format!("{name}: {error}")))?;
    let image = match image {
        Some(image) => bridge.result(&image).await?,
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
    let metadata = tempfile::NamedTempFile::new().map_err(|error| failed(&name, &error))?;
    std::fs::write(metadata.path(), definition.encode_to_vec())
        .map_err(|error| failed(&name, &error))?;
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
        .is_some_and(|value| value == "true");
    process.network = if isolated { Network::None } else { Network::Host };
    process.remove_mount_stubs = true;
    let described = MountSource::File(metadata.path().to_owned());
    process
        .mounts
        .push(Mount::new("/run/config/buildkit/metadata/frontend.bin", described).readonly());
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
    converse(&name, Guest::Container(running), pipes, bridge).await
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
    let terminal = pb::Op { inputs: vec![pb::Input { digest, index: 0 }], ..Default::default() };
    pb::Definition {
        def: vec![bytes.into(), terminal.encode_to_vec().into()],
        ..Default::default()
    }
}

/// What tells a frontend its options.
fn environment(info: &BuildInfo) -> Vec<String> {
    let options = info.options.0.iter().enumerate();
    let mut env: Vec<String> = options
        .map(|(number, (key, value))| format!("BUILDKIT_FRONTEND_OPT_{number}={key}={value}"))
        .collect();
    let workers: Vec<serde_json::Value> = info
        .workers
        .iter()
        .map(|worker| serde_json::json!({ "ID": worker.id, "Labels": worker.labels, "Platforms": worker.platforms }))
        .collect();
    env.push(format!("BUILDKIT_SESSION_ID={}", info.session_id));
    env.push(format!("BUILDKIT_WORKERS={}", serde_json::Value::from(workers)));
    env.push("BUILDKIT_EXPORTEDPRODUCT=kiln".to_owned());
    env
}

/// The frontend's process.
enum Guest {
    Plugin(HostRunning),
    Container(Box<dyn Running>),
}

impl Guest {
    async fn wait(&mut self) -> Result<ExitStatus, ExecError> {
        match self {
            Self::Plugin(running) => running.wait().await,
            Self::Container(running) => running.wait().await,
        }
    }
}

/// Talks to a frontend until it returns or ends.
async fn converse(
    name: &str,
    mut guest: Guest,
    pipes: Pipes,
    bridge: &BuildBridge,
) -> Result<BuildResult<Ref>, RichStatus> {
    let (seated, mut returned) = Seated::new(Arc::new(bridge.clone()));
    let router = kiln_wire::channel::server().add_service(service::service(seated));
    let io = tokio::io::join(pipes.stdout, pipes.stdin);
    let serving = kiln_wire::channel::serve(router, io);
    let last_words: Arc<Mutex<VecDeque<u8>>> = Arc::default();
    let listening = tokio::spawn(listen(pipes.stderr, Arc::clone(&last_words)));
    tokio::pin!(serving);
    let ended = tokio::select! {
        biased;
        result = &mut returned => {
            if let Ok(result) = result {
                // It may still read the answer to its return; then it should go.
                let farewell = async { tokio::join!(serving, guest.wait()) };
                tokio::time::timeout(FAREWELL, farewell).await.ok();
                listening.abort();
                return result;
            }
            // The service is gone without a return; the process tells why.
            guest.wait().await
        }
        // Without a connection there is nothing to wait for but its end.
        _ = &mut serving => match tokio::time::timeout(FAREWELL, guest.wait()).await {
            Ok(status) => status,
            Err(_) => {
                let message = format!("{name} closed its streams, or does not speak the gateway protocol");
                return Err(RichStatus::new(Code::Unavailable, with_last_words(message, &last_words)));
            }
        },
        status = guest.wait() => status,
    };
    // What it said may still be on its way.
    tokio::time::timeout(Duration::from_millis(200), listening).await.ok();
    if let Ok(result) = returned.try_recv() {
        return result;
    }
    let message = match ended {
        Ok(status) => {
            format!("{name} ended with exit code {} before it returned a result", status.code)
        }
        Err(error) => format!("{name}: {error}"),
    };
    Err(RichStatus::new(Code::Unavailable, with_last_words(message, &last_words)))
}

async fn listen(
    mut stderr: impl tokio::io::AsyncRead + Unpin,
    last_words: Arc<Mutex<VecDeque<u8>>>,
) {
    let mut buffer = vec![0; 4096];
    while let Ok(read) = stderr.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        let mut kept = last_words.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(&buffer[..read]);
        let surplus = kept.len().saturating_sub(STDERR_TAIL);
        kept.drain(..surplus);
    }
}

fn with_last_words(message: String, last_words: &Mutex<VecDeque<u8>>) -> String {
    let kept: Vec<u8> =
        last_words.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
    match String::from_utf8_lossy(&kept).trim() {
        "" => message,
        words => format!("{message}; it said:\n{words}"),
    }
}

fn failed(name: &str, error: &dyn std::error::Error) -> RichStatus {
    let error = kiln_engine::OpError::from_error(kiln_engine::ErrorKind::Failed, error);
    RichStatus::new(Code::Unknown, format!("{name}: {error}"))
}

fn unique_id() -> String {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    format!("frontend-{}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}
