//! Whole builds, from the start of the client to its end, with the daemon inside it.
//!
//! Measured in one run, as ratios where there is a rival: twenty sequential steps on Kiln's own
//! executor against an OCI runtime and against bare processes, thirty-two parallel stages, a
//! rebuild that has nothing to do, a large context, and the start and the memory of `kilnd`. Needs
//! root and a static busybox; `cargo bench -p kiln-cli --bench builds`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const KILN: &str = env!("CARGO_BIN_EXE_kiln");
const ROUNDS: usize = 5;

fn main() {
    let Some(busybox) =
        ["/bin/busybox", "/usr/bin/busybox"].iter().find(|path| Path::new(path).exists())
    else {
        return say("skipped: needs a static busybox");
    };
    if !rustix::process::geteuid().is_root() {
        return say("skipped: needs root");
    }
    let lab = tempfile::tempdir().expect("a directory for the benchmark");
    let lab = Lab { root: lab.path().to_owned(), _keep: lab };
    fs::create_dir(lab.root.join("context")).expect("a context");
    fs::copy(busybox, lab.root.join("context/sh")).expect("busybox in the context");
    lab.sequential();
    lab.parallel();
    lab.nothing_to_do();
    lab.context();
    lab.daemon();
}

struct Lab {
    root: PathBuf,
    _keep: tempfile::TempDir,
}

impl Lab {
    /// Twenty `RUN true`, one after the other.
    fn sequential(&self) {
        let bare = best(|_| {
            for _ in 0..20 {
                run(Command::new("/bin/busybox").arg("true"));
            }
        });
        let build = |executor: &'static str| {
            best(move |round| {
                let steps = (0..20)
                    .map(|step| format!("true {executor} {round} {step}"))
                    .collect::<Vec<_>>();
                self.mockerfile(&[("steps", &steps)]);
                run(self.kiln(executor));
            })
        };
        let floor = best(|_| {
            self.mockerfile(&[("steps", &[])]);
            run(self.kiln("native"));
        });
        let native = build("native");
        say(&format!("20 sequential steps, bare processes   {bare:>10.1?}"));
        say(&format!("no step at all, client start to exit  {floor:>10.1?}"));
        let above = (native.saturating_sub(floor).saturating_sub(bare)) / 20;
        say(&format!(
            "20 sequential steps, native           {native:>10.1?}  {above:.2?} a step above a bare process"
        ));
        for runtime in ["runc", "crun"] {
            if Command::new(runtime).arg("--version").stdout(Stdio::null()).status().is_err() {
                say(&format!("{runtime}: not installed"));
                continue;
            }
            let other = build(runtime);
            let ratio = other.saturating_sub(floor).as_secs_f64()
                / native.saturating_sub(floor).as_secs_f64();
            say(&format!(
                "20 sequential steps, {runtime}             {other:>10.1?}  native is {ratio:.1} times faster"
            ));
        }
    }

    /// Thirty-two images of one step each, put together.
    fn parallel(&self) {
        let time = best(|round| {
            let names: Vec<String> = (0..32).map(|image| format!("p{image}")).collect();
            let steps: Vec<Vec<String>> =
                (0..32).map(|image| vec![format!("echo {round} > /p{image}")]).collect();
            let images: Vec<(&str, &[String])> = names
                .iter()
                .zip(&steps)
                .map(|(name, steps)| (name.as_str(), steps.as_slice()))
                .collect();
            self.mockerfile(&images);
            let runs: Vec<_> = names.iter().collect();
            run(self.kiln("native").args(["--opt", &format!("target={}", runs[31])]));
        });
        say(&format!("one of 32 stages of one step          {time:>10.1?}"));
    }

    /// The same build again.
    fn nothing_to_do(&self) {
        let steps: Vec<String> = (0..20).map(|step| format!("true {step}")).collect();
        self.mockerfile(&[("noop", &steps)]);
        run(self.kiln("native"));
        let again = best(|_| run(self.kiln("native")));
        say(&format!("rebuild of 20 steps, nothing to do    {again:>10.1?}"));
    }

    /// Ten thousand small files, and one of them changed.
    fn context(&self) {
        let files = self.root.join("context/files");
        for directory in 0..100 {
            let directory = files.join(directory.to_string());
            fs::create_dir_all(&directory).expect("a directory");
            for file in 0..100 {
                fs::write(directory.join(file.to_string()), format!("{file}")).expect("a file");
            }
        }
        let text = "apiVersion: v1alpha1\nimages:\n- name: files\n  from: scratch\n  external:\n  - src: files\n    dst: /files\n";
        fs::write(self.root.join("context/Mockerfile.yaml"), text).expect("a mockerfile");
        let first = time(|| run(self.kiln("native")));
        let again = best(|_| run(self.kiln("native")));
        let changed = best(|round| {
            fs::write(files.join("50/50"), format!("changed {round}")).expect("a file");
            run(self.kiln("native"));
        });
        let copy =
            time(|| run(Command::new("cp").arg("-a").arg(&files).arg(self.root.join("copy"))));
        say(&format!(
            "10,000 files, first build             {first:>10.1?}  {:.1} times cp -a",
            ratio(first, copy)
        ));
        say(&format!("10,000 files, nothing changed         {again:>10.1?}"));
        say(&format!("10,000 files, one changed             {changed:>10.1?}"));
    }

    /// How soon `kilnd` answers, and what it holds when it has nothing to do.
    fn daemon(&self) {
        let kilnd = Path::new(KILN).with_file_name("kilnd");
        if !kilnd.exists() {
            return say("kilnd: not built beside kiln");
        }
        let socket = self.root.join("d.sock");
        let address = format!("unix://{}", socket.display());
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let started = Instant::now();
            let mut daemon = Command::new(&kilnd)
                .arg("--root")
                .arg(self.root.join("kilnd"))
                .args(["--addr", &address])
                .stderr(Stdio::null())
                .spawn()
                .expect("kilnd starts");
            while std::os::unix::net::UnixStream::connect(&socket).is_err() {
                std::thread::sleep(Duration::from_micros(200));
            }
            times.push(started.elapsed());
            run(Command::new(KILN).args(["--addr", &address, "debug", "workers"]));
            std::thread::sleep(Duration::from_millis(200));
            let status =
                fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap_or_default();
            let resident = status
                .lines()
                .find(|line| line.starts_with("VmRSS"))
                .unwrap_or("VmRSS: unknown")
                .to_owned();
            daemon.kill().expect("kilnd is killed");
            daemon.wait().expect("kilnd ends");
            if times.len() == ROUNDS {
                let best = times.iter().min().copied().unwrap_or_default();
                say(&format!(
                    "kilnd, start to first answer          {best:>10.1?}  idle {resident}"
                ));
            }
        }
    }

    /// Writes a mockerfile of images that start from busybox alone.
    fn mockerfile(&self, images: &[(&str, &[String])]) {
        let mut text = String::from("apiVersion: v1alpha1\nimages:\n");
        for (name, steps) in images {
            let head = format!(
                "- name: {name}\n  from: scratch\n  external:\n  - src: sh\n    dst: /bin/sh\n"
            );
            text.push_str(&head);
            if !steps.is_empty() {
                text.push_str("  steps:\n");
            }
            for step in *steps {
                writeln!(text, "  - {step}").expect("text grows");
            }
        }
        fs::write(self.root.join("context/Mockerfile.yaml"), text).expect("a mockerfile");
    }

    fn kiln(&self, executor: &str) -> Command {
        let mut kiln = Command::new(KILN);
        kiln.arg("--root").arg(self.root.join("state")).args(["--executor", executor]);
        kiln.args(["build", "--frontend=mockerfile.v0", "--progress=quiet"]);
        for local in ["context", "dockerfile"] {
            kiln.arg("--local").arg(format!("{local}={}", self.root.join("context").display()));
        }
        kiln
    }
}

fn run(mut command: impl std::borrow::BorrowMut<Command>) {
    let output = command.borrow_mut().output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn time(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

/// The shortest of several rounds: what the machine can do when nobody else uses it.
fn best(mut work: impl FnMut(usize)) -> Duration {
    (0..ROUNDS).map(|round| time(|| work(round))).min().unwrap_or_default()
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

#[expect(clippy::print_stdout, reason = "a benchmark tells its figures")]
fn say(line: &str) {
    println!("{line}");
}
