//! The program is killed in the middle of things; what it left behind does no harm.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use kiln_tests::{Image, Kiln, Project, WebServer};
use rustix::fs::{Mode, OFlags, open};
use serde_json::Value;

use super::story::{Story, base_config};

const SOON: Duration = Duration::from_secs(20);

/// Waits until something is so.
#[track_caller]
pub(super) fn until(condition: impl Fn() -> bool, complaint: &str) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "{complaint}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process of this machine is `sleep` for this long.
pub(super) fn runs(seconds: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let words = format!("sleep\0{seconds}\0");
    lines.any(|line| line.windows(words.len()).any(|part| part == words.as_bytes()))
}

/// Serves an image as a registry does; its layers hang halfway.
pub(super) fn serve_hanging(web: &WebServer, image: &Image) -> Vec<(String, Vec<u8>)> {
    let layout = tempfile::tempdir().unwrap();
    image.write_layout(layout.path());
    let index: Value =
        serde_json::from_slice(&fs::read(layout.path().join("index.json")).unwrap()).unwrap();
    let descriptor = &index["manifests"][0];
    let blob = |digest: &Value| {
        let digest = digest.as_str().unwrap();
        let content = fs::read(layout.path().join("blobs").join(digest.replace(':', "/"))).unwrap();
        (digest.to_owned(), content)
    };
    let (digest, manifest) = blob(&descriptor["digest"]);
    let media = descriptor["mediaType"].as_str().unwrap();
    for name in ["1", &digest] {
        web.serve_as(media, &format!("/v2/base/manifests/{name}"), manifest.clone());
    }
    web.serve("/v2/", "{}");
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let (digest, config) = blob(&manifest["config"]["digest"]);
    web.serve(&format!("/v2/base/blobs/{digest}"), config);
    let layers = manifest["layers"].as_array().unwrap().iter();
    let layers = layers.map(|layer| blob(&layer["digest"]));
    let layers = layers.map(|(digest, content)| (format!("/v2/base/blobs/{digest}"), content));
    let layers: Vec<_> = layers.collect();
    for (path, content) in &layers {
        web.hang(path, content.clone());
    }
    layers
}

#[test]
fn killed_while_it_pulls_it_pulls_again() {
    let web = WebServer::start();
    let Some(_needed) = Story::begin() else { return };
    let layers = serve_hanging(&web, &Image::busybox(base_config()));
    let base = format!("{}/base:1", web.host());
    let project = Project::mockerfile(&format!(
        "apiVersion: v1alpha1\nimages:\n- {{name: demo, from: '{base}', steps: ['echo well > /done']}}\n"
    ));
    let kiln = Kiln::new();
    let running = kiln.mockerfile(&project).start();
    until(|| web.served().contains(&layers[0].0), "the layer is not asked for");
    // Some of it has arrived by now, or arrives while it is killed; both must do.
    thread::sleep(Duration::from_millis(50));
    running.kill();
    for (path, content) in layers {
        web.serve(&path, content);
    }
    let (image, _) = kiln.mockerfile(&project).image();
    assert_eq!(image.file("done").unwrap().content, "well\n");
}

#[test]
fn killed_while_a_step_runs_it_leaves_no_process_and_runs_it_again() {
    let Some(story) = Story::begin() else { return };
    // Unlike that of any other run of this test on the machine.
    let seconds = &format!("3.25{}", std::process::id());
    let project = Project::mockerfile(&format!(
        "apiVersion: v1alpha1
images:
- name: demo
  from: {}
  steps: ['echo before > /before', 'echo half > /half; sleep 2; echo waiting; sleep {seconds}; echo whole > /whole']
",
        story.base
    ));
    let kiln = Kiln::new();
    let mut running = kiln.mockerfile(&project).start();
    running.wait_for(" waiting\n", SOON);
    let killed = Instant::now();
    running.kill();
    until(|| !runs(seconds), "the step is left behind");
    assert!(killed.elapsed() < Duration::from_secs(2), "the step went on to its end");
    let (image, outcome) = kiln.mockerfile(&project).image();
    assert_eq!(image.file("whole").unwrap().content, "whole\n");
    // What was finished, and had the time to be kept, is not done again.
    assert_eq!(outcome.worked().len(), 1, "{outcome}");
}

#[test]
fn killed_while_it_exports_it_exports_again() {
    let Some(story) = Story::begin() else { return };
    let kiln = Kiln::new();
    let pipe = kiln.path("pipe");
    let mut command = std::process::Command::new("mkfifo");
    command.arg(&pipe);
    kiln_tests::run(command, b"", SOON).succeeds();
    for kind in ["type=oci,name=e2e.test/image:1", "type=tar", "type=docker,name=e2e.test/image:1"]
    {
        let running = kiln.mockerfile(&story.project).output(kind, &pipe).start();
        let reader = open(&pipe, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
        // Nobody has it open yet: nothing; nothing was written yet: an error.
        until(|| rustix::io::read(&reader, &mut [0; 1024]).is_ok_and(|n| n > 0), "no export");
        // The pipe is full now and the exporter waits.
        running.kill();
        drop(reader);
    }
    let (image, _) = kiln.mockerfile(&story.project).image();
    assert_eq!(image.file("srv/said").unwrap().content, "tool\nkubectl\n");
}

/// Bytes that a directory takes on its disk, each file once, whatever it is called. What disappears meanwhile
/// takes none.
pub(super) fn on_disk(directory: &Path) -> u64 {
    let mut seen = std::collections::BTreeSet::new();
    let mut pending = vec![directory.to_owned()];
    let mut total = 0;
    while let Some(next) = pending.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                pending.push(entry.path());
            }
            if seen.insert(metadata.ino()) {
                total += metadata.blocks() * 512;
            }
        }
    }
    total
}

fn told(kiln: &Kiln) -> u64 {
    kiln.usage().iter().map(|record| record["size"].as_u64().unwrap()).sum()
}

#[test]
fn usage_agrees_with_the_disk_even_after_a_kill() {
    /// Indexes and directories, which belong to no record.
    const OVERHEAD: u64 = 8 << 20;
    let Some(story) = Story::begin() else { return };
    let kiln = Kiln::new();
    let project = |line: &str| {
        Project::mockerfile(&format!(
            "apiVersion: v1alpha1\nimages:\n- {{name: demo, from: '{}', steps: ['{line}']}}\n",
            story.base
        ))
    };
    kiln.mockerfile(&project("head -c 20000000 /dev/urandom > /big")).run().succeeds();
    let left = project("head -c 30000000 /dev/urandom > /left; echo waiting; sleep 600");
    let mut running = kiln.mockerfile(&left).start();
    running.wait_for(" waiting\n", SOON);
    running.kill();
    // A start cleans up what the killed one left.
    kiln.run(&["du"]).succeeds();
    let (told_now, disk) = (told(&kiln), on_disk(kiln.root()));
    assert!(told_now > 20_000_000, "{told_now}");
    assert!(told_now <= disk && disk - told_now < OVERHEAD, "du says {told_now}, the disk {disk}");
    kiln.run(&["prune", "--all"]).succeeds();
    let (told_now, disk) = (told(&kiln), on_disk(kiln.root()));
    assert!(told_now == 0 && disk < OVERHEAD, "after pruning du says {told_now}, the disk {disk}");
}
