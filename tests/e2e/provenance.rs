//! What a build says about itself: where its result comes from, what it is made of, and no secret.

use std::fs;
use std::path::Path;

use kiln_tests::{Image, ImageConfig, Kiln, Project, Registry};
use serde_json::{Value, json};

const SECRET: &str = "never-to-be-written-down";

/// A base in a registry, and files that are built from it.
struct Scene {
    registry: Registry,
    project: Project,
}

impl Scene {
    /// Sets it; `None`, and aloud, where it cannot be.
    fn begin(dockerfile: &str) -> Option<Self> {
        let registry = Registry::start()?;
        let config = ImageConfig { env: vec!["PATH=/bin".into()], ..ImageConfig::default() };
        let base = Image::busybox(config).push(&registry, "library/base:1");
        let project = Project::new(&[("file", "x"), ("token", SECRET)]);
        project.write("Dockerfile", dockerfile.replace("BASE", &base));
        Some(Self { registry, project })
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn provenance_says_what_a_build_used_and_never_what_a_secret_is() {
    let Some(scene) = Scene::begin(
        "FROM BASE AS work
ARG NAME
RUN --network=none --mount=type=secret,id=token,env=TOKEN \
    test ${#TOKEN} = 24 && echo $NAME > /made
FROM scratch
COPY --from=work /made /
",
    ) else {
        return;
    };
    let kiln = Kiln::new();
    // The second build finds everything in the cache, and says the same.
    for (mode, round) in [("max", 1), ("max", 2), ("min", 3)] {
        let out = kiln.path(&format!("out-{round}"));
        let token = scene.project.path().join("token");
        kiln.build()
            .of(&scene.project)
            .frontend("dockerfile.v0")
            .flag(format!("--secret=id=token,src={}", token.display()))
            .opt("build-arg:NAME", "you")
            .opt("attest:provenance", &format!("mode={mode},builder-id=https://example.com/me"))
            .output("type=local", &out)
            .run()
            .succeeds();
        let statement = json(&out.join("provenance.json"));
        let text = statement.to_string();
        assert!(!text.contains(SECRET), "{text}");
        assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
        assert_eq!(statement["subject"][0]["name"], "made");
        let definition = &statement["predicate"]["buildDefinition"];
        let materials = definition["resolvedDependencies"].as_array().unwrap();
        let base = materials.iter().filter(|m| m["uri"].as_str().unwrap().contains("/base@1"));
        assert_eq!(base.count(), 1, "{materials:?}");
        assert!(materials[0]["digest"]["sha256"].is_string());
        let request = &definition["externalParameters"]["request"];
        assert_eq!(request["frontend"], "dockerfile.v0");
        let details = &statement["predicate"]["runDetails"];
        assert_eq!(details["builder"]["id"], "https://example.com/me");
        let is_max = mode == "max";
        assert_eq!(request["args"]["build-arg:NAME"] == "you", is_max);
        assert_eq!(request["secrets"][0]["id"] == "token", is_max);
        let metadata = &details["metadata"];
        assert_eq!(metadata["buildkit_completeness"]["request"], json!(is_max));
        let layers = &metadata["buildkit_metadata"]["layers"];
        assert_eq!(layers["step0:0"].is_array(), is_max, "{layers}");
    }
}

#[test]
fn a_scanner_finds_what_it_scans_and_what_it_lists_stands_beside_the_image() {
    let Some(scene) = Scene::begin("FROM BASE\nCOPY file /file\n") else { return };
    // What the scanner lists is one file, and the argument that it was given.
    let program = r#"test -f $BUILDKIT_SCAN_SOURCE/file && echo "{
        \"_type\": \"https://in-toto.io/Statement/v1\",
        \"predicateType\": \"https://spdx.dev/Document\",
        \"predicate\": { \"spdxVersion\": \"SPDX-2.3\", \"name\": \"$BUILDKIT_SCAN_NAME\",
            \"files\": [{ \"fileName\": \"/file\" }] }
    }" > $BUILDKIT_SCAN_DESTINATION/sbom.spdx.json"#;
    let config = ImageConfig {
        env: vec!["PATH=/bin".into()],
        entrypoint: vec!["/bin/sh".into(), "-c".into(), program.into()],
        ..ImageConfig::default()
    };
    let scanner = Image::busybox(config).push(&scene.registry, "library/scanner:1");
    let kiln = Kiln::new();
    let out = kiln.path("out");
    kiln.build()
        .of(&scene.project)
        .frontend("dockerfile.v0")
        .opt("attest:sbom", &format!("generator={scanner},NAME=mine"))
        .output("type=oci,tar=false,name=example.org/app:1", &out)
        .run()
        .succeeds();
    let document =
        |digest: &Value| json(&out.join("blobs").join(digest.as_str().unwrap().replace(':', "/")));
    let index = document(&json(&out.join("index.json"))["manifests"][0]["digest"]);
    let [image, attested] = [0, 1].map(|number| document(&index["manifests"][number]["digest"]));
    let statement = document(&attested["layers"][0]["digest"]);
    assert_eq!(statement["predicate"]["name"], "mine");
    let file = &statement["predicate"]["files"][0];
    let last = image["layers"].as_array().unwrap().last().unwrap()["digest"].as_str().unwrap();
    assert_eq!(file["comment"], format!("layerID: {last}"));
}

#[test]
fn a_build_that_is_to_say_exactly_what_it_used_fails_with_what_it_cannot_say() {
    let Some(scene) = Scene::begin("FROM scratch\nCOPY file /file\n") else { return };
    let kiln = Kiln::new();
    let build = kiln.build().of(&scene.project).frontend("dockerfile.v0");
    let build = build.opt("attest:provenance", "complete-materials=true");
    let said = build.output("type=tar", &kiln.path("out.tar")).run().fails();
    assert!(said.to_string().contains("provenance materials are incomplete"), "{said}");
    assert!(said.to_string().contains("directory context of the client"), "{said}");
}
