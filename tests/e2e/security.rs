//! What nobody can do: the promises of `SECURITY.md` that only whole programs can break.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kiln_tests::{
    Build, Image, ImageConfig, Kiln, Kilnd, Outcome, Project, Registry, has_program, is_root, run,
    skip,
};

const SOON: Duration = Duration::from_secs(20);
/// A user and a group that nothing belongs to.
const STRANGER: u32 = 54321;
/// The group that may use a daemon.
const GROUP: u32 = 54322;

/// A plugin that says what it sees, on standard error, and ends.
const PEEK: &str = r#"#!/bin/sh
exec >&2
echo "root: $(echo /*)"
echo "beside: $(echo /plugin/*)"
for secret in /etc/passwd /etc/shadow /root /home /var/lib /run/kiln; do
    test -e $secret && echo "sees $secret"
done
echo "processes: $(echo /proc/[0-9]* | wc -w)"
echo "interfaces: $(tail -n +3 /proc/net/dev | wc -l)"
grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status
for place in /usr/new /plugin/new /bin/new /proc/sys/kernel/hostname; do
    (echo > $place) 2>/dev/null && echo "writes $place"
done
exit 3
"#;

/// A directory of plugins with one in it.
fn plugins(mode: u32) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let plugin = directory.path().join("kiln-frontend-peek");
    fs::write(&plugin, PEEK).unwrap();
    fs::set_permissions(&plugin, fs::Permissions::from_mode(mode)).unwrap();
    (directory, plugin)
}

/// A daemon that may start plugins of a directory.
fn daemon_with(plugins: &Path) -> Kilnd {
    Kilnd::with(&["--plugin-path", plugins.to_str().unwrap()])
}

fn call(kiln: &Kiln, frontend: impl AsRef<Path>) -> Outcome {
    kiln.build().frontend(frontend).run()
}

fn script(kiln: &Kiln, project: &Project) -> Outcome {
    kiln.build().frontend("dockerfile.v0").of(project).run()
}

#[track_caller]
fn is_confined(outcome: Outcome) {
    let none = "0000000000000000";
    let outcome = outcome.fails().says(&[
        "beside: /plugin/kiln-frontend-peek",
        "interfaces: 1",
        &format!("CapEff:\t{none}"),
        &format!("CapBnd:\t{none}"),
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ]);
    let said = &outcome.stderr;
    assert!(!said.contains("sees ") && !said.contains("writes "), "{outcome}");
    let processes = said.split("processes: ").nth(1).unwrap().lines().next().unwrap();
    assert!(processes.trim().parse::<u32>().unwrap() <= 5, "{outcome}");
}

#[test]
fn a_plugin_sees_the_system_and_itself() {
    let (directory, plugin) = plugins(0o755);
    is_confined(call(&Kiln::new(), &plugin));
    is_confined(call(&daemon_with(directory.path()).client(), "peek.v0"));
}

#[test]
fn a_client_cannot_choose_what_the_daemon_executes() {
    let (directory, plugin) = plugins(0o755);
    let daemon = daemon_with(directory.path());
    let client = daemon.client();
    for path in [plugin.to_str().unwrap(), "/bin/sh", "./sh", "../../bin/sh", "bin/sh"] {
        let refused = call(&client, path).fails();
        refused.says(&["starts plugins by name only", directory.path().to_str().unwrap()]);
    }
    call(&client, "sh").fails().says(&["no `kiln-frontend-sh` in the plugin directories"]);
    // Nor by way of a result of a build, whose place could be guessed.
    let snapshot = daemon.root().join("snapshots/1/fs/bin/sh");
    call(&client, &snapshot).fails().says(&["starts plugins by name only"]);
}

#[test]
fn a_plugin_that_others_can_change_is_not_started() {
    for mode in [0o775, 0o757, 0o777] {
        let (directory, _) = plugins(mode);
        let refused = call(&daemon_with(directory.path()).client(), "peek").fails();
        refused.says(&["is writable by others", "must belong to root or to the daemon's user"]);
    }
    let (directory, _) = plugins(0o755);
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    call(&daemon_with(directory.path()).client(), "peek").fails().says(&["is writable by others"]);
    if !is_root() {
        skip("root, to give a file away");
        return;
    }
    let (directory, plugin) = plugins(0o755);
    chown(&plugin, Some(STRANGER), None).unwrap();
    call(&daemon_with(directory.path()).client(), "peek").fails().says(&["belongs to user 54321"]);
}

#[test]
fn entitlements_are_the_operators_to_give() {
    let Some(registry) = Registry::start() else { return };
    let base = Image::busybox(ImageConfig::default()).push(&registry, "base:1");
    let project = Project::new(&[]);
    let build = |client: &Kiln, flag: &str, allow: &str| {
        project.write("Dockerfile", format!("FROM {base}\nRUN {flag} true\n"));
        let build: Build<'_> = client.build().frontend("dockerfile.v0").of(&project);
        build.flag(format!("--allow={allow}")).run()
    };
    let asked = [("--network=host", "network.host"), ("--security=insecure", "security.insecure")];
    let daemon = Kilnd::start();
    for (flag, allow) in asked {
        let refused = build(&daemon.client(), flag, allow).fails();
        refused.says(&[&format!("entitlement {allow} is not allowed")]);
    }
    let given: Vec<String> =
        asked.iter().map(|(_, allow)| format!("--allow-insecure-entitlement={allow}")).collect();
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    let daemon = Kilnd::with(&given);
    for (flag, allow) in asked {
        build(&daemon.client(), flag, allow).succeeds();
    }
}

/// A command of a user whom nothing here belongs to. By way of a shell: until its first program runs
/// `setpriv` may still do what root may.
fn as_stranger(group: u32, words: &[&str]) -> Outcome {
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={STRANGER}"), &format!("--regid={group}"), "--clear-groups"]);
    command.args(["/bin/sh", "-c", "exec \"$@\"", "sh"]).args(words);
    run(command, b"", SOON)
}

fn strangers_can_be_played() -> bool {
    let able = is_root() && has_program("setpriv");
    if !able {
        skip("root and setpriv");
    }
    able
}

/// Every path below a directory.
fn below(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![directory.to_owned()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        next += 1;
        if path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            found.extend(entries.map(|entry| entry.path()));
        }
    }
    found
}

#[test]
fn another_user_of_the_machine_sees_nothing_and_runs_nothing() {
    let Some(registry) = Registry::start() else { return };
    if !strangers_can_be_played() {
        return;
    }
    let base = Image::busybox(ImageConfig::default()).push(&registry, "base:1");
    let project = Project::new(&[]);
    project.write(
        "Dockerfile",
        format!(
            "FROM {base}\nRUN echo private > /letter && cp /bin/busybox /su && chmod 4755 /su\n"
        ),
    );
    // Whatever the mask of who starts it, and whatever was there.
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let root = home.path().join("state");
    fs::create_dir(&root).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o777)).unwrap();
    let kiln = Kiln::at(&root).launched_by(&["sh", "-c", "umask 0; exec \"$@\"", "sh"]);
    script(&kiln, &project).succeeds();
    let paths = below(&root);
    let letter = paths.iter().find(|path| path.ends_with("fs/letter")).expect("it was built");
    let su = paths.iter().find(|path| path.ends_with("fs/su")).expect("it was built");
    assert_eq!(su.symlink_metadata().unwrap().mode() & 0o7777, 0o4755);
    for words in [
        vec!["ls", root.to_str().unwrap()],
        vec!["cat", letter.to_str().unwrap()],
        vec!["cat", root.join("metadata.redb").to_str().unwrap()],
        vec![su.to_str().unwrap(), "id"],
        vec!["touch", root.join("planted").to_str().unwrap()],
    ] {
        let refused = as_stranger(STRANGER, &words);
        assert!(!refused.status.success(), "{refused}");
        assert!(refused.stderr.to_lowercase().contains("permission denied"), "{refused}");
    }
    for entry in fs::read_dir(&root).unwrap().flatten() {
        let (mode, kind) = (entry.metadata().unwrap().mode(), entry.file_type().unwrap());
        let open = entry.file_name() == "empty";
        assert!(open || mode & 0o077 == 0 || kind.is_socket_file(), "{entry:?} {mode:o}");
    }
}

/// What a directory entry may be, besides what the standard library asks for.
trait SocketFile {
    fn is_socket_file(&self) -> bool;
}

impl SocketFile for fs::FileType {
    fn is_socket_file(&self) -> bool {
        std::os::unix::fs::FileTypeExt::is_socket(self)
    }
}

#[test]
fn a_state_directory_that_is_open_is_closed_with_a_word() {
    let daemon = Kilnd::start();
    daemon.client().run(&["debug", "workers"]).succeeds();
    let root = daemon.root();
    for (path, mode) in [("", 0o755), ("snapshots", 0o755), ("metadata.redb", 0o644)] {
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    let daemon = daemon.restarted_with(&[]);
    daemon.client().run(&["debug", "workers"]).succeeds();
    let mode = |path: &str| root.join(path).metadata().unwrap().mode() & 0o7777;
    assert_eq!((mode(""), mode("snapshots"), mode("metadata.redb")), (0o700, 0o700, 0o600));
    let log = daemon.log();
    assert!(log.contains("was open to other users; closed it"), "{log}");
}

#[test]
fn sockets_are_for_their_owner_and_one_group() {
    if !strangers_can_be_played() {
        return;
    }
    let daemon = Kilnd::with(&[&format!("--group={GROUP}")]);
    daemon.client().run(&["debug", "workers"]).succeeds();
    let socket = daemon.socket();
    // The directory is the test's own; what counts here is the socket.
    let directory = socket.parent().unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    let metadata = fs::symlink_metadata(&socket).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.gid()), (0o660, GROUP));
    let kiln = kiln_tests::binaries().path("kiln");
    let address = format!("--addr=unix://{}", socket.display());
    let ask = |group| as_stranger(group, &[kiln.to_str().unwrap(), &address, "debug", "workers"]);
    ask(GROUP).succeeds();
    let refused = ask(STRANGER);
    assert!(!refused.status.success(), "{refused}");
}

#[test]
fn a_step_as_a_user_that_is_none_is_refused_and_never_root() {
    let Some(registry) = Registry::start() else { return };
    let base = Image::busybox(ImageConfig::default()).push(&registry, "base:1");
    let odd = "odd:x:4294967295:0::/:/bin/sh\nbig:x:4294967296:0::/:/bin/sh\n";
    let project = Project::new(&[("passwd", odd), ("file", "")]);
    let kiln = Kiln::new();
    let build = |lines: &str| {
        project.write("Dockerfile", format!("FROM {base}\n{lines}\n"));
        script(&kiln, &project)
    };
    for user in ["4294967295", "4294967296", "-1", "99999999999999999999", "0:4294967295"] {
        let refused = build(&format!("USER {user}\nRUN id -u > /tmp/id")).fails();
        refused.says(&["is out of range (0 to 4294967294)"]);
    }
    for name in ["odd", "big"] {
        let refused = build(&format!("COPY passwd /etc/passwd\nUSER {name}\nRUN id -u")).fails();
        refused.says(&["an id that is not a number from 0 to 4294967294"]);
    }
    for owner in ["4294967295", "4294967296:0", "0:-1"] {
        build(&format!("COPY --chown={owner} file /copied")).fails().says(&["is out of range"]);
    }
    for mount in ["type=cache,target=/m,uid=4294967295", "type=secret,id=s,gid=4294967295"] {
        let outcome = build(&format!("RUN --mount={mount} true")).fails();
        outcome.says(&["4294967295"]);
    }
    if is_root() {
        let fine = build("USER 4294967294\nRUN test $(id -u) = 4294967294").succeeds();
        assert!(fine.status.success());
    }
}

#[test]
fn a_secret_is_in_no_layer_and_no_file_of_the_state() {
    let Some(registry) = Registry::start() else { return };
    let base = Image::busybox(ImageConfig::default()).push(&registry, "base:1");
    let secret = format!("hush-{}-hush", std::process::id());
    let project = Project::new(&[("secret", &secret)]);
    project.write(
        "Dockerfile",
        format!(
            "FROM {base}\nRUN --mount=type=secret,id=token wc -c < /run/secrets/token > /length\n\
             RUN --mount=type=secret,id=token,env=TOKEN test -n \"$TOKEN\"\n"
        ),
    );
    let kiln = Kiln::new();
    let build = kiln.build().frontend("dockerfile.v0").of(&project);
    let source = project.path().join("secret");
    let build = build.flag(format!("--secret=id=token,src={}", source.display()));
    let out = kiln.path("out.tar");
    build.output("type=oci", &out).run().succeeds();
    let files = below(kiln.root()).into_iter().chain([out]);
    for path in files.filter(|path| path.symlink_metadata().is_ok_and(|found| found.is_file())) {
        let bytes = fs::read(&path).unwrap_or_default();
        let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(!found, "the secret is in {}", path.display());
    }
}
