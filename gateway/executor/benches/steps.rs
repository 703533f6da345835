//! What a build step costs: `busybox true` in a root of its own, by each executor and bare.
//!
//! The ways take turns in one run, so that a busy machine slows all of them. Printed are median and
//! best of the rounds, and the ratio to the bare process, which the spawner starts as well.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::path::Path;
use std::time::{Duration, Instant};

use kiln_executor::testing::Lab;
use kiln_executor::{
    Executor, HostProcess, Native, Network, OciRuntime, Process, Rootfs, Spawner, Stdio,
    spawn_host, spawner_main_if_asked, userns,
};

const ROUNDS: usize = 20;
const COMMAND: &[&str] = &["/bin/busybox", "true"];

fn main() {
    spawner_main_if_asked();
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    userns::private_mounts().expect("take mounts private");
    let directory = tempfile::tempdir().expect("make a directory");
    let spawner = Spawner::start(&directory.path().join("scratch")).expect("start the spawner");
    let runtime = tokio::runtime::Runtime::new().expect("start a runtime");
    runtime.block_on(compare(&spawner, directory.path()));
}

async fn compare(spawner: &Spawner, directory: &Path) {
    let native = Native::new(spawner.clone());
    let runc = OciRuntime::new(spawner.clone(), "/usr/sbin/runc", Vec::new());
    let arguments = vec!["--cgroup-manager=disabled".to_owned()];
    let crun = OciRuntime::new(spawner.clone(), "/usr/bin/crun", arguments);
    let lab = Lab::new(&native, directory).expect("make a laboratory");
    let mut times = [const { Vec::new() }; 5];
    for _ in 0..ROUNDS {
        times[0].push(bare(spawner).await);
        times[1].push(step(&native, bind(&lab)).await);
        times[2].push(step(&native, lab.process(COMMAND)).await);
        times[3].push(step(&runc, lab.process(COMMAND)).await);
        times[4].push(step(&crun, lab.process(COMMAND)).await);
    }
    let names = ["bare process", "native, bind, host network", "native", "runc", "crun"];
    let medians = times.map(|mut times| {
        times.sort();
        (times[times.len() / 2], times[0])
    });
    for (name, (median, best)) in names.iter().zip(medians) {
        let ratio = median.as_secs_f64() / medians[0].0.as_secs_f64();
        println!("{name:28} median {median:>10.2?}  best {best:>10.2?}  {ratio:>6.1} x bare");
    }
    let ratio = medians[3].0.as_secs_f64() / medians[2].0.as_secs_f64();
    println!("runc takes {ratio:.1} times as long as native");
}

/// Without an overlay and a network namespace.
fn bind(lab: &Lab<'_>) -> Process {
    let rootfs = Rootfs::Bind { source: lab.base(), readonly: false };
    Process { rootfs, network: Network::Host, ..lab.process(COMMAND) }
}

async fn step(executor: &dyn Executor, process: Process) -> Duration {
    let start = Instant::now();
    let stdio = Stdio::null().expect("streams");
    let mut running = executor.start(process, stdio).await.expect("starts");
    assert!(running.wait().await.expect("ends").success());
    start.elapsed()
}

async fn bare(spawner: &Spawner) -> Duration {
    let start = Instant::now();
    let args = COMMAND.iter().map(|argument| (*argument).to_owned()).collect();
    let process = HostProcess { args, ..HostProcess::default() };
    let mut running =
        spawn_host(spawner, process, Stdio::null().expect("streams")).await.expect("starts");
    assert!(running.wait().await.expect("ends").success());
    start.elapsed()
}
