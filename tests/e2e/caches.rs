//! Caches outside the daemon: what one machine built, another finds.

use std::fs;
use std::path::Path;

use kiln_tests::{Kiln, Project, skip};
use serde_json::Value;

use super::cache_scene::{CacheScene, worked};

/// Draws numbers, so that what is built again is different.
const DOCKERFILE: &str = "FROM --platform=$BUILDPLATFORM BASE AS build
ARG TARGETARCH
COPY input /input
RUN head -c 9 /dev/urandom | sha256sum > /first
RUN head -c 9 /dev/urandom | sha256sum > /second
FROM scratch
COPY --from=build /first /second /
";

#[test]
fn a_cache_in_a_registry_is_found_by_another_machine() {
    let Some(scene) = CacheScene::begin(DOCKERFILE) else { return };
    for (mode, more) in
        [("min", ",compression=estargz"), ("max", ",image-manifest=false,compression=zstd")]
    {
        let cache = scene.registry.reference(&format!("cache-{mode}:1"));
        let to = format!("--export-cache=type=registry,ref={cache},mode={mode}{more}");
        let from = format!("--import-cache=type=registry,ref={cache}");
        let (outcome, first) = scene.build(&Kiln::new(), &[&to]);
        assert_eq!(worked(&outcome), 4, "{outcome}");
        let (outcome, again) = scene.build(&Kiln::new(), &[&from]);
        assert_eq!((worked(&outcome), &again), (0, &first), "{mode}: {outcome}");
    }
    // With all results another target is found, too; with that of the build it is not.
    for (mode, expected) in [("min", 3), ("max", 0)] {
        let cache = scene.registry.reference(&format!("cache-{mode}:1"));
        let from = format!("--import-cache=type=registry,ref={cache}");
        let (outcome, _) = scene.build(&Kiln::new(), &[&from, "--opt=target=build"]);
        assert_eq!(worked(&outcome), expected, "{mode}: {outcome}");
    }
}

#[test]
fn a_cache_that_was_imported_is_passed_on_without_being_pulled() {
    let Some(scene) = CacheScene::begin(DOCKERFILE) else { return };
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (directory.path().join("one"), directory.path().join("two"));
    let to = |path: &Path| format!("--export-cache=type=local,dest={},mode=max", path.display());
    let from = |path: &Path| format!("--import-cache=type=local,src={}", path.display());
    let (_, first) = scene.build(&Kiln::new(), &[&to(&one)]);
    let (outcome, again) = scene.build(&Kiln::new(), &[&from(&one), &to(&two)]);
    assert_eq!((worked(&outcome), &again), (0, &first), "{outcome}");
    let (outcome, _) = scene.build(&Kiln::new(), &[&from(&two), "--opt=target=build"]);
    assert_eq!(worked(&outcome), 0, "{outcome}");
}

#[test]
fn an_image_carries_its_cache_whatever_its_platforms() {
    let Some(scene) = CacheScene::begin(DOCKERFILE) else { return };
    for platforms in ["linux/amd64", "linux/amd64,linux/arm64"] {
        let name = scene.registry.reference(&format!("app{}:1", platforms.len()));
        let build = |kiln: &Kiln, more: &[String]| {
            let build = kiln.build().frontend("dockerfile.v0").of(&scene.project);
            let build = build.opt("platform", platforms).flag("--export-cache=type=inline");
            let build = more.iter().fold(build, |build, flag| build.flag(flag.clone()));
            let metadata = kiln.path("metadata.json");
            let build = build.flag(format!("--metadata-file={}", metadata.display()));
            let output = format!("--output=type=image,name={name},push=true");
            let outcome = build.flag(output).run().succeeds();
            let metadata: Value = serde_json::from_slice(&fs::read(metadata).unwrap()).unwrap();
            (outcome, metadata["containerimage.digest"].as_str().unwrap().to_owned())
        };
        let (outcome, first) = build(&Kiln::new(), &[]);
        assert!(worked(&outcome) > 0, "{outcome}");
        let import = [format!("--import-cache=type=registry,ref={name}")];
        let (outcome, again) = build(&Kiln::new(), &import);
        assert_eq!((worked(&outcome), again), (0, first), "{platforms}: {outcome}");
    }
}

#[test]
fn a_cache_that_is_missing_or_lies_is_a_warning_and_a_miss() {
    let Some(scene) = CacheScene::begin(DOCKERFILE) else { return };
    let missing = scene.registry.reference("missing:1");
    let from = format!("--import-cache=type=registry,ref={missing}");
    let (outcome, _) = scene.build(&Kiln::new(), &[&from]);
    assert_eq!(worked(&outcome), 4, "{outcome}");
    outcome.says(&["is not imported"]);

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    scene.build(&Kiln::new(), &[&format!("--export-cache=type=local,dest={}", path.display())]);
    let from = format!("--import-cache=type=local,src={}", path.display());
    // Every layer is another than its digest says.
    for blob in fs::read_dir(path.join("blobs/sha256")).unwrap() {
        let blob = blob.unwrap().path();
        let mut bytes = fs::read(&blob).unwrap();
        if !bytes.starts_with(b"{") {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0xff;
            fs::write(&blob, bytes).unwrap();
        }
    }
    let (outcome, _) = scene.build(&Kiln::new(), &[&from]);
    assert!(worked(&outcome) >= 3, "{outcome}");
    outcome.says(&["cannot be used"]);
}

#[test]
fn a_cache_mount_goes_along_and_one_that_is_broken_begins_empty() {
    let Some(scene) = CacheScene::begin(DOCKERFILE) else { return };
    let base = scene.registry.reference("base:1");
    // Says what it finds, and leaves something to be found.
    let dockerfile = format!(
        "FROM {base}
ARG WHEN
RUN --mount=type=cache,id=notes,target=/notes --mount=type=cache,id=large,target=/large \\
    cp /notes/seen /first 2>/dev/null || echo nothing > /first; \\
    echo $WHEN >> /notes/seen; head -c 2000 /dev/zero > /large/zeros
FROM scratch
COPY --from=0 /first /
"
    );
    let scene = CacheScene {
        project: Project::new(&[("Dockerfile", &dockerfile)]),
        registry: scene.registry,
    };
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path();
    let mounts = r#""mounts=notes,large,none",mounts-max-size=1k"#;
    let to = format!("--export-cache=type=local,dest={},{mounts}", cache.display());
    let (outcome, found) = scene.build(&Kiln::new(), &[&to, "--opt=build-arg:WHEN=first"]);
    assert_eq!(found, "nothing\n");
    outcome.says(&[
        "cache mount /large is not exported: it has more than 1024 bytes",
        "cache mount none is not exported: there is none of this id",
    ]);

    let from = format!("--import-cache=type=local,src={}", cache.display());
    let second = Kiln::new();
    let (outcome, found) = scene.build(&second, &[&from, "--opt=build-arg:WHEN=second"]);
    assert_eq!(found, "first\n", "{outcome}");
    // What is here is not replaced, and what is to begin empty does.
    let (_, found) = scene.build(&second, &[&from, "--opt=build-arg:WHEN=third"]);
    assert_eq!(found, "first\nsecond\n");
    let (_, found) = scene.build(&second, &[&from, "--no-cache"]);
    assert_eq!(found, "nothing\n");

    for blob in fs::read_dir(cache.join("blobs/sha256")).unwrap() {
        let blob = blob.unwrap().path();
        if !fs::read(&blob).unwrap().starts_with(b"{") {
            fs::write(&blob, "broken").unwrap();
        }
    }
    let (outcome, found) = scene.build(&Kiln::new(), &[&from, "--opt=build-arg:WHEN=fourth"]);
    assert_eq!(found, "nothing\n");
    outcome.says(&["cache mount /notes of cache", "cannot be used"]);
}

#[test]
fn an_export_that_may_fail_does_not_end_the_build() {
    let Some(scene) = CacheScene::begin(DOCKERFILE) else { return };
    // Port 1 is no registry.
    let to = "--export-cache=type=registry,ref=127.0.0.1:1/cache:1";
    let (outcome, _) = scene.build(&Kiln::new(), &[&format!("{to},ignore-error=true")]);
    outcome.says(&["cache 127.0.0.1:1/cache:1 (registry) is not exported"]);
    let build = Kiln::new();
    let build = build.build().frontend("dockerfile.v0").of(&scene.project).flag(to);
    build.run().fails().says(&["failed to export cache to 127.0.0.1:1/cache:1"]);
}

#[test]
fn an_empty_result_has_no_cache() {
    let kiln = Kiln::new();
    if !kiln_tests::is_root() {
        return skip("root");
    }
    let project = Project::new(&[("Dockerfile", "FROM scratch\nLABEL a=b\n")]);
    let path = kiln.path("cache");
    let build = kiln.build().frontend("dockerfile.v0").of(&project);
    let to = format!("--export-cache=type=local,dest={}", path.display());
    build.flag(to).run().succeeds().says(&["skipping cache export for empty result"]);
    assert!(!path.join("index.json").exists());
}
