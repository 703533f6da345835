//! The contract of an [`Executor`], as a suite that runs unchanged for every one.
//!
//! A [`Lab`] holds a root made of the host's static busybox; [`executor_suite`] lists the cases, each
//! of which runs real processes. The caller needs root, or to be root in a user namespace.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::{
    ExecError, ExecProcess, Executor, ExitStatus, Mount, MountSource, Network, Process, Resources,
    Rootfs, Running, Security, Stdio, Ulimit,
};

/// No case takes longer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// One case: what it claims, and how to see whether that holds. It panics if not.
pub type Case = (&'static str, for<'a> fn(&'a Lab<'a>) -> CaseFuture<'a>);
/// A running case.
pub type CaseFuture<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        &[$((stringify!($name), |lab| Box::pin($name(lab)))),*]
    };
}

/// Every claim about an executor.
pub fn executor_suite() -> &'static [Case] {
    cases![
        output_and_exit_code_come_back,
        a_signal_is_128_and_its_number,
        environment_and_directory_are_as_asked,
        of_duplicate_variables_the_last_counts,
        a_missing_directory_is_made_for_the_user,
        a_user_may_be_a_name_or_a_number,
        an_unknown_user_is_an_error,
        a_missing_program_is_an_error_that_names_it,
        input_is_passed_through,
        no_network_means_loopback_only,
        a_readonly_root_refuses_writes,
        a_root_of_layers_only_stays_as_it_is,
        writes_go_to_the_upper_layer,
        mounts_show_their_sources,
        a_selector_cannot_leave_its_source,
        overlays_can_be_mounted_anywhere,
        mount_points_in_a_shared_directory_are_everybodys,
        stubs_of_mounts_are_removed,
        a_stub_that_was_used_stays,
        times_of_directories_with_stubs_are_restored,
        links_do_not_lead_outside,
        extra_hosts_are_known,
        name_servers_are_known,
        limits_are_set,
        a_sandbox_has_few_privileges,
        a_restricted_process_has_none_and_gains_none,
        a_root_in_memory_is_empty,
        device_nodes_of_a_sandbox_are_dead,
        common_devices_can_be_made,
        an_unconfined_process_may_mount,
        an_unconfined_process_has_groups_of_its_own,
        many_layers_make_one_root,
        a_large_environment_arrives,
        many_processes_run_at_once,
        killing_ends_the_tree,
        dropping_ends_the_tree,
        a_process_that_is_asked_to_end_may_put_things_in_order,
        a_process_that_does_not_end_in_time_is_killed,
        processes_that_do_not_handle_the_signal_get_no_time,
        a_terminal_controls_the_process,
        a_terminal_can_be_resized,
        memory_is_limited,
        a_second_process_joins_the_first,
    ]
}

/// What a case works with.
#[derive(Debug)]
pub struct Lab<'a> {
    executor: &'a dyn Executor,
    directory: &'a Path,
    counter: AtomicU32,
}

/// What a process has left.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl<'a> Lab<'a> {
    /// A laboratory in an empty `directory`, on a file system that can be the upper one of an overlay.
    pub fn new(executor: &'a dyn Executor, directory: &'a Path) -> io::Result<Self> {
        make_base(&directory.join("base"))?;
        Ok(Self { executor, directory, counter: AtomicU32::new(0) })
    }

    /// The layer with busybox.
    pub fn base(&self) -> PathBuf {
        self.directory.join("base")
    }

    /// A new empty directory.
    pub fn fresh(&self) -> PathBuf {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.join(format!("{}-{number}", self.executor.name()));
        fs::create_dir(&path).expect("make a directory");
        path
    }

    /// A writable root on top of the base, and its upper layer.
    pub fn root(&self) -> (Rootfs, PathBuf) {
        let (upper, work) = (self.fresh(), self.fresh());
        fs::set_permissions(&upper, fs::Permissions::from_mode(0o755)).expect("set mode");
        (Rootfs::Overlay { lowers: vec![self.base()], upper: upper.clone(), work }, upper)
    }

    /// A process that runs `script` in a shell on a new writable root.
    pub fn shell(&self, script: &str) -> Process {
        self.process(&["/bin/sh", "-c", script])
    }

    /// A process on a new writable root.
    pub fn process(&self, args: &[&str]) -> Process {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        let id = format!("kiln-test-{}-{number}", std::process::id());
        Process::new(id, self.root().0, args)
    }

    /// Runs a process to its end.
    pub async fn run(&self, process: Process) -> Result<Output, ExecError> {
        let (stdio, mut pipes) = Stdio::piped()?;
        let mut running = self.executor.start(process, stdio).await?;
        drop(pipes.stdin);
        let (mut stdout, mut stderr) = (String::new(), String::new());
        let all = async {
            pipes.stdout.read_to_string(&mut stdout).await.expect("read output");
            pipes.stderr.read_to_string(&mut stderr).await.expect("read errors");
            running.wait().await
        };
        let status = timeout(TIMEOUT, all).await.expect("the process ends")?;
        Ok(Output { status, stdout, stderr })
    }

    /// Runs a process that must succeed; returns what it printed.
    pub async fn print(&self, process: Process) -> String {
        let output = self.run(process).await.expect("the process starts");
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    /// Starts a process, and waits for its first line of output.
    async fn start(
        &self,
        process: Process,
    ) -> (Box<dyn Running>, tokio::net::unix::pipe::Receiver) {
        let (stdio, mut pipes) = Stdio::piped().expect("make pipes");
        let running = self.executor.start(process, stdio).await.expect("the process starts");
        let byte = timeout(TIMEOUT, pipes.stdout.read_u8()).await.expect("it prints");
        byte.expect("it prints a byte");
        (running, pipes.stdout)
    }
}

fn make_base(base: &Path) -> io::Result<()> {
    if base.exists() {
        return Ok(());
    }
    for directory in ["bin", "etc", "tmp", "home/ann"] {
        fs::create_dir_all(base.join(directory))?;
    }
    fs::copy("/bin/busybox", base.join("bin/busybox"))?;
    for applet in [
        "sh", "cat", "id", "ls", "true", "sleep", "pwd", "env", "echo", "touch", "stat", "mknod",
        "tty", "hostname", "ip", "grep", "mount", "kill", "dd", "stty", "chmod", "ps",
    ] {
        symlink("busybox", base.join("bin").join(applet))?;
    }
    fs::write(base.join("etc/passwd"), "root:x:0:0::/root:\nann:x:1000:1001::/home/ann:\n")?;
    fs::write(base.join("etc/group"), "ann:x:1001:\nstaff:x:50:ann\n")?;
    fs::write(base.join("etc/plain"), "not a program\n")
}

async fn output_and_exit_code_come_back(lab: &Lab<'_>) {
    let output = lab.run(lab.shell("echo out; echo err >&2; exit 7")).await.expect("starts");
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(output.status, ExitStatus { code: 7, oom_killed: false });
}

async fn a_signal_is_128_and_its_number(lab: &Lab<'_>) {
    let (mut running, _stdout) = lab.start(lab.shell("echo ready; exec sleep 60")).await;
    running.kill(libc::SIGKILL);
    let status = timeout(TIMEOUT, running.wait()).await.expect("it ends").expect("a status");
    assert_eq!(status.code, 137);
}

async fn environment_and_directory_are_as_asked(lab: &Lab<'_>) {
    let process = Process {
        env: vec!["A=1".into(), "B=two words".into()],
        cwd: "/etc".into(),
        hostname: "builder".into(),
        ..lab.shell("echo $A $B; pwd; hostname; echo $PATH $HOME")
    };
    let text = lab.print(process).await;
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(text, format!("1 two words\n/etc\nbuilder\n{path} /root\n"));
    assert_eq!(lab.print(lab.process(&["hostname"])).await, "buildkitsandbox\n");
}

async fn of_duplicate_variables_the_last_counts(lab: &Lab<'_>) {
    let env = vec!["A=1".into(), "A=2".into()];
    assert_eq!(lab.print(Process { env, ..lab.shell("echo $A") }).await, "2\n");
}

async fn a_missing_directory_is_made_for_the_user(lab: &Lab<'_>) {
    let process = Process {
        cwd: "/new/place".into(),
        user: "ann".into(),
        ..lab.shell("pwd; stat -c '%u:%g %a' . /new; touch file")
    };
    assert_eq!(lab.print(process).await, "/new/place\n1000:1001 755\n1000:1001 755\n");
}

async fn a_user_may_be_a_name_or_a_number(lab: &Lab<'_>) {
    for (user, expected) in [
        ("", "0 0 0 /root"),
        ("7", "7 0 0 /"),
        ("7:8", "7 8 8 /"),
        ("ann", "1000 1001 1001 50 /home/ann"),
        ("ann:staff", "1000 50 50 /home/ann"),
    ] {
        let script = "echo $(id -u) $(id -g) $(id -G) $HOME; cat /dev/null > /dev/stdout";
        let text = lab.print(Process { user: user.into(), ..lab.shell(script) }).await;
        assert_eq!(text, format!("{expected}\n"), "user {user:?}");
    }
}

async fn an_unknown_user_is_an_error(lab: &Lab<'_>) {
    let error = lab.run(Process { user: "eve".into(), ..lab.shell("id") }).await;
    let text = error.expect_err("no such user").to_string();
    assert!(text.contains("unable to find user eve: no matching entries in passwd file"), "{text}");
}

async fn a_missing_program_is_an_error_that_names_it(lab: &Lab<'_>) {
    for (program, expected) in [
        ("/no/such", "no such file or directory"),
        ("nosuch", "executable file not found in $PATH"),
        ("/etc/plain", "permission denied"),
    ] {
        let error = lab.run(lab.process(&[program])).await.expect_err("no such program");
        assert!(matches!(error, ExecError::Program { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(expected) && text.contains(program), "{text}");
    }
}

async fn input_is_passed_through(lab: &Lab<'_>) {
    let (stdio, mut pipes) = Stdio::piped().expect("make pipes");
    let mut running = lab.executor.start(lab.process(&["cat"]), stdio).await.expect("starts");
    tokio::io::AsyncWriteExt::write_all(&mut pipes.stdin, b"hello").await.expect("write");
    drop(pipes.stdin);
    let mut text = String::new();
    pipes.stdout.read_to_string(&mut text).await.expect("read");
    assert_eq!(text, "hello");
    assert!(running.wait().await.expect("ends").success());
    assert!(running.wait().await.expect("still ended").success());
}

async fn no_network_means_loopback_only(lab: &Lab<'_>) {
    let script = "ls /sys/class/net; ip -o link show lo | grep -c ',UP'";
    assert_eq!(lab.print(lab.shell(script)).await, "lo\n1\n");
    let host = Process { network: Network::Host, ..lab.shell("ip -o link | grep -c :") };
    let devices = fs::read_dir("/sys/class/net").expect("list devices").count();
    assert_eq!(lab.print(host).await.trim(), devices.to_string());
}

async fn a_readonly_root_refuses_writes(lab: &Lab<'_>) {
    let (rootfs, upper) = lab.root();
    let script = "touch /file 2>&1; echo x > /etc/new 2>&1; echo ok > /data/file; cat /data/file";
    let process = Process {
        rootfs,
        readonly_rootfs: true,
        mounts: vec![Mount::new("/data", MountSource::Bind(lab.fresh()))],
        ..lab.shell(script)
    };
    let output = lab.run(process).await.expect("starts");
    assert!(output.stdout.contains("Read-only file system"), "{output:?}");
    assert!(output.stdout.ends_with("ok\n"), "{output:?}");
    assert!(!upper.join("file").exists() && !upper.join("data").exists());
}

async fn a_root_of_layers_only_stays_as_it_is(lab: &Lab<'_>) {
    let top = lab.fresh();
    fs::write(top.join("top"), "").expect("write");
    let before = listing(&lab.base());
    for rootfs in [
        Rootfs::OverlayReadonly { lowers: vec![top, lab.base()] },
        Rootfs::OverlayReadonly { lowers: vec![lab.base()] },
        Rootfs::Bind { source: lab.base(), readonly: true },
    ] {
        let process =
            Process { rootfs, readonly_rootfs: true, ..lab.shell("cat /etc/passwd /proc/uptime") };
        assert!(lab.print(process).await.contains("ann"));
    }
    assert_eq!(listing(&lab.base()), before);
}

async fn writes_go_to_the_upper_layer(lab: &Lab<'_>) {
    let (rootfs, upper) = lab.root();
    lab.print(Process { rootfs, ..lab.shell("echo hi > /etc/new") }).await;
    assert_eq!(fs::read_to_string(upper.join("etc/new")).expect("a file"), "hi\n");
    assert!(!lab.base().join("etc/new").exists());
}

async fn mounts_show_their_sources(lab: &Lab<'_>) {
    let (source, secret) = (lab.fresh(), lab.fresh().join("secret"));
    fs::create_dir_all(source.join("a/b")).expect("make directories");
    fs::write(source.join("a/b/file"), "selected\n").expect("write");
    fs::write(&secret, "secret\n").expect("write");
    let script = "cat /one/a/b/file /two/file /run/secret; \
                  echo x > /two/x 2>/dev/null || echo refused; echo y > /one/y; \
                  grep ' /mem ' /proc/mounts | grep -c size=1024k; stat -c %a /mem";
    let process = Process {
        mounts: vec![
            Mount::new("/two", MountSource::Bind(source.clone())).select("a/b").readonly(),
            Mount::new("/one", MountSource::Bind(source.clone())),
            Mount::new("/mem", MountSource::Tmpfs { size: Some(1 << 20), mode: 0o1777 }),
            Mount::new("/run/secret", MountSource::File(secret)).readonly(),
        ],
        ..lab.shell(script)
    };
    let text = lab.print(process).await;
    assert_eq!(text, "selected\nselected\nsecret\nrefused\n1\n1777\n");
    assert_eq!(fs::read_to_string(source.join("y")).expect("a file"), "y\n");
}

async fn a_selector_cannot_leave_its_source(lab: &Lab<'_>) {
    let (source, outside) = (lab.fresh(), lab.fresh());
    fs::create_dir(source.join("etc")).expect("make a directory");
    fs::write(source.join("etc/passwd"), "inside\n").expect("write");
    symlink("/etc", source.join("link")).expect("link");
    symlink(&outside, source.join("away")).expect("link");
    for selector in ["link/passwd", "../../etc/passwd", "/etc/passwd"] {
        let mount = Mount::new("/seen", MountSource::Bind(source.clone())).select(selector);
        let text = lab.print(Process { mounts: vec![mount], ..lab.shell("cat /seen") }).await;
        assert_eq!(text, "inside\n", "selector {selector}");
    }
    let mount = Mount::new("/seen", MountSource::Bind(source)).select("away");
    let error = lab.run(Process { mounts: vec![mount], ..lab.shell("true") }).await;
    let text = error.expect_err("not in the source").to_string();
    assert!(text.contains("no such file or directory"), "{text}");
}

async fn overlays_can_be_mounted_anywhere(lab: &Lab<'_>) {
    let (low, top, upper, work) = (lab.fresh(), lab.fresh(), lab.fresh(), lab.fresh());
    fs::write(low.join("low"), "low\n").expect("write");
    fs::write(top.join("top"), "top\n").expect("write");
    let lowers = vec![top, low.clone()];
    let source = MountSource::Overlay { lowers: lowers.clone(), upper: upper.clone(), work };
    let single = MountSource::OverlayReadonly { lowers: vec![low] };
    let process = Process {
        mounts: vec![
            Mount::new("/src", source),
            Mount::new("/ro", MountSource::OverlayReadonly { lowers }),
            Mount::new("/src/one", single),
        ],
        ..lab.shell(
            "cat /src/low /ro/top /src/one/low; echo n > /src/n; \
             for d in /ro /src/one; do echo n > $d/n 2>/dev/null || echo refused; done",
        )
    };
    assert_eq!(lab.print(process).await, "low\ntop\nlow\nrefused\nrefused\n");
    assert_eq!(listing(&upper), ["n"]);
}

/// Two processes at once, each with a mount in the directory they share.
async fn mount_points_in_a_shared_directory_are_everybodys(lab: &Lab<'_>) {
    let (shared, own) = (lab.fresh(), lab.fresh());
    fs::write(own.join("own"), "own\n").expect("write");
    let run = async |script: &str| {
        let mut mounts = vec![
            Mount::new("/shared", MountSource::Bind(shared.clone())),
            Mount::new("/shared/deep/own", MountSource::Bind(own.clone())),
        ];
        mounts[0].shared = true;
        lab.print(Process { mounts, remove_mount_stubs: true, ..lab.shell(script) }).await
    };
    let wait = "until [ -e /shared/done ]; do sleep 0.01; done; cat /shared/deep/own/own";
    let others = async {
        let both = tokio::join!(run("cat /shared/deep/own/own"), run("cat /shared/deep/own/own"));
        assert_eq!(both, ("own\n".to_owned(), "own\n".to_owned()));
        run("touch /shared/done").await
    };
    let (late, _) = tokio::join!(run(wait), others);
    assert_eq!(late, "own\n", "others have left meanwhile");
    assert_eq!(listing(&shared.join("deep")), ["own"]);
}

async fn stubs_of_mounts_are_removed(lab: &Lab<'_>) {
    let (rootfs, upper) = lab.root();
    let file = lab.fresh().join("file");
    fs::write(&file, "").expect("write");
    let mounts = vec![
        Mount::new("/kept/mount", MountSource::Bind(lab.fresh())),
        Mount::new("/etc/secret", MountSource::File(file)),
    ];
    let process = Process { rootfs, mounts: mounts.clone(), ..lab.shell("echo x > /kept/mount/x") };
    lab.print(process).await;
    assert_eq!(listing(&upper), ["etc", "kept"]);
    let (rootfs, upper) = lab.root();
    let process = Process { rootfs, mounts, remove_mount_stubs: true, ..lab.shell("true") };
    lab.print(process).await;
    assert_eq!(listing(&upper), ["etc"]);
}

async fn a_stub_that_was_used_stays(lab: &Lab<'_>) {
    let (rootfs, upper) = lab.root();
    let process = Process {
        rootfs,
        remove_mount_stubs: true,
        mounts: vec![Mount::new("/made/mount", MountSource::Bind(lab.fresh()))],
        ..lab.shell("echo x > /made/file")
    };
    lab.print(process).await;
    assert_eq!(listing(&upper.join("made")), ["file"]);
}

async fn times_of_directories_with_stubs_are_restored(lab: &Lab<'_>) {
    let (rootfs, upper) = lab.root();
    let before = fs::metadata(lab.base().join("etc")).expect("stat");
    let process = Process { rootfs: rootfs.clone(), ..lab.shell("stat -c %Y /etc") };
    lab.print(process).await;
    let after = fs::metadata(upper.join("etc")).expect("stat");
    assert_eq!((after.mtime(), after.mtime_nsec()), (before.mtime(), before.mtime_nsec()));
    let changed = Process { rootfs, ..lab.shell("touch -d '2001-01-01 00:00:00' /etc") };
    lab.print(changed).await;
    let after = fs::metadata(upper.join("etc")).expect("stat");
    assert_eq!(after.mtime(), 978_307_200);
}

async fn links_do_not_lead_outside(lab: &Lab<'_>) {
    let outside = lab.fresh();
    let (rootfs, upper) = lab.root();
    fs::create_dir(upper.join("etc")).expect("make a directory");
    let far = format!("/../../..{}/x", outside.display());
    symlink(&far, upper.join("etc/resolv.conf")).expect("link");
    symlink(&outside, upper.join("data")).expect("link");
    symlink("/proc/self/cwd", upper.join("magic")).expect("link");
    let process = Process {
        rootfs,
        mounts: vec![Mount::new("/data/sub", MountSource::Bind(lab.fresh()))],
        ..lab.shell("cat /etc/resolv.conf > /dev/null && ls -d /data/sub")
    };
    assert_eq!(lab.print(process).await, "/data/sub\n");
    assert_eq!(listing(&outside), [""; 0]);
}

async fn extra_hosts_are_known(lab: &Lab<'_>) {
    let extra_hosts = vec![("db".into(), "10.0.0.7".into())];
    let text = lab.print(Process { extra_hosts, ..lab.shell("cat /etc/hosts") }).await;
    assert!(text.starts_with("127.0.0.1\tlocalhost buildkitsandbox\n"), "{text}");
    assert!(text.ends_with("10.0.0.7\tdb\n"), "{text}");
    let refused = lab.run(lab.shell("echo x >> /etc/hosts")).await.expect("starts");
    assert!(!refused.status.success());
}

async fn name_servers_are_known(lab: &Lab<'_>) {
    let text = lab.print(lab.shell("cat /etc/resolv.conf")).await;
    assert!(text.contains("nameserver"), "{text}");
    let file = lab.fresh().join("resolv.conf");
    fs::write(&file, "nameserver 9.9.9.9\n").expect("write");
    let process = Process { resolv_conf: Some(file), ..lab.shell("cat /etc/resolv.conf") };
    assert_eq!(lab.print(process).await, "nameserver 9.9.9.9\n");
}

async fn limits_are_set(lab: &Lab<'_>) {
    let ulimits = vec![Ulimit { name: "nofile".into(), soft: 111, hard: 222 }];
    let process = Process { ulimits, ..lab.shell("ulimit -n; ulimit -H -n; umask") };
    assert_eq!(lab.print(process).await, "111\n222\n0022\n");
}

async fn memory_is_limited(lab: &Lab<'_>) {
    let resources = Resources { memory: Some(32 << 20), ..Resources::default() };
    let script = "grep -E '(memory|0:):' /proc/self/cgroup; \
                  dd if=/dev/zero of=/dev/shm/big bs=1M count=60 2>/dev/null";
    let process = Process {
        resources,
        cgroup_parent: Some("kiln-test".into()),
        mounts: vec![Mount::new("/dev/shm", MountSource::Tmpfs { size: None, mode: 0o1777 })],
        ..lab.shell(script)
    };
    let id = process.id.clone();
    let output = lab.run(process).await.expect("starts");
    assert!(output.stdout.contains(&format!("/kiln-test/buildkit/{id}")), "{output:?}");
    assert_eq!(output.status.code, 137, "{output:?}");
}

async fn a_sandbox_has_few_privileges(lab: &Lab<'_>) {
    let status = lab.print(lab.shell("cat /proc/self/status")).await;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).expect("a field");
        line[name.len()..].trim().to_owned()
    };
    for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
        assert_eq!(field(set), "00000000a80425fb", "{set}");
    }
    assert_eq!(
        (field("CapInh:").as_str(), field("CapAmb:").as_str()),
        ("0000000000000000", "0000000000000000")
    );
    assert_eq!(field("NoNewPrivs:"), "0");
    assert_eq!(field("Seccomp:"), "2");
    let script = "mount -t tmpfs x /tmp 2>&1; echo 1 > /proc/sys/kernel/panic; echo 2>&1; \
                  cat /proc/kcore | dd bs=1 count=1 2>/dev/null; ls /sys/firmware";
    let output = lab.run(lab.shell(script)).await.expect("starts");
    assert!(output.stdout.to_lowercase().contains("permi"), "{output:?}");
    assert!(output.stderr.contains("Read-only file system"), "{output:?}");
}

async fn a_restricted_process_has_none_and_gains_none(lab: &Lab<'_>) {
    let script = "grep -E '^(Cap...|NoNewPrivs|Seccomp):' /proc/self/status";
    let process = Process { security: Security::Restricted, ..lab.shell(script) };
    let output = lab.run(process).await.expect("runs");
    let mut values: Vec<_> =
        output.stdout.lines().filter_map(|line| line.split_once(":\t")).collect();
    values.retain(|(name, _)| *name != "CapAmb");
    let none = "0000000000000000";
    let expected = [
        ("CapInh", none),
        ("CapPrm", none),
        ("CapEff", none),
        ("CapBnd", none),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ];
    assert_eq!(values, expected, "{output:?}");
}

async fn a_root_in_memory_is_empty(lab: &Lab<'_>) {
    let mut process = lab.process(&["/tools/bin/sh", "-c", "echo /*; echo > /new && echo written"]);
    process.rootfs = Rootfs::Memory;
    process.mounts = vec![Mount::new("/tools", MountSource::Bind(lab.base())).readonly()];
    let output = lab.run(process).await.expect("runs");
    assert_eq!(output.stdout, "/dev /etc /proc /sys /tools\nwritten\n", "{output:?}");
}

async fn device_nodes_of_a_sandbox_are_dead(lab: &Lab<'_>) {
    let script = "echo x > /dev/null && dd if=/dev/zero bs=1 count=1 2>/dev/null | wc -c; \
                  for d in /tmp /dev; do \
                  mknod $d/disk b 254 0 && dd if=$d/disk of=/dev/null bs=512 count=1 && echo ALIVE; \
                  mknod $d/mem c 1 1 && dd if=$d/mem of=/dev/null bs=512 count=1 && echo ALIVE; \
                  done; true";
    let output = lab.run(lab.shell(&script.replace("wc -c", "/bin/busybox wc -c"))).await;
    let output = output.expect("starts");
    assert_eq!(output.stdout, "1\n", "{output:?}");
}

/// Tools that make root file systems check for this before they start.
async fn common_devices_can_be_made(lab: &Lab<'_>) {
    lab.print(lab.shell("mknod /tmp/null c 1 3 && echo x > /tmp/null")).await;
}

async fn an_unconfined_process_may_mount(lab: &Lab<'_>) {
    let script = "mount -t tmpfs x /tmp && touch /tmp/y && grep Seccomp: /proc/self/status";
    let process = Process { security: Security::Insecure, ..lab.shell(script) };
    assert_eq!(lab.print(process).await, "Seccomp:\t0\n");
}

/// Nothing of what it makes there is left behind.
async fn an_unconfined_process_has_groups_of_its_own(lab: &Lab<'_>) {
    // Where the second version is, or no group can be made, other rules hold.
    let process = Process { security: Security::Insecure, ..lab.shell("ls /sys/fs/cgroup") };
    if !lab.print(process).await.lines().any(|name| name == "cpuset") {
        return;
    }
    let script = "mkdir /sys/fs/cgroup/cpuset/below && ls -d /sys/fs/cgroup/cpuset/below";
    let process = Process { security: Security::Insecure, ..lab.shell(script) };
    let group = Path::new("/sys/fs/cgroup/cpuset/buildkit").join(&process.id);
    assert_eq!(lab.print(process).await, "/sys/fs/cgroup/cpuset/below\n");
    assert!(!group.exists(), "{}", group.display());
    let refused = lab.run(lab.shell("mkdir /sys/fs/cgroup/cpuset/below")).await.expect("starts");
    assert_ne!(refused.status.code, 0, "{refused:?}");
}

async fn many_layers_make_one_root(lab: &Lab<'_>) {
    let mut lowers = Vec::new();
    for number in 0..120 {
        let layer = lab.fresh();
        fs::write(layer.join(format!("file-{number}")), "").expect("write");
        fs::write(layer.join("top"), format!("{number}\n")).expect("write");
        lowers.push(layer);
    }
    lowers.push(lab.base());
    let rootfs = Rootfs::Overlay { lowers, upper: lab.fresh(), work: lab.fresh() };
    let process = Process { rootfs, ..lab.shell("cat /top; ls / | grep -c file-") };
    assert_eq!(lab.print(process).await, "0\n120\n");
}

async fn a_large_environment_arrives(lab: &Lab<'_>) {
    let env = (0..10).map(|number| format!("V{number}={}", "x".repeat(100_000))).collect();
    let process = Process { env, ..lab.shell("echo ${#V0} ${#V9}") };
    assert_eq!(lab.print(process).await, "100000 100000\n");
}

async fn many_processes_run_at_once(lab: &Lab<'_>) {
    let script = |number: u32| format!("echo {number}; exec sleep 0.2");
    let runs = (0..24).map(|number| lab.print(lab.shell(&script(number))));
    let mut runs: Vec<_> = runs.map(Box::pin).collect();
    let mut outputs = Vec::new();
    std::future::poll_fn(|context| {
        runs.retain_mut(|run| match run.as_mut().poll(context) {
            Poll::Ready(output) => {
                outputs.push(output.trim().parse::<u32>().expect("a number"));
                false
            }
            Poll::Pending => true,
        });
        if runs.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outputs.sort_unstable();
    assert_eq!(outputs, (0..24).collect::<Vec<_>>());
}

async fn killing_ends_the_tree(lab: &Lab<'_>) {
    let (mut running, mut stdout) = lab.start(lab.shell("sleep 60 & echo ready; sleep 60")).await;
    running.kill(libc::SIGKILL);
    let status = timeout(TIMEOUT, running.wait()).await.expect("it ends").expect("a status");
    assert_eq!(status.code, 137);
    // The pipe only closes once no process of the tree holds it.
    timeout(TIMEOUT, stdout.read_to_end(&mut Vec::new())).await.expect("closes").expect("read");
}

async fn dropping_ends_the_tree(lab: &Lab<'_>) {
    let (running, mut stdout) = lab.start(lab.shell("sleep 60 & echo ready; sleep 60")).await;
    drop(running);
    timeout(TIMEOUT, stdout.read_to_end(&mut Vec::new())).await.expect("closes").expect("read");
}

/// How long a process has that shall not need it.
const LONG: Duration = Duration::from_secs(600);

async fn a_process_that_is_asked_to_end_may_put_things_in_order(lab: &Lab<'_>) {
    let script =
        "trap 'sleep 0.2; echo saved; exit 3' TERM; echo ready; while :; do sleep 0.02; done";
    // The shell below is not the first of its namespace, and so is killed by the signal.
    let (mut running, mut stdout) =
        lab.start(lab.shell(&format!("sh -c 'sleep 60' & {script}"))).await;
    running.terminate(LONG);
    let status = timeout(TIMEOUT, running.wait()).await.expect("it ends").expect("a status");
    let mut text = String::new();
    timeout(TIMEOUT, stdout.read_to_string(&mut text)).await.expect("closes").expect("read");
    assert_eq!((status.code, text.ends_with("saved\n")), (3, true), "{text}");
}

async fn a_process_that_does_not_end_in_time_is_killed(lab: &Lab<'_>) {
    let script = "trap 'echo later' TERM; echo ready; while :; do sleep 0.02; done";
    let (mut running, mut stdout) = lab.start(lab.shell(script)).await;
    running.terminate(Duration::from_millis(300));
    let status = timeout(TIMEOUT, running.wait()).await.expect("it ends").expect("a status");
    let mut text = String::new();
    timeout(TIMEOUT, stdout.read_to_string(&mut text)).await.expect("closes").expect("read");
    assert_eq!((status.code, text.ends_with("later\n")), (137, true), "{text}");
}

async fn processes_that_do_not_handle_the_signal_get_no_time(lab: &Lab<'_>) {
    for script in ["echo ready; sleep 60; sleep 60", "trap '' TERM; echo ready; sleep 60"] {
        let (mut running, mut stdout) = lab.start(lab.shell(script)).await;
        running.terminate(LONG);
        let status = timeout(TIMEOUT, running.wait()).await.expect("it ends").expect("a status");
        assert!(status.code >= 128, "{status:?}");
        timeout(TIMEOUT, stdout.read_to_end(&mut Vec::new())).await.expect("closes").expect("read");
    }
}

async fn a_terminal_controls_the_process(lab: &Lab<'_>) {
    let (stdio, master) = Stdio::terminal(30, 90).expect("make a terminal");
    let script = "stty size; test -t 0 && echo terminal; trap 'exit 4' INT; echo ready; \
                  while :; do sleep 0.02; done";
    let process = Process { tty: true, ..lab.shell(script) };
    let mut running = lab.executor.start(process, stdio).await.expect("starts");
    let reader = tokio::task::spawn_blocking(move || read_terminal(master, "ready"));
    let (text, mut master) = timeout(TIMEOUT, reader).await.expect("prints").expect("reads");
    assert!(text.contains("30 90") && text.contains("terminal"), "{text}");
    io::Write::write_all(&mut master, &[3]).expect("press control and C");
    let status = timeout(TIMEOUT, running.wait()).await.expect("it ends").expect("a status");
    assert_eq!(status.code, 4);
}

async fn a_terminal_can_be_resized(lab: &Lab<'_>) {
    let (stdio, master) = Stdio::terminal(30, 90).expect("make a terminal");
    let script = "trap 'test \"$(stty size)\" = \"40 100\" && exit 5' WINCH; echo ready; \
                  while :; do sleep 0.02; done";
    let process = Process { tty: true, ..lab.shell(script) };
    let mut running = lab.executor.start(process, stdio).await.expect("starts");
    let reader = tokio::task::spawn_blocking(move || read_terminal(master, "ready"));
    let (_, master) = timeout(TIMEOUT, reader).await.expect("prints").expect("reads");
    running.resize(40, 100);
    let status = timeout(TIMEOUT, running.wait()).await.expect("it ends").expect("a status");
    assert_eq!(status.code, 5);
    drop(master);
}

/// Reads from a terminal until `until` was seen, or there is no more.
fn read_terminal(master: impl Into<fs::File>, until: &str) -> (String, fs::File) {
    let mut master = master.into();
    let (mut text, mut buffer) = (String::new(), [0; 256]);
    while !text.contains(until) {
        match io::Read::read(&mut master, &mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => text += &String::from_utf8_lossy(&buffer[..count]),
        }
    }
    (text, master)
}

async fn a_second_process_joins_the_first(lab: &Lab<'_>) {
    let script = "echo first > /tmp/file; echo ready; exec sleep 60";
    let (mut first, _stdout) = lab.start(lab.shell(script)).await;
    let exec = ExecProcess {
        args: ["/bin/sh", "-c", "cat /tmp/file; id -u; pwd; echo $X; hostname; exit 5"]
            .map(str::to_owned)
            .to_vec(),
        env: vec!["X=y".into(), "PATH=/bin".into()],
        cwd: "/etc".into(),
        user: "root".into(),
        ..ExecProcess::default()
    };
    let (stdio, mut pipes) = Stdio::piped().expect("make pipes");
    let mut second = first.exec(exec.clone(), stdio).await.expect("joins");
    let mut text = String::new();
    pipes.stdout.read_to_string(&mut text).await.expect("read");
    assert_eq!(text, "first\n0\n/etc\ny\nbuildkitsandbox\n");
    assert_eq!(second.wait().await.expect("ends").code, 5);
    let missing = ExecProcess { args: vec!["/no/such".into()], ..exec.clone() };
    let error = first.exec(missing, Stdio::null().expect("streams")).await.expect_err("missing");
    assert!(error.to_string().contains("no such file or directory"), "{error}");
    let sleeper = ExecProcess { args: vec!["sleep".into(), "60".into()], ..exec };
    let mut third = first.exec(sleeper, Stdio::null().expect("streams")).await.expect("joins");
    first.kill(libc::SIGKILL);
    let status = timeout(TIMEOUT, first.wait()).await.expect("ends").expect("a status");
    assert_eq!(status.code, 137);
    let status = timeout(TIMEOUT, third.wait()).await.expect("ends too").expect("a status");
    assert_eq!(status.code, 137);
}

/// Names in a directory, sorted.
fn listing(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("list a directory");
    let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<String> =
        entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
