//! Caches that are imported and cannot be trusted to be there: a build is as it would be without them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln_tests::{Kiln, OciImage, Registry};
use serde_json::Value;

use super::cache_scene::{CacheScene, worked};

/// Draws numbers, so that what is built again is different. A step reads what another has made.
const DOCKERFILE: &str = "FROM BASE AS build
COPY input /input
RUN head -c 9 /dev/urandom | sha256sum > /drawn
FROM BASE
COPY --from=build /drawn /first
RUN cat /first > /second
";

/// The layers that the manifests of a registry name.
fn layers(cache: &Registry) -> Vec<String> {
    let blobs = cache.content().join("storage/docker/registry/v2/blobs/sha256");
    let mut layers = Vec::new();
    for blob in entries(&blobs).iter().flat_map(|prefix| entries(prefix)) {
        let blob = fs::read(blob.join("data")).unwrap();
        let Ok(manifest) = serde_json::from_slice::<Value>(&blob) else { continue };
        let named = manifest["layers"].as_array().into_iter().flatten();
        layers.extend(named.filter_map(|layer| Some(layer["digest"].as_str()?.to_owned())));
    }
    assert!(layers.len() >= 4, "{layers:?}");
    layers
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// A scene, another registry with a full cache of it, and the option that imports that.
fn begin() -> Option<(CacheScene, Registry, String)> {
    let scene = CacheScene::begin(DOCKERFILE)?;
    let cache = Registry::start()?;
    let reference = cache.reference("cache:1");
    let to = format!("--export-cache=type=registry,ref={reference},mode=max,image-manifest=true");
    let (outcome, _) = scene.build(&Kiln::new(), &[&to]);
    assert_eq!(worked(&outcome), 4, "{outcome}");
    Some((scene, cache, format!("--import-cache=type=registry,ref={reference}")))
}

#[test]
fn what_a_cache_has_otherwise_than_it_says_is_made_anew() {
    let Some((scene, cache, from)) = begin() else { return };
    let (outcome, first) = scene.build(&Kiln::new(), &[&from]);
    assert_eq!(worked(&outcome), 0, "{outcome}");
    layers(&cache).iter().for_each(|layer| cache.falsify(layer));
    // It says that it has everything, until somebody reads it.
    let (outcome, again) = scene.build(&Kiln::new(), &[&from]);
    assert_ne!(again, first, "{outcome}");
    assert!(outcome.stderr.contains("building again"), "{outcome}");
    assert!(outcome.stderr.contains("content has digest"), "{outcome}");
    // As an image, of which the layers would be copied from there.
    let kiln = Kiln::new();
    let build = kiln.build().frontend("dockerfile.v0").of(&scene.project).flag(from);
    let (image, outcome): (OciImage, _) = build.image();
    assert!(image.file("second").unwrap().content.ends_with("-\n"), "{outcome}");
}

#[test]
fn what_a_cache_has_lost_since_it_was_imported_is_made_anew() {
    let Some((scene, cache, from)) = begin() else { return };
    let kiln = Kiln::new();
    // Everything is found, and nothing of it read.
    let build = kiln.build().frontend("dockerfile.v0").of(&scene.project).flag(from);
    let outcome = build.run().succeeds();
    assert_eq!(worked(&outcome), 0, "{outcome}");
    layers(&cache).iter().for_each(|layer| cache.lose(layer));
    let (outcome, _) = scene.build(&kiln, &[]);
    assert!(worked(&outcome) >= 2, "{outcome}");
    assert!(outcome.stderr.contains("building again"), "{outcome}");
}

#[test]
fn a_cache_that_does_not_answer_is_done_without_and_delays_nothing_that_is_at_hand() {
    let Some((scene, cache, from)) = begin() else { return };
    let kiln = Kiln::new();
    let (_, first) = scene.build(&kiln, &[]);
    cache.freeze();
    let begun = Instant::now();
    let (outcome, again) = scene.build(&kiln, &[&from]);
    assert_eq!((worked(&outcome), again), (0, first), "{outcome}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}: {outcome}", begun.elapsed());
    // What is not at hand waits, and not for long.
    scene.project.write("input", "2\n");
    let (outcome, _) = scene.build(&kiln, &[&from]);
    assert_eq!(worked(&outcome), 4, "{outcome}");
    assert!(outcome.stderr.contains("it did not answer for 15 seconds"), "{outcome}");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}: {outcome}", begun.elapsed());
}
