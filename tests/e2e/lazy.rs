//! What of an image is read: a registry writes down what it is asked for.

use std::fs;

use kiln_tests::archive::{Entry, tar};
use kiln_tests::{Image, ImageConfig, Kiln, Outcome, Project, Registry};

/// An image of ten layers in a registry.
struct Scene {
    registry: Registry,
    base: String,
    layers: Vec<String>,
}

impl Scene {
    fn begin() -> Option<Self> {
        let registry = Registry::start()?;
        let config = ImageConfig { env: vec!["PATH=/bin".into()], ..ImageConfig::default() };
        let names: Vec<String> = (1..10).map(|number| format!("file{number}")).collect();
        let image = names.iter().fold(Image::busybox(config), |image, name| {
            image.layer(tar(&[Entry::File(name, 0o644, 0, name.as_bytes())]))
        });
        let base = image.push(&registry, "base:1");
        let layers = registry.layers(&base);
        assert_eq!(layers.len(), 10);
        Some(Self { registry, base, layers })
    }

    fn project(&self, dockerfile: &str) -> Project {
        Project::new(&[("Dockerfile", &dockerfile.replace("BASE", &self.base)), ("input", "1\n")])
    }

    /// How many layers of the base were read, each of them once.
    fn read(&self) -> usize {
        let reads = self.registry.reads(&self.layers);
        assert!(reads.iter().all(|reads| *reads < 2), "no layer is read twice: {reads:?}");
        reads.iter().sum()
    }

    fn push(&self, kiln: &Kiln, project: &Project, name: &str, flags: &[&str]) -> Outcome {
        let build = kiln.build().frontend("dockerfile.v0").of(project);
        let build = flags.iter().fold(build, |build, flag| build.flag(*flag));
        build.flag(format!("--output=type=image,name={name},push=true")).run().succeeds()
    }
}

/// How often a registry was asked to take over a layer, and how often it was sent one.
fn taken_and_sent(registry: &Registry, repository: &str) -> (usize, usize) {
    let begins = format!("POST /v2/{repository}/blobs/uploads/?");
    let taken = |request: &&String| request.starts_with(&begins) && request.contains("mount=");
    let begins = format!("PUT /v2/{repository}/blobs/uploads/");
    let asked = registry.asked();
    let sent = asked.iter().filter(|request| request.starts_with(&begins)).count();
    (asked.iter().filter(taken).count(), sent)
}

#[test]
fn an_image_on_a_base_of_the_same_registry_is_pushed_without_reading_it() {
    let Some(scene) = Scene::begin() else { return };
    let kiln = Kiln::new();
    let project = scene.project("FROM BASE\nLABEL a=b\n");
    let app = scene.registry.reference("app:1");
    scene.push(&kiln, &project, &app, &[]);
    assert_eq!(scene.read(), 0);
    // The config is sent.
    assert_eq!(taken_and_sent(&scene.registry, "app"), (10, 1));
    assert_eq!(scene.registry.layers(&app), scene.layers);
    // Another registry has no layer yet: each is read once, and none is unpacked.
    let Some(other) = Registry::start() else { return };
    let copy = other.reference("app:1");
    scene.push(&kiln, &project, &copy, &[]);
    assert_eq!(scene.read(), 10);
    assert_eq!(taken_and_sent(&other, "app"), (0, 11));
    assert_eq!(other.layers(&copy), scene.layers);
    let mut snapshots = fs::read_dir(kiln.root().join("snapshots")).unwrap();
    assert!(snapshots.all(|place| !place.unwrap().path().join("fs/file9").exists()));
    // What has something on top of the base sends that alone.
    let project = scene.project("FROM BASE\nCOPY input /\nRUN cat input > output\n");
    scene.push(&kiln, &project, &scene.registry.reference("more:1"), &[]);
    assert_eq!(taken_and_sent(&scene.registry, "more"), (10, 3));
    assert_eq!(scene.read(), 10, "the layers that were here are unpacked now");
}

#[test]
fn what_is_cached_reads_no_layer_and_what_is_not_wanted_neither() {
    let Some(scene) = Scene::begin() else { return };
    let project = scene.project(
        "FROM BASE AS unused\nRUN true\nFROM BASE\nCOPY input /\nRUN cat input file9 > output\n",
    );
    let kiln = Kiln::new();
    let build = |kiln: &Kiln| kiln.build().frontend("dockerfile.v0").of(&project).run().succeeds();
    build(&kiln);
    assert_eq!(scene.read(), 10);
    let again = build(&kiln);
    assert_eq!(scene.read(), 10, "{again}");
    // Elsewhere one file is copied out of the image, whose layers are all needed for that, once.
    let copying = "FROM scratch\nCOPY --from=BASE /file9 /\nCOPY input /\n";
    let project = scene.project(copying);
    let kiln = Kiln::new();
    let build = |project: &Project| kiln.build().frontend("dockerfile.v0").of(project).image();
    let (image, _) = build(&project);
    assert_eq!(image.file("file9").unwrap().content, "file9");
    assert_eq!(scene.registry.reads(&scene.layers), [2; 10]);
    project.write("input", "2\n");
    build(&project);
    assert_eq!(scene.registry.reads(&scene.layers), [2; 10]);
}

#[test]
fn a_hit_of_an_imported_cache_that_is_pushed_reads_nothing() {
    let Some(scene) = Scene::begin() else { return };
    let random = "head -c 9 /dev/urandom | sha256sum";
    let dockerfile = format!("FROM BASE\nCOPY input /\nRUN {random} > a\nRUN {random} > b\n");
    let project = scene.project(&dockerfile);
    let cache = scene.registry.reference("cache:1");
    let to = format!("--export-cache=type=registry,ref={cache},mode=max");
    let from = format!("--import-cache=type=registry,ref={cache}");
    let app = scene.registry.reference("app:1");
    scene.push(&Kiln::new(), &project, &app, &[&to]);
    let layers = scene.registry.layers(&app);
    let reads = scene.registry.reads(&layers);
    let kiln = Kiln::new();
    let again = scene.registry.reference("again:1");
    // It is passed on as a cache, too.
    let to = to.replace("cache:1", "passed:1");
    let outcome = scene.push(&kiln, &project, &again, &[&from, &to]);
    assert_eq!(scene.registry.reads(&layers), reads, "{outcome}");
    assert_eq!(scene.registry.layers(&again), layers);
    // What was found is kept, and read when somebody looks into it: in another process, by a build
    // that imports nothing.
    let out = kiln.path("out");
    let build = kiln.build().frontend("dockerfile.v0").of(&project);
    let outcome = build.output("type=local", &out).run().succeeds();
    let more: Vec<usize> = reads.iter().map(|reads| reads + 1).collect();
    assert_eq!(scene.registry.reads(&layers), more, "{outcome}");
    assert_eq!(fs::read_to_string(out.join("file9")).unwrap(), "file9");
    assert_ne!(fs::read(out.join("a")).unwrap(), fs::read(out.join("b")).unwrap());
}

#[test]
fn an_archive_has_the_layers_that_nobody_looked_into() {
    let Some(scene) = Scene::begin() else { return };
    let kiln = Kiln::new();
    let project = scene.project("FROM BASE\nLABEL a=b\n");
    let (image, _) = kiln.build().frontend("dockerfile.v0").of(&project).image();
    assert_eq!(scene.read(), 10);
    assert_eq!(image.file("file9").unwrap().content, "file9");
    let out = kiln.path("out");
    let build = kiln.build().frontend("dockerfile.v0").of(&project);
    build.output("type=local", &out).run().succeeds();
    assert_eq!(fs::read_to_string(out.join("file9")).unwrap(), "file9");
    assert_eq!(scene.read(), 10);
}

#[test]
fn a_layer_that_is_gone_fails_the_step_that_wants_it() {
    let Some(scene) = Scene::begin() else { return };
    let kiln = Kiln::new();
    let project = scene.project("FROM BASE\nLABEL a=b\n");
    scene.push(&kiln, &project, &scene.registry.reference("app:1"), &[]);
    scene.registry.lose(&scene.layers[4]);
    let project = scene.project("FROM BASE\nRUN cat file9\n");
    let failed = kiln.build().frontend("dockerfile.v0").of(&project).run().fails();
    let layer = format!("layer {} of {}", scene.layers[4], scene.base);
    failed.says(&[&layer, "RUN cat file9", &scene.registry.host()]);
}
