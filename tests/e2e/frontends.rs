//! One frontend run in three ways: linked in, as a plugin, as an image.

use std::collections::BTreeSet;

use kiln_tests::{Kiln, OciImage, Registry, binaries};

use super::story::Story;

/// Packs the frontend of mockerfiles and pushes it.
pub(super) fn pack(kiln: &Kiln, registry: &Registry) -> String {
    pack_program(kiln, registry, "kiln-frontend-mockerfile")
}

/// Packs a frontend and pushes it.
pub(super) fn pack_program(kiln: &Kiln, registry: &Registry, program: &str) -> String {
    let name = registry.reference(&format!("frontends/{program}:1"));
    let frontend = binaries().path(program);
    let output = ["frontend", "pack", "--output=type=registry", "--name", &name];
    let mut command = kiln.command(&output);
    command.arg(frontend);
    kiln_tests::run(command, b"", std::time::Duration::from_secs(60)).succeeds();
    name
}

/// The digests of all vertices that the progress tells of, but the frontend's own.
fn vertices(raw: &str) -> BTreeSet<String> {
    let digests = raw.lines().filter_map(|line| {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        let vertices = value["vertexes"].as_array()?;
        let names = vertices.iter().filter(|vertex| {
            vertex["name"].as_str().is_some_and(|name| name.starts_with("[demo "))
        });
        let digests = names.filter_map(|vertex| vertex["digest"].as_str().map(str::to_owned));
        Some(digests.collect::<Vec<_>>())
    });
    digests.flatten().collect()
}

#[test]
fn all_seats_make_the_same_vertices_and_the_same_image() {
    let Some(story) = Story::begin() else { return };
    let kiln = Kiln::new();
    let image = pack(&kiln, &story.registry);
    let build = || kiln.build().of(&story.project).opt("build-arg:SOURCE_DATE_EPOCH", "1700000000");
    let linked = || build().frontend("mockerfile.v0");
    let plugin = || build().frontend(binaries().mockerfile());
    let packed = || build().frontend("gateway.v0").opt("source", &image);

    let (first, _) = linked().image();
    for way in [plugin(), packed()] {
        let (again, outcome) = way.image();
        assert_eq!(again.digest, first.digest);
        assert_eq!(outcome.worked(), [""; 0], "{outcome}");
    }

    let told = [linked(), plugin(), packed()]
        .map(|way| vertices(&way.flag("--progress=rawjson").run().succeeds().stderr));
    assert!(told[0].len() > 8, "{told:?}");
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0], told[2]);
}

#[test]
fn an_image_without_a_capability_that_is_required_is_not_started() {
    let Some(story) = Story::begin() else { return };
    let kiln = Kiln::new();
    let image = pack(&kiln, &story.registry);
    let build = |caps: &str| {
        let build = kiln.build().of(&story.project).frontend("gateway.v0").opt("source", &image);
        build.opt("frontend.caps", caps).run()
    };
    build("moby.buildkit.frontend.inputs").succeeds();
    let outcome = build("moby.buildkit.frontend.inputs,x.y+forward").fails();
    let message = format!("frontend image {image}: unsupported frontend capability x.y");
    assert!(outcome.stderr.contains(&message), "{outcome}");
}

#[test]
fn states_that_never_met_make_the_same_image_when_times_are_given() {
    let Some(story) = Story::begin() else { return };
    let image = pack(&Kiln::new(), &story.registry);
    let digest = |choose: &dyn Fn(&Kiln) -> OciImage| choose(&Kiln::new()).digest;
    let build = |kiln: &Kiln, frontend: &str| {
        let archive = kiln.path("out.tar");
        let build = kiln.build().of(&story.project).frontend(frontend).opt("source", &image);
        let build = build.opt("build-arg:SOURCE_DATE_EPOCH", "1700000000");
        build.output("type=oci,rewrite-timestamp=true", &archive).run().succeeds();
        OciImage::open(&archive)
    };
    let linked = digest(&|kiln| build(kiln, "mockerfile.v0"));
    let packed = digest(&|kiln| build(kiln, "gateway.v0"));
    assert_eq!(linked, packed);
}
