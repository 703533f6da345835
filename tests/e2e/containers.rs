//! Containers that a client starts on results, on those of failed steps too, through Kiln's client.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use kiln_client::{Client, SecretSource, Session, SolveOptions};
use kiln_frontend::containers::{Container, Order, Process, UNKNOWN_EXIT};
use kiln_frontend::{
    Bridge, BuildResult, FileMode, FileRange, Frontend, FrontendError, Ref, Solve,
};
use kiln_llb::{Action, Exec, Marshal, State};
use kiln_tests::Kilnd;
use kiln_wire::pb;
use kiln_wire::proto::errdefs;
use kiln_wire::proto::gateway::{InitMessage, NewContainerRequest};
use kiln_wire::status::Detail;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::story::Story;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// What is done in a build.
type Act = for<'a> fn(&'a dyn Bridge, &'a str) -> BoxFuture<'a, ()>;

/// A frontend that does it, and builds nothing.
struct Acting {
    act: Act,
    base: String,
}

#[async_trait]
impl Frontend for Acting {
    async fn solve(&self, bridge: &dyn Bridge) -> Result<BuildResult<Ref>, FrontendError> {
        (self.act)(bridge, &self.base).await;
        Ok(BuildResult::single(None))
    }
}

/// Does something in a build at a daemon of its own.
fn in_a_build(flags: &[&str], entitlements: &[&str], act: Act) {
    let Some(story) = Story::begin() else { return };
    let daemon = Kilnd::with(flags);
    daemon.client().run(&["debug", "workers"]).succeeds();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let address = format!("unix://{}", daemon.socket().display());
        let client = Client::connect(&address).await.unwrap();
        let secrets = [("token".to_owned(), SecretSource::Value(b"hush".to_vec()))].into();
        let session = Session { secrets, ..Session::default() };
        let entitlements = entitlements.iter().map(|name| (*name).to_owned()).collect();
        let options = SolveOptions::default().with_entitlements(entitlements);
        let frontend = Acting { act, base: story.base.clone() };
        let build = client.build(options, session, &frontend, Default::default());
        tokio::time::timeout(LONG, build).await.expect("it hangs").unwrap();
    });
}

/// The ref of a state, which is run.
async fn solved(bridge: &dyn Bridge, state: &State) -> Ref {
    evaluated(bridge, state).await.unwrap()
}

async fn evaluated(bridge: &dyn Bridge, state: &State) -> Result<Ref, FrontendError> {
    let definition = state.marshal(&Marshal::default()).unwrap();
    let solve = Solve::default().with_definition(definition).with_evaluate(true);
    Ok(bridge.solve(solve).await?.held().next().cloned().unwrap())
}

fn bind(dest: &str, result: &str) -> pb::Mount {
    pb::Mount {
        dest: dest.into(),
        result_id: result.into(),
        input: -1,
        output: -1,
        ..Default::default()
    }
}

fn on(mounts: Vec<pb::Mount>) -> NewContainerRequest {
    NewContainerRequest { mounts, ..Default::default() }
}

fn sh(line: &str) -> InitMessage {
    let args = vec!["sh".into(), "-c".into(), line.into()];
    let meta = pb::Meta { args, user: "0".into(), cwd: "/".into(), ..Default::default() };
    InitMessage { meta: Some(meta), fds: vec![1, 2], ..Default::default() }
}

async fn made(bridge: &dyn Bridge, request: NewContainerRequest) -> Arc<dyn Container> {
    bridge.containers().expect("a client has containers").create(request.into()).await.unwrap()
}

/// What a process says, and its exit code.
async fn ended(process: Process) -> (String, u32) {
    let mut said = String::new();
    for (_, mut output) in process.outputs {
        output.read_to_string(&mut said).await.unwrap();
    }
    let exit = process.ended.await;
    // What did not run has said nothing, and its error says why.
    let lost = exit.error.filter(|_| exit.code == UNKNOWN_EXIT);
    (lost.map_or(said, |error| error.message().to_owned()), exit.code)
}

async fn run(container: &dyn Container, process: InitMessage) -> (String, u32) {
    ended(container.start(process.into()).await.unwrap()).await
}

/// Why something is refused.
async fn refused(
    bridge: &dyn Bridge,
    request: NewContainerRequest,
    process: InitMessage,
) -> String {
    let containers = bridge.containers().unwrap();
    let error = match containers.create(request.into()).await {
        Err(error) => error,
        Ok(container) => match container.start(process.into()).await {
            Err(error) => error,
            Ok(process) => process.ended.await.error.expect("it runs"),
        },
    };
    error.message().to_owned()
}

#[test]
fn processes_of_a_container_are_started_as_they_are_asked_for() {
    in_a_build(&[], &[], |bridge, base| {
        Box::pin(async move {
            let base = solved(bridge, &State::image(base)).await;
            let data = State::scratch().file(Action::mkfile("/a", "in a\n", Default::default()));
            let data = solved(bridge, &data).await;
            let tmpfs = pb::Mount { mount_type: pb::MountType::Tmpfs as i32, ..bind("/tmp", "") };
            let readonly = pb::Mount { readonly: true, ..bind("/data", &data.0) };
            let request = NewContainerRequest {
                extra_hosts: vec![pb::HostIp { host: "far".into(), ip: "192.0.2.7".into() }],
                hostname: "inside".into(),
                platform: Some(pb::Platform {
                    os: "linux".into(),
                    architecture: kiln_oci::Platform::host().architecture,
                    ..Default::default()
                }),
                ..on(vec![bind("/", &base.0), readonly, tmpfs])
            };
            let container = made(bridge, request).await;

            // The first one holds the container, and answers what it is asked.
            let mut first = sh("while read line; do echo \"$line $(hostname)\"; done; exit 3");
            first.fds = vec![0, 1];
            let mut first = container.start(first.into()).await.unwrap();
            let mut stdin = first.stdin.take().unwrap();
            stdin.write_all(b"here is\n").await.unwrap();
            let mut said = [0; 15];
            first.outputs[0].1.read_exact(&mut said).await.unwrap();
            assert_eq!(&said, b"here is inside\n");

            // Others join it.
            let mut joining =
                sh("cat /data/a; grep far /etc/hosts; pwd; id -u; echo $X $T; echo e >&2; \
                 echo new > /tmp/new; echo new > /new; echo no > /data/a; exit 9");
            let meta = joining.meta.as_mut().unwrap();
            (meta.env, meta.user) = (vec!["X=x".into()], "7".into());
            meta.cwd = "/data".into();
            joining.secretenv =
                vec![pb::SecretEnv { id: "token".into(), name: "T".into(), optional: false }];
            let (said, code) = run(&*container, joining).await;
            let begin = "in a\n192.0.2.7\tfar\n/data\n7\nx hush\n";
            assert!(said.starts_with(begin) && said.contains("\ne\n"), "{said}");
            assert!(said.contains("Read-only file system"), "{said}");
            assert_eq!(code, 9);

            let mut second = sh("echo new > /new; chmod 640 /new");
            second.meta.as_mut().unwrap().user = "0:0".into();
            assert_eq!(run(&*container, second).await, (String::new(), 0));
            assert_eq!(container.read_file(0, "/new", None).await.unwrap(), "new\n");
            let part = FileRange { offset: 1, length: 2 };
            assert_eq!(container.read_file(1, "a", Some(part)).await.unwrap(), "n ");
            let stat = container.stat_file(0, "/new").await.unwrap();
            assert_eq!(
                (stat.path.as_str(), stat.mode, stat.size),
                ("new", FileMode::file(0o640), 4)
            );
            let list = container.read_dir(1, "/", "a*").await.unwrap();
            assert_eq!(list.iter().map(|stat| stat.path.as_str()).collect::<Vec<_>>(), ["a"]);
            let missing = container.read_file(7, "/new", None).await.unwrap_err();
            assert!(missing.message().contains("mount 7 does not exist"), "{missing}");

            drop(stdin);
            assert_eq!(ended(first).await.1, 3);
            // What is written into a container is in no result.
            let again = bridge.stat_file(&base, "/new").await.unwrap_err();
            assert!(again.message().contains("no such file"), "{again}");
        })
    });
}

#[test]
fn a_terminal_has_a_size_and_a_process_takes_signals() {
    in_a_build(&[], &[], |bridge, base| {
        Box::pin(async move {
            let base = solved(bridge, &State::image(base)).await;
            let container = made(bridge, on(vec![bind("/", &base.0)])).await;
            let line =
                "trap 'stty size; exit 5' USR1; echo $TERM ready; while :; do sleep 0.01; done";
            let process = InitMessage { tty: true, fds: vec![0, 1], ..sh(line) };
            let mut process = container.start(process.into()).await.unwrap();
            let mut said = Vec::new();
            while !String::from_utf8_lossy(&said).contains("xterm ready") {
                process.outputs[0].1.read_buf(&mut said).await.unwrap();
            }
            (process.orders)(Order::Resize(31, 97));
            (process.orders)(Order::Signal(10));
            let (said, code) = ended(process).await;
            assert!(said.contains("31 97"), "{said}");
            assert_eq!(code, 5);
        })
    });
}

#[test]
fn a_container_that_is_released_ends_its_processes() {
    in_a_build(&[], &[], |bridge, base| {
        Box::pin(async move {
            let base = solved(bridge, &State::image(base)).await;
            let container = made(bridge, on(vec![bind("/", &base.0)])).await;
            let long = container.start(sh("echo up; sleep 1000").into()).await.unwrap();
            let other = container.start(sh("sleep 1000").into()).await.unwrap();
            container.release();
            assert_ne!(ended(long).await.1, 0);
            assert_ne!(ended(other).await.1, 0);
            let error = container.start(sh("true").into()).await.err().unwrap();
            assert!(error.message().contains("previously released or not created"), "{error}");
        })
    });
}

#[test]
fn a_container_that_is_released_lets_its_process_put_things_in_order() {
    in_a_build(&["--step-stop-timeout=60s"], &[], |bridge, base| {
        Box::pin(async move {
            let base = solved(bridge, &State::image(base)).await;
            let cache = pb::Mount {
                dest: "/cache".into(),
                mount_type: pb::MountType::Cache.into(),
                cache_opt: Some(pb::CacheOpt { id: "saved".into(), sharing: 0 }),
                input: -1,
                output: -1,
                ..pb::Mount::default()
            };
            let mounts = || vec![bind("/", &base.0), cache.clone()];
            let container = made(bridge, on(mounts())).await;
            let line = "trap 'echo well > /cache/saved; exit 7' TERM; echo up; while :; do sleep 0.02; done";
            let process = container.start(sh(line).into()).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            container.release();
            assert_ne!(ended(process).await.1, 0);
            let container = made(bridge, on(mounts())).await;
            let process = container.start(sh("cat /cache/saved").into()).await.unwrap();
            assert_eq!(ended(process).await, ("well\n".into(), 0));
        })
    });
}

/// The operation that failed, and the names of what there is of it.
async fn failure(bridge: &dyn Bridge, state: &State) -> errdefs::Solve {
    let error = evaluated(bridge, state).await.unwrap_err();
    let solve = error.into_status().details.into_iter().find_map(|detail| match detail {
        Detail::Solve(solve) => Some(*solve),
        _ => None,
    });
    solve.expect("the operation is told")
}

#[test]
fn a_failed_step_can_be_looked_into_by_a_container() {
    in_a_build(&[], &[], |bridge, base| {
        Box::pin(async move {
            let base = State::image(base).with_user("0");
            let line = "echo left > /left; echo too > /out/too; exit 4";
            let step = base.run(Exec::sh(line));
            let step = step.with_mount(kiln_llb::Mount::bind("/out", &State::scratch()));
            let failed = failure(bridge, &step.root()).await;
            let op = failed.op.unwrap();
            let Some(pb::op::Op::Exec(exec)) = op.op else { panic!("{op:?}") };
            assert_eq!((failed.input_i_ds.len(), failed.mount_i_ds.len()), (2, 2));
            assert_eq!(failed.input_i_ds[1], "", "it began empty");
            let mounts = exec.mounts.iter().zip(&failed.mount_i_ds);
            let mounts = mounts.map(|(mount, id)| bind(&mount.dest, id)).collect();
            let container = made(bridge, on(mounts)).await;
            assert_eq!(run(&*container, sh("cat /left /out/too")).await, ("left\ntoo\n".into(), 0));
            // What it was done on is as it was.
            let container = made(bridge, on(vec![bind("/", &failed.input_i_ds[0])])).await;
            assert_ne!(run(&*container, sh("cat /left")).await.1, 0);

            // A program that is not there leaves its mounts, too.
            let missing = base.file(Action::mkfile("/made", "made\n", Default::default()));
            let missing = missing.run(Exec::args(["/no/such/program"])).root();
            let failed = failure(bridge, &missing).await;
            let container = made(bridge, on(vec![bind("/", &failed.mount_i_ds[0])])).await;
            assert_eq!(run(&*container, sh("cat /made")).await, ("made\n".into(), 0));
        })
    });
}

#[test]
fn a_failed_file_action_is_named_and_can_be_looked_into() {
    in_a_build(&[], &[], |bridge, base| {
        Box::pin(async move {
            let tools = solved(bridge, &State::image(base)).await;
            let files = vec![
                Action::mkdir("/d", Default::default()),
                Action::mkfile("/d/f", "made\n", Default::default()),
                Action::mkfile("/missing/f", "never", Default::default()),
            ];
            let failed = failure(bridge, &State::scratch().file(files)).await;
            let which = errdefs::solve::Subject::File(errdefs::FileAction { index: 2 });
            assert_eq!((failed.subject, failed.mount_i_ds.len()), (Some(which), 3));
            let mounts = vec![bind("/", &tools.0), bind("/at", &failed.mount_i_ds[2])];
            let container = made(bridge, on(mounts)).await;
            assert_eq!(run(&*container, sh("cat /at/d/f")).await, ("made\n".into(), 0));
        })
    });
}

#[test]
fn what_a_container_cannot_have_is_refused_by_name() {
    in_a_build(&[], &[], |bridge, base| {
        Box::pin(async move {
            let base = solved(bridge, &State::image(base)).await;
            let root = || on(vec![bind("/", &base.0)]);
            let meta = |change: fn(&mut pb::Meta)| {
                let mut process = sh("true");
                change(process.meta.as_mut().unwrap());
                process
            };
            let cases = [
                (on(vec![bind("/", "nothing")]), sh("true"), "no such ref nothing"),
                (on(vec![bind("/data", &base.0)]), sh("true"), "it has no mount at /"),
                (
                    NewContainerRequest { network: 7, ..root() },
                    sh("true"),
                    "invalid network mode 7",
                ),
                (
                    NewContainerRequest { network: pb::NetMode::Host as i32, ..root() },
                    sh("true"),
                    "network.host is not allowed",
                ),
                (
                    NewContainerRequest {
                        constraints: Some(pb::WorkerConstraints { filter: vec!["id==x".into()] }),
                        ..root()
                    },
                    sh("true"),
                    "the container requires a worker with id==x, which this one is not",
                ),
                (
                    NewContainerRequest {
                        extra_hosts: vec![pb::HostIp { host: "h".into(), ip: "far".into() }],
                        ..root()
                    },
                    sh("true"),
                    "extra host h: \"far\" is no IP address",
                ),
                (
                    root(),
                    InitMessage { security: pb::SecurityMode::Insecure as i32, ..sh("true") },
                    "security.insecure is not allowed",
                ),
                (root(), InitMessage { fds: vec![1, 5], ..sh("true") }, "5"),
                (root(), meta(|meta| meta.args.clear()), "it has no arguments"),
                (root(), meta(|meta| meta.user = "4294967295".into()), "4294967295"),
                (root(), meta(|meta| meta.valid_exit_codes = vec![1]), "valid exit codes"),
                (root(), meta(|meta| meta.args = vec!["nope".into()]), "executable file not found"),
            ];
            for (request, process, words) in cases {
                let said = refused(bridge, request, process).await;
                assert!(said.contains(words), "{words}: {said}");
            }
        })
    });
}
