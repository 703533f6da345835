//! `kilnd` as its flags, variables, sockets and configuration file say.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kiln_tests::{Image, Kiln, Kilnd, Project, Registry, binaries, has_program, skip, start};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::process::Signal;

use super::story::base_config;

const SOON: Duration = Duration::from_secs(20);

/// The answer of an HTTP server on a socket.
fn get(socket: &Path, path: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// How the integration tests of BuildKit start a daemon.
#[test]
fn a_daemon_called_buildkitd_takes_buildkits_flags_and_file() {
    let file = "insecure-entitlements = [\"network.host\"]\n\n[worker.containerd]\nnetworkMode = \"host\"\n\
        [otel]\n  socketPath = \"/nowhere/otel-grpc.sock\"\n\n[cdi]\n  specDirs = [\"/nowhere\"]\n";
    let directory = tempfile::tempdir().unwrap();
    let debug = directory.path().join("debug.sock");
    let flags = [
        "--oci-worker=true",
        "--containerd-worker=false",
        "--oci-worker-gc=false",
        "--oci-worker-labels=org.mobyproject.buildkit.worker.sandbox=true",
        "-debugaddr",
        &format!("unix://{}", debug.display()),
        "--debug",
    ];
    let mut daemon = Kilnd::configured("buildkitd", &flags, file);
    daemon.wait_for("metrics and state", SOON);
    let workers = daemon.client().run(&["debug", "workers", "--verbose"]).succeeds().text();
    assert!(workers.contains("org.mobyproject.buildkit.worker.sandbox"), "{workers}");
    assert!(!workers.contains("GC Policy"), "{workers}");
    assert!(get(&debug, "/metrics").contains("\nkiln_builds_running 0\n"));
    assert!(get(&debug, "/debug/pprof/goroutine?debug=2").contains("\n0 builds\n"));
    assert!(get(&debug, "/nothing").starts_with("HTTP/1.1 404"));
    let stopped = daemon.stop();
    assert!(stopped.status.success(), "{stopped}");
    let word = "no effect: worker.containerd.networkMode (there is no containerd worker)";
    assert!(stopped.stderr.contains(word), "{stopped}");
}

#[test]
fn a_file_that_makes_no_sense_is_shown_and_nothing_is_started() {
    let file = "[worker.oci]\nsnapshotter = \"stargz\"\nmax-paralelism = 2\n";
    let ended = Kilnd::configured("kilnd", &["--oci-worker-gc=maybe"], file).wait(SOON);
    assert_eq!(ended.status.code(), Some(1), "{ended}");
    for text in [
        "command line:4:17",
        "expected `true` or `false`",
        "config.toml:2:15",
        "layers are pulled as a whole",
        "3 | max-paralelism = 2",
        "did you mean `max-parallelism`?",
    ] {
        assert!(ended.stderr.contains(text), "nothing says {text:?}\n{ended}");
    }
    let ended = Kilnd::configured("kilnd", &["--adr=unix:///x"], "").wait(SOON);
    assert_eq!(ended.status.code(), Some(1), "{ended}");
    assert!(ended.stderr.contains("--addr"), "{ended}");
}

#[test]
fn images_come_from_the_mirror_and_names_from_the_name_server_of_the_file() {
    let Some(registry) = Registry::start() else { return };
    Image::busybox(base_config()).push(&registry, "library/base:1");
    let file = format!(
        "[registry.\"docker.io\"]\nmirrors = [\"{}\"]\n[dns]\nnameservers = [\"192.0.2.7\"]\n\
         searchDomains = [\"example.com\"]\n",
        registry.host()
    );
    let daemon = Kilnd::configured("kilnd", &[], &file);
    let project = Project::mockerfile(
        "apiVersion: v1alpha1
images:
- {name: demo, from: 'base:1', steps: ['cat /etc/resolv.conf > /names']}
",
    );
    let (image, _) = daemon.client().mockerfile(&project).image();
    let names = image.file("names").unwrap().content;
    assert!(names.contains("nameserver 192.0.2.7\nsearch example.com\n"), "{names}");
    assert_eq!(names.matches("nameserver").count(), 1, "{names}");
}

#[test]
fn a_frontend_that_is_disabled_is_refused_by_name() {
    let file = "[frontend.\"dockerfile.v0\"]\nenabled = false\n\
                [frontend.\"gateway.v0\"]\nallowedRepositories = [\"example.com/front\"]\n";
    let daemon = Kilnd::configured("kilnd", &[], file);
    let project = Project::new(&[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")]);
    let client = daemon.client();
    let build = |frontend: &str| client.build().frontend(frontend).of(&project);
    let disabled = build("dockerfile.v0").run().fails();
    disabled.says(&["frontend dockerfile.v0 not found", "frontend.\"dockerfile.v0\".enabled"]);
    let elsewhere = build("gateway.v0").opt("source", "docker/dockerfile:1").run().fails();
    elsewhere.says(&["'docker/dockerfile:1' is not an allowed gateway source"]);
}

/// Files of a certificate for localhost, its key, and the authority that signed it.
fn certificates(directory: &Path, name: &str) -> [String; 3] {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &authority).unwrap();
    [("cert", certificate.pem()), ("key", key.serialize_pem()), ("ca", authority.pem())].map(
        |(kind, pem)| {
            let path = directory.join(format!("{name}-{kind}.pem"));
            std::fs::write(&path, pem).unwrap();
            path.display().to_string()
        },
    )
}

#[test]
fn over_tcp_only_clients_with_a_certificate_are_served() {
    let directory = tempfile::tempdir().unwrap();
    let [cert, key, server_ca] = certificates(directory.path(), "server");
    let [client_cert, client_key, client_ca] = certificates(directory.path(), "client");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("tcp://localhost:{port}");
    let plain = Kilnd::configured("kilnd", &["--addr", &address], "").wait(SOON);
    assert!(plain.stderr.contains("say --allow-plain-tcp"), "{plain}");
    let file = format!("[grpc.tls]\ncert = '{cert}'\nkey = '{key}'\nca = '{client_ca}'\n");
    let mut daemon = Kilnd::configured("kilnd", &["--addr", &address], &file);
    daemon.wait_for(&format!("address={address}"), SOON);
    let client = || Kiln::of_daemon(&address).flag(&format!("--tlscacert={server_ca}"));
    let shown = |cert: &str, key: &str| {
        client().flag(&format!("--tlscert={cert}")).flag(&format!("--tlskey={key}"))
    };
    shown(&client_cert, &client_key).run(&["debug", "info"]).succeeds();
    client().run(&["debug", "info"]).fails();
    // Signed by another authority.
    shown(&cert, &key).run(&["debug", "info"]).fails();
    shown(&client_cert, &client_key).run(&["debug", "info"]).succeeds();
}

#[test]
fn a_socket_that_systemd_opened_is_served_and_systemd_hears_of_it() {
    if !has_program("bash") {
        return skip("bash");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let notified = UnixDatagram::bind(path("notify")).unwrap();
    notified.set_read_timeout(Some(SOON)).unwrap();
    let socket = UnixListener::bind(path("api.sock")).unwrap();
    // Inherited by the shell, which puts it where systemd does.
    let inherited = rustix::io::dup(&socket).unwrap();
    let script = format!(
        "exec 3<&{}; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=api exec \"$0\" \"$@\"",
        inherited.as_raw_fd()
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script]).arg(binaries().path("kilnd")).arg("--root").arg(path("state"));
    command.args(["--addr", "fd://api", "--oci-worker-net=host"]).env_clear();
    command.env("PATH", "/usr/bin:/bin").env("HOME", directory.path());
    command.env("NOTIFY_SOCKET", path("notify"));
    let daemon = start(command, b"");
    drop((socket, inherited));
    let state = || {
        let mut buffer = [0; 64];
        let length = notified.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!(state(), "READY=1", "{}", daemon.errors_so_far());
    let address = format!("unix://{}", path("api.sock").display());
    Kiln::of_daemon(&address).run(&["debug", "info"]).succeeds();
    daemon.signal(Signal::TERM);
    assert_eq!(state(), "STOPPING=1");
    let ended = daemon.wait(SOON);
    assert!(ended.status.success(), "{ended}");
}
