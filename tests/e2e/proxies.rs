//! Steps whose network is a proxy: what they fetch is said and becomes part of provenance, and there is no
//! other way out.

use std::fs;
use std::path::PathBuf;

use flate2::read::GzDecoder;
use kiln_tests::tree::of_tar;
use kiln_tests::{Build, Kilnd, OciImage, Outcome, Project, has_program, is_root, skip};
use serde_json::{Value, json};

use super::story::Story;

/// A bundle of certificates in an image, as it is before and after.
const BUNDLE: &str = "certificates\nwithout an end of line";

struct Behind {
    story: Story,
    daemon: Kilnd,
    project: Project,
}

impl Behind {
    /// A daemon, and a web server on the machine's loopback.
    fn new(flags: &[&str]) -> Option<Self> {
        if !is_root() {
            skip("root, for networks of steps");
            return None;
        }
        let story = Story::begin()?;
        let mut flags = flags.to_vec();
        flags.push("--oci-worker-net=host");
        let project = Project::new(&[("bundle", BUNDLE)]);
        Some(Self { story, daemon: Kilnd::with(&flags), project })
    }

    /// A build of a stage that ends with these lines; its file system is written to a directory.
    fn build(
        &self,
        lines: &str,
        arrange: impl FnOnce(Build<'_>) -> Build<'_>,
    ) -> (Outcome, PathBuf) {
        let base = &self.story.base;
        self.project.write(
            "Dockerfile",
            format!(
                "FROM {base} AS work\nUSER root\nCOPY bundle /etc/ssl/certs/ca-certificates.crt\n{lines}\n\
                 FROM scratch\nCOPY --from=work / /\n"
            ),
        );
        let out = self.project.path().join("out");
        fs::remove_dir_all(&out).ok();
        let client = self.daemon.client();
        let build = client.build().frontend("dockerfile.v0").of(&self.project);
        (arrange(build).output("type=local", &out).run(), out)
    }
}

fn runtimes() -> impl Iterator<Item = Option<&'static str>> {
    let installed = ["runc", "crun"].into_iter().filter(|name| has_program(name));
    std::iter::once(None).chain(installed.map(Some))
}

/// The first word of a fetch: by default what is on the loopback is not asked of the proxy.
const GET: &str = "env NO_PROXY= no_proxy= wget -q -O";

#[test]
fn what_a_step_fetches_through_its_proxy_is_said_and_becomes_a_material() {
    for runtime in runtimes() {
        let binary = runtime.map(|name| format!("--oci-worker-binary={name}"));
        let flags: Vec<&str> = binary.as_deref().into_iter().collect();
        let Some(behind) = Behind::new(&flags) else { return };
        let url = behind.story.web.serve("/file", b"of the web\n".as_slice());
        let lines = format!(
            "RUN {GET} /got {url} && grep -q 'buildkit proxy CA begin' /etc/ssl/certs/ca-certificates.crt\n\
             RUN unset HTTP_PROXY http_proxy; ! wget -T 2 -q -O /other {url} && ls /sys/class/net > /links\n\
             RUN --network=none ! env | grep -i http_proxy"
        );
        let (outcome, out) = behind.build(&lines, |build| {
            build.flag("--proxy-network").opt("attest:provenance", "mode=max,version=v1")
        });
        outcome.succeeds().says(&["proxy network requests:", &format!("- GET {url} -> 200")]);
        assert_eq!(fs::read_to_string(out.join("got")).unwrap(), "of the web\n");
        assert_eq!(fs::read_to_string(out.join("links")).unwrap(), "lo\n");
        let bundle = fs::read_to_string(out.join("etc/ssl/certs/ca-certificates.crt")).unwrap();
        assert_eq!(bundle, BUNDLE, "{runtime:?}");
        let statement: Value =
            serde_json::from_slice(&fs::read(out.join("provenance.json")).unwrap()).unwrap();
        let predicate = &statement["predicate"];
        let materials = predicate["buildDefinition"]["resolvedDependencies"].as_array().unwrap();
        let material = materials.iter().find(|material| material["uri"] == url.as_str());
        let digest = kiln_oci::Digest::sha256("of the web\n");
        assert_eq!(material.unwrap()["digest"], json!({ "sha256": digest.hex() }));
        let metadata = &predicate["runDetails"]["metadata"];
        assert_eq!(metadata["buildkit_metadata"]["network"], json!({ "mode": "proxy" }));
    }
}

#[test]
fn a_layer_of_a_step_behind_a_proxy_holds_what_the_step_changed_and_no_more() {
    let Some(behind) = Behind::new(&[]) else { return };
    let image = behind.project.path().join("image.tar");
    let base = &behind.story.base;
    behind.project.write(
        "Dockerfile",
        format!(
            "FROM {base}\nUSER root\nWORKDIR /\nCOPY bundle /etc/ssl/certs/ca-certificates.crt\nRUN echo x > /made\n"
        ),
    );
    let client = behind.daemon.client();
    let build = client.build().frontend("dockerfile.v0").of(&behind.project);
    build.flag("--proxy-network").output("type=oci", &image).run().succeeds();
    let image = OciImage::open(&image);
    let digest = image.manifest["layers"].as_array().unwrap().last().unwrap()["digest"].clone();
    let digest = digest.as_str().unwrap().replace(':', "/");
    let blob = fs::File::open(image.layout().join("blobs").join(digest)).unwrap();
    let names: Vec<Vec<u8>> = of_tar(GzDecoder::new(blob)).into_keys().collect();
    assert_eq!(names, [b"made"]);
}

#[test]
fn policies_decide_on_the_requests_of_steps() {
    let Some(behind) = Behind::new(&[]) else { return };
    let (old, new) = (
        behind.story.web.serve("/old", b"old\n".as_slice()),
        behind.story.web.serve("/new", b"new\n".as_slice()),
    );
    let policy = behind.project.path().join("policy.json");
    let with = |rule: Value| {
        fs::write(&policy, json!({ "version": 1, "rules": [rule] }).to_string()).unwrap();
        let flag = format!("--source-policy-file={}", policy.display());
        behind.build(&format!("RUN {GET} /got {old}"), |build| {
            build.flag("--proxy-network").flag("--no-cache").flag(flag)
        })
    };
    let selector = json!({ "identifier": old, "matchType": "EXACT" });
    let (outcome, _) = with(json!({ "action": "DENY", "selector": selector }));
    outcome.fails().says(&["403 Forbidden", &format!("- GET {old} -> 403")]);
    let (outcome, out) = with(
        json!({ "action": "CONVERT", "selector": selector, "updates": { "identifier": new } }),
    );
    outcome.succeeds().says(&[&format!("- GET {new} -> 200")]);
    assert_eq!(fs::read_to_string(out.join("got")).unwrap(), "new\n");
}

#[test]
fn what_is_not_known_of_requests_is_said_where_everything_is_to_be_known() {
    let Some(behind) = Behind::new(&[]) else { return };
    let url = behind.story.web.serve("/file", b"x".as_slice()).replace("/file", "/missing");
    let line = format!("RUN {GET} /got {url} || true");
    let (outcome, _) = behind.build(&line, |build| {
        build.flag("--proxy-network").opt("attest:provenance", "mode=max,complete-materials=true")
    });
    outcome.fails().says(&["provenance materials are incomplete", &url, "unsuccessful_response"]);
}

#[test]
fn an_operator_has_all_steps_behind_a_proxy() {
    let Some(behind) = Behind::new(&["--proxy-network"]) else { return };
    let url = behind.story.web.serve("/file", b"x".as_slice());
    let (outcome, _) = behind.build(&format!("RUN {GET} /got {url}"), |build| build);
    outcome.succeeds().says(&[&format!("- GET {url} -> 200")]);
    let host = format!("RUN --network=host {GET} /got {url}");
    let (outcome, _) = behind.build(&host, |build| build);
    outcome.fails().says(&["network.host is not allowed"]);
}
