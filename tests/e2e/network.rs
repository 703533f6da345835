//! How steps are connected, seen from inside: each test has a network of its own, in which it plays the
//! machine, so that nothing is made in that of the tester.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use kiln_tests::{Kilnd, Outcome, Project, has_program, is_root, run, skip};
use rustix::process::{Pid, Signal, kill_process_group};

const SOON: Duration = Duration::from_secs(20);

/// A machine of two network namespaces: the daemon's, and one behind it where others are. It is there
/// as long as its first process.
struct Machine {
    process: Child,
    /// One in its namespace, for steps to see or not.
    _abstract: UnixListener,
}

/// What a machine has, beside a daemon: a server that says `inside` on its loopback, and one that says
/// `outside` in another namespace, which knows the machine's address 192.0.2.1 and no other.
const MACHINE: &str = r#"
set -e
ip link set lo up
unshare --net sleep 1000 &
others=$!
while [ "$(readlink /proc/$others/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
ip link add outward type veth peer name there netns $others
ip addr add 192.0.2.1/24 dev outward
ip link set outward up
ip route add default via 192.0.2.2
# Or packets between links of a bridge meet the filter of those that are forwarded, too.
if [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]; then echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables; fi
nsenter --target $others --net sh -c 'ip addr add 192.0.2.2/24 dev there; ip addr add 192.0.2.3/24 dev there; ip link set there up'
nsenter --target $others --net busybox nc -ll -p 4000 -e /bin/echo outside &
busybox nc -ll -p 4001 -e /bin/echo inside &
mount -t tmpfs run /run
echo up
wait
"#;

impl Machine {
    /// Nothing, if this is not root or lacks a program.
    fn new() -> Option<Self> {
        let needed = ["unshare", "nsenter", "ip", "busybox"];
        if !is_root() || !needed.iter().all(|program| has_program(program)) {
            skip("root, unshare, nsenter, ip and busybox");
            return None;
        }
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "sh", "-c", MACHINE]).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        let mut output = std::io::BufReader::new(process.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        if line != "up\n" {
            process.kill().ok();
            process.wait().ok();
            skip("links, routes and mounts of its own");
            return None;
        }
        let namespace = File::open(format!("/proc/{}/ns/net", process.id())).unwrap();
        let socket = thread::spawn(move || {
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(namespace.as_fd(), kind).unwrap();
            let name = SocketAddr::from_abstract_name("kiln-test").unwrap();
            UnixListener::bind_addr(&name).unwrap()
        });
        Some(Self { process, _abstract: socket.join().unwrap() })
    }

    /// What starts a program on it. Its process is one of the tester's all the same.
    fn launcher(&self) -> Vec<String> {
        let process = self.process.id().to_string();
        ["nsenter", "--target", &process, "--net", "--mount"].map(str::to_owned).to_vec()
    }

    fn daemon(&self, name: &str, flags: &[&str]) -> Kilnd {
        let launcher = self.launcher();
        let launcher: Vec<&str> = launcher.iter().map(String::as_str).collect();
        Kilnd::launched_by(&launcher, name, flags)
    }

    /// What a command on it prints.
    fn prints(&self, words: &[&str]) -> String {
        let launcher = self.launcher();
        let mut command = Command::new(&launcher[0]);
        command.args(&launcher[1..]).args(words);
        run(command, b"", SOON).text()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let group = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            kill_process_group(group, Signal::KILL).ok();
        }
        self.process.wait().ok();
    }
}

/// A project whose steps have busybox, and these lines.
fn project(lines: &str) -> Project {
    let project = Project::new(&[]);
    std::fs::copy("/bin/busybox", project.path().join("busybox")).unwrap();
    let head = "FROM scratch\nCOPY busybox /bin/busybox\nENV PATH=/bin\n\
                RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";
    project.write("Dockerfile", format!("{head}{lines}"));
    project
}

fn build(daemon: &Kilnd, lines: &str) -> Outcome {
    daemon.client().build().frontend("dockerfile.v0").of(&project(lines)).run()
}

/// The runtimes of the machine, Kiln's own first.
fn runtimes() -> impl Iterator<Item = Option<&'static str>> {
    let installed = ["runc", "crun"].into_iter().filter(|name| has_program(name));
    std::iter::once(None).chain(installed.map(Some))
}

/// Says what a step reaches.
const LOOK: &str = "RUN echo link: $(ls /sys/class/net); \
    echo loopback: $(nc -w 2 127.0.0.1 4001); \
    echo outside: $(nc -w 5 192.0.2.3 4000); \
    echo abstract: $(grep -c @kiln-test /proc/net/unix); \
    grep -c '^nameserver 127' /etc/resolv.conf || true\n";

#[test]
fn a_step_has_a_network_of_its_own_and_reaches_the_outside_only() {
    let Some(machine) = Machine::new() else { return };
    for runtime in runtimes() {
        let binary = runtime.map(|name| format!("--oci-worker-binary={name}"));
        let flags: Vec<&str> = binary.as_deref().into_iter().collect();
        let daemon = machine.daemon("kilnd", &flags);
        let outcome = build(&daemon, LOOK).succeeds();
        let said = outcome.says(&["link: eth0 lo", "outside: outside", "abstract: 0"]);
        assert!(!said.stderr.contains("inside\n"), "{runtime:?}: {said}");
        let workers = daemon.client().run(&["debug", "workers", "-v"]).succeeds();
        assert!(workers.text().contains("bridge"), "{workers}");
        daemon.stop();
    }
}

#[test]
fn the_network_of_the_machine_is_for_those_who_were_given_it() {
    let Some(machine) = Machine::new() else { return };
    for runtime in runtimes() {
        let binary = runtime.map(|name| format!("--oci-worker-binary={name}"));
        let mut flags = vec!["--allow-insecure-entitlement=network.host"];
        flags.extend(binary.as_deref());
        let daemon = machine.daemon("kilnd", &flags);
        let look = LOOK.replace("RUN ", "RUN --network=host ");
        let project = project(&look);
        let client = daemon.client();
        let build = || client.build().frontend("dockerfile.v0").of(&project);
        build().run().fails().says(&["network.host is not allowed"]);
        let outcome = build().flag("--allow=network.host").run().succeeds();
        outcome.says(&["kiln0", "outward", "loopback: inside", "outside: outside", "abstract: 1"]);
        daemon.stop();
    }
}

#[test]
fn a_bridge_is_shared_removed_by_the_last_and_made_anew_after_a_crash() {
    let Some(machine) = Machine::new() else { return };
    let links = || machine.prints(&["ip", "-o", "link"]);
    let works = |daemon: &Kilnd, step: &str| {
        let reach = format!("RUN echo {step}; echo outside: $(nc -w 5 192.0.2.3 4000)\n");
        build(daemon, &reach).succeeds().says(&["outside: outside"]);
    };
    let flags = ["--oci-worker-net=bridge"];
    let (first, second) = (machine.daemon("kilnd", &flags), machine.daemon("kilnd", &flags));
    works(&first, "one");
    works(&second, "two");
    first.stop();
    works(&second, "three");
    let launcher = machine.launcher();
    let launcher: Vec<&str> = launcher.iter().map(String::as_str).collect();
    let third = second.killed_and_launched_by(&launcher, "kilnd", &flags);
    works(&third, "four");
    assert!(links().contains("kiln0"), "{}", links());
    third.stop();
    let left = links();
    assert!(!left.contains("kiln"), "{left}");
    assert_eq!(machine.prints(&["ls", "/run/kiln/network"]), "");
}

#[test]
fn a_step_behind_a_bridge_does_not_reach_another() {
    let Some(machine) = Machine::new() else { return };
    let daemon = machine.daemon("kilnd", &[]);
    // The next addresses are those of namespaces that were made ahead. One that is reached refuses.
    let outcome = build(
        &daemon,
        "RUN own=$(ip -o -4 addr show eth0 | grep -o '10[.][0-9.]*' | head -n 1); \
         for next in 1 2 3; do \
         echo answer: $(nc -w 1 ${own%.*}.$((${own##*.} + next)) 5000 2>&1); done\n",
    );
    let said = outcome.succeeds();
    assert_eq!(said.stderr.matches("answer: nc: timed out").count(), 3, "{said}");
}

#[test]
fn where_no_network_can_be_made_the_machines_is_used_and_said() {
    let Some(machine) = Machine::new() else { return };
    // Root of a user namespace has no say in the network of the machine.
    let mut launcher = machine.launcher();
    launcher.extend(["unshare", "--user", "--map-root-user"].map(str::to_owned));
    let mut without_programs = launcher.clone();
    without_programs.extend(["env", "PATH=/nonexistent"].map(str::to_owned));
    let words: Vec<&str> = without_programs.iter().map(String::as_str).collect();
    let daemon = Kilnd::launched_by(&words, "kilnd", &[]);
    let word = "steps use the network of the machine, as no other can be made";
    let outcome = build(&daemon, LOOK).succeeds();
    let outcome = outcome.says(&["loopback: inside", word]);
    assert_eq!(outcome.stderr.matches("[internal] network of steps").count(), 1, "{outcome}");
    assert!(daemon.log().contains(word), "{}", daemon.log());
    let workers = daemon.client().run(&["debug", "workers", "-v"]).succeeds();
    assert!(workers.text().contains("refused: "), "{workers}");
    // And no network is none, also without rights.
    build(&daemon, "RUN --network=none echo link: $(ls /proc/sys/net/ipv4/conf)\n")
        .succeeds()
        .says(&["link: all default lo"]);
}

#[test]
fn without_rights_over_the_network_a_program_of_the_users_connects_steps() {
    let Some(machine) = Machine::new() else { return };
    if !has_program("slirp4netns") {
        return skip("slirp4netns");
    }
    let mut launcher = machine.launcher();
    launcher.extend(["unshare", "--user", "--map-root-user"].map(str::to_owned));
    let launcher: Vec<&str> = launcher.iter().map(String::as_str).collect();
    for runtime in runtimes() {
        let binary = runtime.map(|name| format!("--oci-worker-binary={name}"));
        let flags: Vec<&str> = binary.as_deref().into_iter().collect();
        let daemon = Kilnd::launched_by(&launcher, "kilnd", &flags);
        let outcome = build(&daemon, LOOK).succeeds();
        let said = outcome.says(&["link: eth0 lo", "outside: outside", "abstract: 0"]);
        assert!(!said.stderr.contains("inside\n"), "{runtime:?}: {said}");
        daemon.stop();
    }
}

#[test]
fn as_buildkitd_nothing_is_made_unless_it_is_asked_for() {
    let Some(machine) = Machine::new() else { return };
    let daemon = machine.daemon("buildkitd", &[]);
    let outcome = build(&daemon, LOOK).succeeds().says(&["loopback: inside"]);
    assert!(!outcome.stderr.contains("network of steps"), "{outcome}");
    assert!(!machine.prints(&["ip", "-o", "link"]).contains("kiln"));
    daemon.stop();
    let daemon = machine.daemon("buildkitd", &["--oci-worker-net=bridge"]);
    build(&daemon, LOOK).succeeds().says(&["link: eth0 lo", "outside: outside"]);
    assert!(machine.prints(&["ip", "-o", "link"]).contains("buildkit0"));
    daemon.stop();
    let daemon = machine.daemon("buildkitd", &["--oci-worker-net=none"]);
    build(&daemon, "RUN echo link: $(ls /sys/class/net)\n").succeeds().says(&["link: lo"]);
    daemon.stop();
    let missing = ["--oci-worker-net=cni", "--oci-cni-config-path=/nonexistent/cni.json"];
    let outcome = machine.daemon("buildkitd", &missing).wait(SOON).fails();
    outcome.says(&["CNI", "/nonexistent/cni.json"]);
}

#[test]
fn plugins_make_networks_and_remove_them_also_after_a_crash() {
    let Some(machine) = Machine::new() else { return };
    let plugins = ["/usr/lib/cni", "/opt/cni/bin"];
    let plugins = plugins.iter().find(|place| std::path::Path::new(place).join("bridge").exists());
    let Some(plugins) = plugins else { return skip("CNI plugins") };
    let project = Project::new(&[]);
    let addresses = project.path().join("addresses");
    let config = serde_json::json!({
        "cniVersion": "1.0.0", "name": "steps", "plugins": [{
            "type": "bridge", "bridge": "cni-steps", "isDefaultGateway": true, "ipMasq": true,
            "ipam": {
                "type": "host-local", "dataDir": addresses,
                "ranges": [[{ "subnet": "10.77.0.0/24" }]],
            },
        }],
    });
    let config = project.write("cni.conflist", config.to_string());
    let flags = [
        "--oci-worker-net=cni".to_owned(),
        format!("--oci-cni-config-path={}", config.display()),
        format!("--oci-cni-binary-dir={plugins}"),
        "--oci-cni-pool-size=2".to_owned(),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let leased = || {
        let entries = std::fs::read_dir(addresses.join("steps")).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("10.")).count()
    };
    let daemon = machine.daemon("kilnd", &flags);
    build(&daemon, LOOK).succeeds().says(&["link: eth0 lo", "outside: outside"]);
    assert!(leased() > 0);
    let launcher = machine.launcher();
    let launcher: Vec<&str> = launcher.iter().map(String::as_str).collect();
    let daemon = daemon.killed_and_launched_by(&launcher, "kilnd", &flags);
    build(&daemon, LOOK).succeeds();
    daemon.stop();
    assert_eq!(leased(), 0);
}
