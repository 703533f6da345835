//! What goes wrong around a daemon, and what the daemon holds afterwards: no more than before.
//!
//! Clients that are killed or stand still, registries and frontends that never answer, sessions that
//! vanish; and many builds at once that share what they do. What becomes of a daemon that is told to stop
//! is in `stopping`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::join_all;
use kiln_client::{Client, Session, SolveOptions, What};
use kiln_frontend::{Bridge, BuildResult, Frontend, FrontendError, Ref};
use kiln_llb::{Action, Exec, Marshal, Mkfile, State, args};
use kiln_progress::Progress;
use kiln_tests::archive::{Entry, tar};
use kiln_tests::{Build, Image, ImageConfig, Kiln, Project, Registry, Watched, WebServer};
use rustix::process::Signal;

use super::crashes::{runs, serve_hanging, until};

const SOON: Duration = Duration::from_secs(20);
/// The progress of a build that has ended is kept for ten seconds; then all is as it was.
const AFTER: Duration = Duration::from_secs(40);
/// Within this time the processes of a client that is gone are gone, too.
const LOST: Duration = Duration::from_secs(2);

fn dockerfile<'a>(kiln: &'a Kiln, project: &Project) -> Build<'a> {
    kiln.build().frontend("dockerfile.v0").of(project)
}

fn script(base: &str, line: &str) -> Project {
    let project = Project::new(&[]);
    project.write("Dockerfile", format!("FROM {base}\nRUN {line}\n"));
    project
}

fn base(registry: &Registry) -> String {
    Image::busybox(ImageConfig::default()).push(registry, "base:1")
}

/// A number of seconds that nothing else on this machine sleeps for.
fn seconds(digits: &str) -> String {
    format!("{digits}{}", std::process::id())
}

/// A daemon that has built already, so that what it opens once is open.
fn warm(registry: &Registry, flags: &[&str]) -> Watched {
    let watched = Watched::start(flags);
    let project = script(&base(registry), "true");
    dockerfile(&watched.client, &project).run().succeeds();
    watched
}

#[test]
fn a_client_that_is_killed_while_its_step_runs_leaves_nothing() {
    let Some(registry) = Registry::start() else { return };
    let watched = warm(&registry, &[]);
    let before = watched.footprint();
    let rest = seconds("621.");
    let project = script(&base(&registry), &format!("echo started; sleep {rest}"));
    let mut build = dockerfile(&watched.client, &project).start();
    build.wait_for(" started\n", SOON);
    assert_ne!(watched.footprint(), before, "a step is something");
    let killed = Instant::now();
    build.kill();
    until(|| !runs(&rest), "the step goes on");
    assert!(killed.elapsed() < LOST, "the step went on for {:?}", killed.elapsed());
    watched.is_back_to(&before, AFTER);
}

#[test]
fn a_client_that_is_killed_while_it_sends_files_leaves_nothing() {
    let Some(registry) = Registry::start() else { return };
    let watched = warm(&registry, &[]);
    let before = watched.footprint();
    let project = Project::new(&[("Dockerfile", "FROM scratch\nCOPY . /\n")]);
    // It takes no room here, and long to be sent.
    let file = fs::File::create(project.path().join("large")).unwrap();
    file.set_len(16 << 30).unwrap();
    let mut build = dockerfile(&watched.client, &project).start();
    build.wait_for("load build context", SOON);
    // Some of it has arrived by now, or arrives while the client is killed; both must do.
    thread::sleep(Duration::from_millis(300));
    build.kill();
    watched.is_back_to(&before, AFTER);
    let used: u64 = watched.client.usage().iter().filter_map(|it| it["size"].as_u64()).sum();
    assert!(used < 1 << 30, "{used} bytes of what was not sent to its end");
}

#[test]
fn a_client_that_stands_still_keeps_no_other_waiting() {
    let Some(registry) = Registry::start() else { return };
    let watched = warm(&registry, &[]);
    let before = watched.footprint();
    let base = base(&registry);
    let rest = seconds("622.");
    // More output than fits into what lies between the daemon and a client.
    let line = format!("echo started; yes | head -c 100000000; sleep {rest}");
    let project = script(&base, &line);
    let mut slow = dockerfile(&watched.client, &project).start();
    slow.wait_for(" started\n", SOON);
    slow.signal(Signal::STOP);
    let other = Kiln::of_daemon(&format!("unix://{}", watched.daemon.socket().display()));
    dockerfile(&other, &script(&base, "echo quick")).run().succeeds();
    slow.kill();
    until(|| !runs(&rest), "the step goes on");
    watched.is_back_to(&before, AFTER);
}

#[test]
fn a_registry_that_stalls_keeps_no_other_waiting_and_is_given_up_with_its_build() {
    let Some(registry) = Registry::start() else { return };
    let watched = warm(&registry, &[]);
    let before = watched.footprint();
    let web = WebServer::start();
    // Like no image that is in the store.
    let image = Image::busybox(ImageConfig::default());
    let image = image.layer(tar(&[Entry::File("stalls", 0o644, 0, b"yes\n")]));
    let layers = serve_hanging(&web, &image);
    let stalling = script(&format!("{}/base:1", web.host()), "true");
    let stalled = dockerfile(&watched.client, &stalling).start();
    // The layer of the system is in the store.
    until(|| web.served().contains(&layers[1].0), "the layer is not asked for");
    dockerfile(&watched.client, &script(&base(&registry), "echo quick")).run().succeeds();
    stalled.signal(Signal::INT);
    stalled.wait(SOON).was_interrupted().says(&["the build was canceled"]);
    watched.is_back_to(&before, AFTER);
}

#[test]
fn a_frontend_that_never_returns_ends_with_its_client() {
    let Some(registry) = Registry::start() else { return };
    let rest = seconds("623.");
    let plugins = tempfile::tempdir().unwrap();
    let plugin = plugins.path().join("kiln-frontend-forever");
    fs::write(&plugin, format!("#!/bin/sh\nexec sleep {rest}\n")).unwrap();
    fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
    let watched = warm(&registry, &["--plugin-path", plugins.path().to_str().unwrap()]);
    let before = watched.footprint();
    let build = watched.client.build().frontend("forever.v0").start();
    until(|| runs(&rest), "the frontend is not started");
    let killed = Instant::now();
    build.kill();
    until(|| !runs(&rest), "the frontend goes on");
    assert!(killed.elapsed() < LOST, "the frontend went on for {:?}", killed.elapsed());
    watched.is_back_to(&before, AFTER);
}

/// A client that is a frontend, and has nothing to say for ever.
struct Silent;

#[async_trait]
impl Frontend for Silent {
    async fn solve(&self, _: &dyn Bridge) -> Result<BuildResult<Ref>, FrontendError> {
        std::future::pending().await
    }
}

#[test]
fn a_client_frontend_that_says_nothing_ends_with_its_session() {
    let Some(registry) = Registry::start() else { return };
    let watched = warm(&registry, &[]);
    let before = watched.footprint();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let address = format!("unix://{}", watched.daemon.socket().display());
        let client = Client::connect(&address).await.unwrap();
        let options = SolveOptions::default();
        let build = client.build(options, Session::default(), &Silent, Default::default());
        tokio::time::timeout(Duration::from_secs(1), build).await.expect_err("it says something");
    });
    drop(runtime);
    watched.is_back_to(&before, AFTER);
}

#[test]
fn two_hundred_builds_at_once_do_what_they_share_once() {
    const BUILDS: usize = 200;
    let Some(registry) = Registry::start() else { return };
    let watched = warm(&registry, &[]);
    let before = watched.footprint();
    let base = State::image(&base(&registry));
    let shared =
        base.run(Exec::default().with_args(args!["sh", "-c", "sleep 1; echo shared > /shared"]));
    let own = |n: usize| {
        let shared = shared.root().file(Action::mkfile("/own", n.to_string(), Mkfile::default()));
        shared.marshal(&Marshal::default()).unwrap()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut ran = BTreeSet::new();
    runtime.block_on(async {
        let address = format!("unix://{}", watched.daemon.socket().display());
        let mut clients = Vec::new();
        // As many connections as a busy machine has, each with several builds.
        for _ in 0..10 {
            clients.push(Client::connect(&address).await.unwrap());
        }
        let (mut builds, mut progress) = (Vec::new(), Vec::new());
        for n in 0..BUILDS {
            let what = What::Definition(Box::new(own(n)));
            let options = SolveOptions::default().with_what(what);
            let (sender, receiver) = kiln_progress::channel();
            progress.push(receiver);
            builds.push(clients[n % clients.len()].solve(options, Session::default(), sender));
        }
        for built in join_all(builds).await {
            built.unwrap();
        }
        for mut progress in progress {
            let mut times = Vec::new();
            while let Some(heard) = progress.recv().await {
                if let Progress::Vertex(vertex) = heard
                    && vertex.name.contains("echo shared")
                    && vertex.completed.is_some()
                {
                    times.extend(vertex.started);
                }
            }
            assert!(!times.is_empty(), "a build says nothing of the step");
            ran.extend(times);
        }
    });
    drop(runtime);
    assert_eq!(ran.len(), 1, "the shared step ran more than once");
    watched.is_back_to(&before, AFTER);
}

#[test]
fn a_daemon_that_is_stopped_in_the_middle_leaves_no_mount_and_no_control_group() {
    let Some(registry) = Registry::start() else { return };
    let watched = warm(&registry, &["--stop-timeout=200ms"]);
    let rest = seconds("624.");
    let project = script(&base(&registry), &format!("echo started; sleep {rest}"));
    let mut build = dockerfile(&watched.client, &project).start();
    build.wait_for(" started\n", SOON);
    let (root, cgroup) = (watched.daemon.root(), watched.cgroup().to_owned());
    let Watched { daemon, .. } = watched;
    daemon.stop().succeeds();
    build.wait(SOON).fails();
    assert!(!runs(&rest), "a process of the step is left");
    assert_eq!(Watched::remains(&root, &cgroup), [""; 0]);
}
