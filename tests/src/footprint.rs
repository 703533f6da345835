//! What a daemon holds of the machine: descriptors, mounts, control groups, processes, tasks, results
//! in use. Taken before and after something goes wrong, it says what was left behind.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Kiln, Kilnd};

/// How often a daemon is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What a daemon holds, by kind; each with how many of it there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint(BTreeMap<String, usize>);

/// A daemon whose footprint can be taken.
#[derive(Debug)]
pub struct Watched {
    /// The daemon.
    pub daemon: Kilnd,
    /// A client of it.
    pub client: Kiln,
    debug: PathBuf,
    cgroup: ParentGroup,
    _directory: tempfile::TempDir,
}

impl Watched {
    /// Starts a daemon that collects nothing by itself, with more flags.
    ///
    /// # Panics
    ///
    /// If it does not start.
    #[track_caller]
    pub fn start(flags: &[&str]) -> Self {
        Self::configured(&[&["--oci-worker-gc=false"], flags].concat(), "")
    }

    /// Starts a daemon with more flags, and with more lines of configuration, the first of which are
    /// about its worker.
    ///
    /// # Panics
    ///
    /// If it does not start.
    #[track_caller]
    pub fn configured(flags: &[&str], lines: &str) -> Self {
        Self::configured_on(flags, lines, 0)
    }

    /// The same with its state on a disk of so many mebibytes, if the machine allows one and it is not 0.
    ///
    /// # Panics
    ///
    /// If it does not start.
    #[track_caller]
    pub fn configured_on(flags: &[&str], lines: &str, mebibytes: u64) -> Self {
        let directory = tempfile::tempdir().expect("failed to make a directory");
        let debug = directory.path().join("debug.sock");
        let address = format!("--debugaddr=unix://{}", debug.display());
        let name = directory.path().file_name().expect("a directory has a name");
        let cgroup = format!("kiln-tests{}", name.to_string_lossy().replace('.', "-"));
        let file = format!("[worker.oci]\ndefaultCgroupParent = \"/{cgroup}\"\n{lines}");
        let cgroup = ParentGroup(cgroup);
        let flags = [&[address.as_str()][..], flags].concat();
        let daemon = Kilnd::configured_on("kilnd", &flags, &file, mebibytes);
        let client = daemon.client();
        client.run(&["debug", "workers"]).succeeds();
        Self { daemon, client, debug, cgroup, _directory: directory }
    }

    /// What it holds now.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn footprint(&self) -> Footprint {
        let mut held = Footprint::default();
        let processes = family(self.daemon.id());
        for process in &processes {
            held.add("process", &read(process, "comm"));
            for target in descriptors(process) {
                held.add("descriptor", &kind(&target));
            }
            for mount in mounts(process, &self.daemon.root()) {
                held.add("mount", &mount);
            }
        }
        for group in groups(&self.cgroup.0) {
            held.add("cgroup", &group);
        }
        for record in self.client.usage() {
            if record["inUse"].as_bool().unwrap_or_default() {
                held.add("result in use", &record["id"].to_string());
            }
        }
        let facts: Value = serde_json::from_str(&self.vars()).expect("facts are JSON");
        let tasks = facts["tasks"].as_u64().expect("tasks are counted");
        held.0.insert("tasks".into(), usize::try_from(tasks).expect("there are few"));
        held
    }

    /// Waits until it holds nothing more than it did.
    ///
    /// # Panics
    ///
    /// If it still does after `limit`.
    #[track_caller]
    pub fn is_back_to(&self, before: &Footprint, limit: Duration) {
        let deadline = Instant::now() + limit;
        loop {
            let more = self.footprint().beyond(before);
            if more.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left behind: {more:#?}\n{}", self.daemon.log());
            thread::sleep(LOOK);
        }
    }

    /// What of it is left once it has ended: mounts, and control groups of its processes.
    pub fn remains(root: &Path, cgroup: &str) -> Vec<String> {
        let own = Path::new("/proc/self").to_owned();
        // What is made once below the parent that the operator names stays there.
        let groups = groups(cgroup).into_iter().filter(|group| !group.ends_with("/buildkit"));
        mounts(&own, root).into_iter().chain(groups).collect()
    }

    /// The control group that its processes are in, if the machine gives them one.
    pub fn cgroup(&self) -> &str {
        &self.cgroup.0
    }

    fn vars(&self) -> String {
        let mut stream = UnixStream::connect(&self.debug).expect("the daemon answers");
        write!(stream, "GET /debug/vars HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .expect("the daemon listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the daemon answers");
        answer.split_once("\r\n\r\n").expect("an answer has a body").1.to_owned()
    }
}

/// The control group that an operator names; removed on drop.
#[derive(Debug)]
struct ParentGroup(String);

impl Drop for ParentGroup {
    fn drop(&mut self) {
        // The innermost first. What is still used stays, as it would on any machine.
        let mut groups = groups(&self.0);
        groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
        let parents: std::collections::BTreeSet<PathBuf> =
            groups.iter().filter_map(|group| top(group, &self.0)).collect();
        for group in groups.iter().map(PathBuf::from).chain(parents) {
            fs::remove_dir(group).ok();
        }
    }
}

/// The group of this name that another is below.
fn top(group: &str, name: &str) -> Option<PathBuf> {
    let end = group.find(name)? + name.len();
    Some(PathBuf::from(&group[..end]))
}

impl Footprint {
    fn add(&mut self, what: &str, which: &str) {
        *self.0.entry(format!("{what} {}", which.trim())).or_default() += 1;
    }

    /// What there is more of than there was.
    fn beyond(&self, before: &Self) -> Vec<String> {
        let more = self.0.iter().filter_map(|(what, now)| {
            let then = before.0.get(what).copied().unwrap_or_default();
            (*now > then).then(|| format!("{what}: {now}, were {then}"))
        });
        more.collect()
    }
}

/// A process and those below it, as directories of the kernel's.
fn family(id: rustix::process::Pid) -> Vec<PathBuf> {
    let mut children: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let stat = read(&entry.path(), "stat");
        let mut fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
        // One that has ended and is about to be waited for is gone.
        if fields.next().is_none_or(|state| state == "Z" || state.is_empty()) {
            continue;
        }
        let parent = fields.next().unwrap_or_default().to_owned();
        children.entry(parent).or_default().push(entry.file_name().to_string_lossy().into());
    }
    let mut family = vec![id.as_raw_nonzero().to_string()];
    let mut next = 0;
    while let Some(process) = family.get(next).cloned() {
        family.extend(children.remove(&process).unwrap_or_default());
        next += 1;
    }
    family.into_iter().map(|process| Path::new("/proc").join(process)).collect()
}

fn read(process: &Path, file: &str) -> String {
    fs::read_to_string(process.join(file)).unwrap_or_default()
}

fn descriptors(process: &Path) -> Vec<String> {
    let entries = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    let targets = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    targets.map(|target| target.to_string_lossy().into_owned()).collect()
}

/// What a descriptor is, without the number of a socket or pipe.
fn kind(target: &str) -> String {
    target.split_once(":[").map_or(target, |(kind, _)| kind).to_owned()
}

/// Mounts below a directory, as a process sees them.
fn mounts(process: &Path, root: &Path) -> Vec<String> {
    let root = root.to_string_lossy().into_owned();
    let table = read(process, "mountinfo");
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| point.starts_with(&root)).map(str::to_owned).collect()
}

/// Control groups below one of this name, in whatever hierarchies there are.
fn groups(name: &str) -> Vec<String> {
    let top = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(top).into_iter().flatten().flatten();
    let mut open: Vec<PathBuf> = hierarchies.map(|entry| entry.path().join(name)).collect();
    open.push(top.join(name));
    let mut groups = Vec::new();
    while let Some(group) = open.pop() {
        for entry in fs::read_dir(&group).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                groups.push(entry.path().to_string_lossy().into_owned());
                open.push(entry.path());
            }
        }
    }
    groups
}
