//! Stories of processes: what is asked, what the executor is given, and what is left in the end.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use kiln_engine::{ErrorKind, JobContext, OpError, Output, Sessions};
use kiln_executor::{
    ExecError, ExecProcess, Executor, ExitStatus, MountSource, Network, Process, Resources, Rootfs,
    Running, Security, Stdio,
};
use kiln_graph::{Exec, ExecMount, MountKind, NetworkMode, Ulimit};
use kiln_oci::{Digest, Platform};
use kiln_progress::Sender;
use kiln_session::SessionManager;
use kiln_store::{Ref, Store, StoreOptions};
use tokio::sync::watch;

use crate::{ContainerParts, Containers, ContainersParts, EmulatorOptions, Ended, ProcessSpec};

/// What a process does: it is given the directory that it may write to. `None` runs until it is asked to
/// end.
type Script = fn(&Path) -> Option<u32>;

/// An executor that notes what it is given and does what a script says.
#[derive(Debug)]
struct Scripted {
    script: Script,
    started: Mutex<Vec<Process>>,
    joined: Arc<Mutex<Vec<ExecProcess>>>,
}

#[async_trait]
impl Executor for Scripted {
    async fn start(&self, process: Process, _: Stdio) -> Result<Box<dyn Running>, ExecError> {
        if process.args == ["missing"] {
            let message = "exec missing: no such file or directory".to_owned();
            return Err(ExecError::Program { message });
        }
        let code = (self.script)(&written(&process.rootfs));
        self.started.lock().unwrap().push(process);
        Ok(Box::new(Act { code: watch::Sender::new(code), joined: Arc::clone(&self.joined) }))
    }

    fn name(&self) -> &str {
        "scripted"
    }
}

/// A process that has ended, or does when it is asked to.
#[derive(Debug)]
struct Act {
    code: watch::Sender<Option<u32>>,
    joined: Arc<Mutex<Vec<ExecProcess>>>,
}

#[async_trait]
impl Running for Act {
    async fn wait(&mut self) -> Result<ExitStatus, ExecError> {
        let mut code = self.code.subscribe();
        let code = code.wait_for(Option::is_some).await.unwrap().unwrap();
        Ok(ExitStatus { code, oom_killed: false })
    }

    fn kill(&self, signal: i32) {
        self.code.send_replace(Some(128 + u32::try_from(signal).unwrap()));
    }

    fn terminate(&self, _: Duration) {
        self.kill(libc::SIGTERM);
    }

    async fn exec(&self, process: ExecProcess, _: Stdio) -> Result<Box<dyn Running>, ExecError> {
        self.joined.lock().unwrap().push(process);
        let code = watch::Sender::new(Some(0));
        Ok(Box::new(Self { code, joined: Arc::clone(&self.joined) }))
    }

    fn resize(&self, _: u16, _: u16) {}
}

/// Where a process with this root writes.
fn written(root: &Rootfs) -> PathBuf {
    match root {
        Rootfs::Bind { source, .. } => source.clone(),
        Rootfs::Overlay { upper, .. } => upper.clone(),
        _ => PathBuf::from("/nowhere"),
    }
}

/// A machine whose processes are scripted.
struct Scene {
    containers: Containers,
    executor: Arc<Scripted>,
    job: JobContext,
    _directory: tempfile::TempDir,
}

impl Scene {
    fn new(script: Script) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store"), StoreOptions::default()).unwrap();
        let executor =
            Arc::new(Scripted { script, started: Mutex::default(), joined: Arc::default() });
        let containers = Containers::new(ContainersParts {
            store,
            executor: Arc::clone(&executor) as Arc<dyn Executor>,
            spawner: None,
            sessions: SessionManager::new(kiln_session::Health::default()),
            devices: None,
            networks: None,
            grace: Duration::from_secs(1),
            emulators: EmulatorOptions::default(),
            cache_mounts: None,
        });
        let job = JobContext {
            vertex: Digest::sha256("step"),
            progress: Sender::default(),
            sessions: Sessions::of(""),
            compatibility: None,
        };
        Self { containers, executor, job, _directory: directory }
    }

    fn started(&self) -> Vec<Process> {
        self.executor.started.lock().unwrap().clone()
    }

    /// A result with what the script writes.
    async fn made(&self) -> Output<Ref> {
        let prepared = self.containers.prepare(&self.job, step(&["make"])).await.unwrap();
        let finished = self.containers.run(&self.job, prepared).await.unwrap();
        finished.commit().await.unwrap().remove(0)
    }
}

/// A step that writes to an empty root, which is its output.
fn step(args: &[&str]) -> ProcessSpec {
    let root = ExecMount { input: None, output: Some(0), ..ExecMount::bind(0, "/") };
    let exec = Exec {
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        mounts: vec![root],
        network: NetworkMode::None,
        ..Exec::default()
    };
    ProcessSpec::new("step", exec, Platform::host())
}

/// A secret that no client has.
fn secret(optional: bool) -> ExecMount {
    let kind = MountKind::Secret { id: "token".into(), uid: 0, gid: 0, mode: 0o400, optional };
    ExecMount { input: None, kind, ..ExecMount::bind(0, "/run/secrets/token") }
}

async fn read(of: Option<&Ref>, path: &str) -> String {
    let requester = kiln_store::Requester::of(Vec::new(), &Digest::sha256(""), &Sender::default());
    let files = of.unwrap().files(&requester).await.unwrap();
    let top = files.layers().last().unwrap().path();
    std::fs::read_to_string(top.join(path)).unwrap()
}

fn makes(root: &Path) -> Option<u32> {
    std::fs::write(root.join("made"), "by the step").unwrap();
    Some(0)
}

fn fails(root: &Path) -> Option<u32> {
    makes(root);
    Some(3)
}

fn waits(_: &Path) -> Option<u32> {
    None
}

#[tokio::test]
async fn what_is_asked_reaches_the_executor_and_what_is_written_is_the_result() {
    let scene = Scene::new(makes);
    let mut spec = step(&["make", "all"]);
    spec.exec.user = "build".into();
    spec.exec.cgroup_parent = "builds".into();
    spec.exec.ulimits = vec![Ulimit { name: "nofile".into(), soft: 1, hard: 2 }];
    let size = 1 << 20;
    let memory =
        ExecMount { input: None, kind: MountKind::Tmpfs { size }, ..ExecMount::bind(0, "tmp") };
    spec.exec.mounts.push(memory);
    spec.resources = Resources { memory: Some(1 << 30), ..Resources::default() };
    let prepared = scene.containers.prepare(&scene.job, spec).await.unwrap();
    let finished = scene.containers.run(&scene.job, prepared).await.unwrap();
    assert_eq!(finished.status.code, 0);
    let results = finished.commit().await.unwrap();
    assert_eq!(results.len(), 1);
    assert_eq!(read(results[0].as_ref(), "made").await, "by the step");
    let process = scene.started().remove(0);
    assert!(process.id.starts_with("step"), "{}", process.id);
    assert!(process.env[0].starts_with("PATH=/usr/local/sbin:"), "{:?}", process.env);
    assert_eq!((process.user.as_str(), process.network), ("build", Network::None));
    assert_eq!(process.cgroup_parent.as_deref(), Some("builds"));
    assert_eq!((process.ulimits[0].name.as_str(), process.ulimits[0].hard), ("nofile", 2));
    assert_eq!(process.resources.memory, Some(1 << 30));
    assert_eq!(process.mounts[0].dest, Path::new("/tmp"));
    let tmpfs = MountSource::Tmpfs { size: Some(size), mode: 0o1777 };
    assert_eq!(process.mounts[0].source, tmpfs);
}

#[tokio::test]
async fn a_step_that_fails_leaves_what_its_mounts_show() {
    let scene = Scene::new(fails);
    let prepared = scene.containers.prepare(&scene.job, step(&["make"])).await.unwrap();
    let finished = scene.containers.run(&scene.job, prepared).await.unwrap();
    assert_eq!(finished.status.code, 3);
    let failed = finished.failed(OpError::new(ErrorKind::Failed, "exit code: 3")).await;
    assert_eq!(failed.mounts.len(), 1);
    assert_eq!(read(failed.mounts[0].as_ref(), "made").await, "by the step");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named_and_its_mounts_are_left() {
    let scene = Scene::new(makes);
    let base = scene.made().await;
    let mut spec = step(&["missing"]);
    (spec.inputs, spec.exec.mounts[0].input) = (vec![base], Some(0));
    let prepared = scene.containers.prepare(&scene.job, spec).await.unwrap();
    let failed = scene.containers.run(&scene.job, prepared).await.err().unwrap();
    let text = failed.error.to_string();
    assert!(text.starts_with("process \"missing\" did not complete successfully"), "{text}");
    assert!(failed.mounts[0].is_some());
}

#[tokio::test]
async fn what_cannot_be_prepared_is_named_and_leaves_what_every_mount_would_show() {
    let scene = Scene::new(makes);
    let base = scene.made().await;
    let begun = scene.started().len();
    let mut spec = step(&["make"]);
    spec.inputs = vec![base];
    spec.exec.mounts = vec![
        ExecMount { output: Some(0), ..ExecMount::bind(0, "/") },
        secret(false),
        ExecMount::bind(0, "/later"),
    ];
    let failed = scene.containers.prepare(&scene.job, spec).await.err().unwrap();
    assert!(failed.error.to_string().starts_with("secret token: "), "{}", failed.error);
    let shown: Vec<bool> = failed.mounts.iter().map(Option::is_some).collect();
    assert_eq!(shown, [true, false, true]);
    assert_eq!(scene.started().len(), begun, "nothing was started");
}

#[tokio::test]
async fn a_plugin_has_a_root_of_memory_no_network_and_no_resolver() {
    let scene = Scene::new(|_| Some(0));
    let directory = tempfile::tempdir().unwrap();
    let plugin = directory.path().join("kiln-frontend-x");
    std::fs::write(&plugin, "#!/bin/sh\n").unwrap();
    let spec = ProcessSpec::plugin(&plugin, vec!["A=b".into()]).unwrap();
    let prepared = scene.containers.prepare(&scene.job, spec).await.unwrap();
    let (stdio, _pipes) = Stdio::piped().unwrap();
    let mut running = scene.containers.start(prepared, stdio).await.unwrap();
    assert_eq!(running.wait().await.unwrap().code, 0);
    let process = scene.started().remove(0);
    assert_eq!((process.rootfs, process.security), (Rootfs::Memory, Security::Restricted));
    assert_eq!(
        (process.network, process.args),
        (Network::None, vec!["/plugin/kiln-frontend-x".into()])
    );
    assert_eq!(process.resolv_conf.as_deref(), Some(Path::new("/dev/null")));
    assert!(process.env.contains(&"A=b".to_owned()) && process.resources.pids.is_some());
}

#[tokio::test]
async fn a_run_that_nobody_waits_for_is_asked_to_end_and_counts_until_it_has() {
    let scene = Scene::new(waits);
    let prepared = scene.containers.prepare(&scene.job, step(&["sleep"])).await.unwrap();
    let run = scene.containers.run(&scene.job, prepared);
    let gone = tokio::time::timeout(Duration::from_millis(50), run).await;
    assert!(gone.is_err(), "it runs until it is asked to end");
    tokio::time::timeout(Duration::from_secs(10), scene.containers.ended()).await.unwrap();
}

#[tokio::test]
async fn the_first_process_makes_the_container_and_the_next_joins_it() {
    let scene = Scene::new(waits);
    let root = Exec {
        mounts: vec![ExecMount { input: None, ..ExecMount::bind(0, "/") }],
        ..Exec::default()
    };
    let parts = ContainerParts {
        mounts: root,
        inputs: Vec::new(),
        platform: Platform::host(),
        job: scene.job.clone(),
    };
    let container = scene.containers.open(parts).await.unwrap();
    let exec = |arg: &str| Exec { args: vec![arg.to_owned()], ..Exec::default() };
    let stdio = || Stdio::null().unwrap();
    let first = container.start(&exec("first"), false, stdio()).await.unwrap();
    let second = container.start(&exec("second"), true, stdio()).await.unwrap();
    assert_eq!(second.ended().await.unwrap(), Ended::Exited(0));
    assert_eq!(scene.started().len(), 1);
    let joined = scene.executor.joined.lock().unwrap().remove(0);
    assert_eq!((joined.args, joined.tty), (vec!["second".to_owned()], true));
    assert!(joined.env.contains(&"TERM=xterm".to_owned()), "{:?}", joined.env);
    container.release();
    assert_eq!(first.ended().await.unwrap(), Ended::Cancelled);
    assert!(container.start(&exec("late"), false, stdio()).await.is_err());
}
