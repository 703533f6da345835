//! Runs the suite of executors for each one this machine has, and what only the native one promises.
//!
//! The spawner is this program itself, so there is no test harness: `main` is the list. An argument
//! chooses the tests whose names contain it.

#![expect(clippy::print_stdout, reason = "this is the test runner")]

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio as Output};
use std::time::Duration;

use kiln_executor::testing::{Lab, executor_suite};
use kiln_executor::{
    Emulation, ExecError, ExecProcess, Executor, ExitStatus, HostProcess, Native, OciRuntime,
    Process, Running, Spawner, Stdio, spawn_host, spawner_main_if_asked, userns,
};
use tokio::io::AsyncReadExt;
use tokio::runtime::Runtime;

/// Older versions refuse a machine with both versions of control groups.
const CRUN_ARGUMENTS: &[&str] = &["--cgroup-manager=disabled"];
/// What crun cannot do so, and versions before 1.9 cannot do at all.
const CRUN_LACKS: &[&str] = &["memory_is_limited", "a_terminal_can_be_resized"];

fn main() -> ExitCode {
    spawner_main_if_asked();
    if let Some(directory) =
        std::env::args().nth(1).and_then(|it| it.strip_prefix(VICTIM).map(str::to_owned))
    {
        be_a_victim(Path::new(&directory));
    }
    let unprivileged = std::env::args().nth(1).as_deref() == Some(UNPRIVILEGED);
    if unprivileged {
        userns::enter().expect("enter a user namespace");
    } else if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return ExitCode::SUCCESS;
    } else {
        userns::private_mounts().expect("take mounts private");
    }
    let filter = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    let filter = filter.unwrap_or_default();
    let directory = tempfile::tempdir().expect("make a directory");
    let spawner = Spawner::start(&directory.path().join("scratch")).expect("start the spawner");
    let runtime = Runtime::new().expect("start a runtime");
    let mut tests = Tests { runtime, directory: directory.path(), filter, failed: 0 };
    if unprivileged {
        let map = std::fs::read_to_string("/proc/self/uid_map").expect("read the map");
        let more = if map.lines().count() == 1 { NEEDS_MORE_IDS } else { &[] };
        let native = Native::new(spawner.clone());
        let lacks = [NOT_IN_A_USER_NAMESPACE, more].concat();
        tests.run_suite(&native, &lacks);
        if tests.has_private_tables(&spawner) {
            tests.run_suite(&Emulating::new(&native), &lacks);
        }
    } else {
        tests.run_all(&spawner);
    }
    println!("{} failed", tests.failed);
    ExitCode::from(u8::from(tests.failed > 0))
}

/// The argument that repeats the suite without privileges.
const UNPRIVILEGED: &str = "--unprivileged";
/// The argument, with a directory behind it, that starts a container and waits to be killed.
const VICTIM: &str = "--victim=";

/// What one mapped user id does not allow.
const NEEDS_MORE_IDS: &[&str] =
    &["a_missing_directory_is_made_for_the_user", "a_user_may_be_a_name_or_a_number"];
/// What the lack of control groups and devices does not allow.
const NOT_IN_A_USER_NAMESPACE: &[&str] =
    &["device_nodes_of_a_sandbox_are_dead", "common_devices_can_be_made", "memory_is_limited"];

/// What a process with a table of emulators of its own cannot do, as it is in a user namespace.
const NOT_WHERE_PROGRAMS_ARE_EMULATED: &[&str] =
    &["device_nodes_of_a_sandbox_are_dead", "common_devices_can_be_made"];

/// An executor whose processes may all start programs of other architectures: in everything else they
/// are as they would be without, which the same suite shows.
#[derive(Debug)]
struct Emulating<'a> {
    executor: &'a dyn Executor,
    name: String,
}

impl<'a> Emulating<'a> {
    fn new(executor: &'a dyn Executor) -> Self {
        Self { executor, name: format!("emulating {}", executor.name()) }
    }
}

#[async_trait::async_trait]
impl Executor for Emulating<'_> {
    async fn start(
        &self,
        mut process: Process,
        stdio: Stdio,
    ) -> Result<Box<dyn Running>, ExecError> {
        process.emulation = Some(Emulation::Private(Vec::new()));
        Ok(Box::new(EmulatingProcess(self.executor.start(process, stdio).await?)))
    }

    fn name(&self) -> &str {
        &self.name
    }
}

#[derive(Debug)]
struct EmulatingProcess(Box<dyn Running>);

#[async_trait::async_trait]
impl Running for EmulatingProcess {
    async fn wait(&mut self) -> Result<ExitStatus, ExecError> {
        self.0.wait().await
    }

    fn kill(&self, signal: i32) {
        self.0.kill(signal);
    }

    fn terminate(&self, grace: Duration) {
        self.0.terminate(grace);
    }

    async fn exec(
        &self,
        mut process: ExecProcess,
        stdio: Stdio,
    ) -> Result<Box<dyn Running>, ExecError> {
        process.emulation = Some(Emulation::Private(Vec::new()));
        Ok(Box::new(Self(self.0.exec(process, stdio).await?)))
    }

    fn resize(&self, rows: u16, columns: u16) {
        self.0.resize(rows, columns);
    }
}

struct Tests<'a> {
    runtime: Runtime,
    directory: &'a Path,
    filter: String,
    failed: u32,
}

impl Tests<'_> {
    fn run_all(&mut self, spawner: &Spawner) {
        let native = Native::new(spawner.clone());
        let emulates = self.has_private_tables(spawner);
        self.run_suite(&native, &[]);
        if emulates {
            self.run_suite(&Emulating::new(&native), NOT_WHERE_PROGRAMS_ARE_EMULATED);
        }
        for (binary, arguments, lacks) in
            [("/usr/sbin/runc", &[][..], &[][..]), ("/usr/bin/crun", CRUN_ARGUMENTS, CRUN_LACKS)]
        {
            if Path::new(binary).exists() {
                let arguments = arguments.iter().map(|argument| (*argument).to_owned());
                let runtime = OciRuntime::new(spawner.clone(), binary, arguments.collect());
                self.run_suite(&runtime, lacks);
                if emulates {
                    let lacks = [lacks, NOT_WHERE_PROGRAMS_ARE_EMULATED].concat();
                    self.run_suite(&Emulating::new(&runtime), &lacks);
                }
            } else {
                println!("skipped: needs {binary}");
            }
        }
        self.run("host::processes_run_with_their_own_environment", |tests| {
            tests.runtime.block_on(host_processes_run_with_their_own_environment(spawner));
        });
        self.run("host::dropping_kills_the_group", |tests| {
            tests.runtime.block_on(dropping_kills_the_group(spawner));
        });
        self.run("native::nothing_outlives_the_daemon", |_| nothing_outlives_the_daemon());
        self.run("native::the_suite_holds_without_privileges", |_| without_privileges());
    }

    /// Whether the kernel gives user namespaces a table of emulators of their own.
    fn has_private_tables(&self, spawner: &Spawner) -> bool {
        match self.runtime.block_on(spawner.prepare_emulation(&[])) {
            Ok(()) => true,
            Err(error) => {
                println!("skipped: tables of emulators ({error})");
                false
            }
        }
    }

    fn run_suite(&mut self, executor: &dyn Executor, lacks: &[&str]) {
        let directory = self.directory;
        let lab = Lab::new(executor, directory).expect("make a laboratory");
        for (name, case) in executor_suite() {
            let full_name = format!("{}::{name}", executor.name());
            if lacks.contains(name) {
                println!("skipped: {full_name} needs what is not there");
            } else {
                self.run(&full_name, |tests| tests.runtime.block_on(case(&lab)));
            }
        }
    }

    fn run(&mut self, name: &str, test: impl FnOnce(&Self)) {
        if !name.contains(&self.filter) {
            return;
        }
        let passed = std::panic::catch_unwind(AssertUnwindSafe(|| test(self))).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        self.failed += u32::from(!passed);
    }
}

async fn host_processes_run_with_their_own_environment(spawner: &Spawner) {
    let (stdio, mut pipes) = Stdio::piped().expect("make pipes");
    let process = HostProcess {
        args: ["sh", "-c", "echo $A; env | wc -l; pwd; exit 3"].map(str::to_owned).to_vec(),
        env: vec!["A=b".into(), "PATH=/bin:/usr/bin".into()],
        cwd: "/usr".into(),
    };
    let mut running = spawn_host(spawner, process, stdio).await.expect("starts");
    let mut text = String::new();
    pipes.stdout.read_to_string(&mut text).await.expect("read");
    // The shell adds its own PWD.
    assert_eq!(text, "b\n3\n/usr\n");
    assert_eq!(running.wait().await.expect("ends").code, 3);
    let missing = HostProcess { args: vec!["/no/such".into()], ..HostProcess::default() };
    let error = spawn_host(spawner, missing, Stdio::null().expect("streams")).await;
    let error = error.expect_err("no such program").to_string();
    assert_eq!(error, "exec /no/such: no such file or directory");
}

async fn dropping_kills_the_group(spawner: &Spawner) {
    let (stdio, mut pipes) = Stdio::piped().expect("make pipes");
    let args = ["/bin/sh", "-c", "sleep 60 & echo ready; sleep 60"].map(str::to_owned).to_vec();
    let process = HostProcess { args, ..HostProcess::default() };
    let running = spawn_host(spawner, process, stdio).await.expect("starts");
    pipes.stdout.read_u8().await.expect("it prints");
    drop(running);
    let mut rest = Vec::new();
    let rest = pipes.stdout.read_to_end(&mut rest);
    tokio::time::timeout(Duration::from_secs(10), rest).await.expect("closes").expect("read");
}

/// Starts this program again, has it run a container, and kills it without warning.
fn nothing_outlives_the_daemon() {
    let directory = tempfile::tempdir().expect("make a directory");
    let mut victim = Command::new("/proc/self/exe")
        .arg(format!("{VICTIM}{}", directory.path().display()))
        .stdout(Output::piped())
        .spawn()
        .expect("start a victim");
    let mut stdout = victim.stdout.take().expect("its output");
    let mut line = [0; 6];
    stdout.read_exact(&mut line).expect("the container prints");
    victim.kill().expect("kill it");
    victim.wait().expect("it ends");
    // The container has the other end, so this only returns once it is dead.
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).expect("closes");
}

/// Runs a container on this process' own output, until killed.
fn be_a_victim(directory: &Path) -> ! {
    let spawner = Spawner::start(&directory.join("scratch")).expect("start the spawner");
    let runtime = Runtime::new().expect("start a runtime");
    let executor = Native::new(spawner);
    let lab = Lab::new(&executor, directory).expect("make a laboratory");
    runtime.block_on(async {
        let output = || std::io::stdout().as_fd().try_clone_to_owned().expect("duplicate");
        let stdio = Stdio { stdin: None, stdout: output(), stderr: output() };
        let process = lab.shell("sleep 60 & echo ready; sleep 60");
        let mut running = executor.start(process, stdio).await.expect("starts");
        running.wait().await.expect("ends");
    });
    std::process::exit(1)
}

/// Runs this program again as nobody.
fn without_privileges() {
    let directory = tempfile::tempdir().expect("make a directory");
    let program = directory.path().join("executor");
    std::fs::copy("/proc/self/exe", &program).expect("copy the program");
    for path in [directory.path(), &program] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("set mode");
    }
    let home = directory.path().join("home");
    std::fs::create_dir(&home).expect("make a directory");
    std::os::unix::fs::chown(&home, Some(65534), Some(65534)).expect("give it away");
    let output = Command::new(&program)
        .arg(UNPRIVILEGED)
        .env("TMPDIR", &home)
        .current_dir("/")
        .uid(65534)
        .gid(65534)
        .output()
        .expect("run as nobody");
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{}", text.replace("native::", "unprivileged::").trim_end());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("output_and_exit_code_come_back ... ok"), "{text}");
}
