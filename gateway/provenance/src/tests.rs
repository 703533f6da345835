//! Stories of whole documents.

use std::collections::BTreeMap;

use kiln_oci::{Digest, Platform, Reference};
use kiln_pb::pb;
use prost::Message as _;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::*;

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

fn image(name: &str) -> UsedImage {
    let platform = Some(Platform::new("linux", "amd64"));
    UsedImage { reference: reference(name), platform, digest: Digest::sha256("i"), local: false }
}

fn run() -> Run {
    Run {
        started: OffsetDateTime::UNIX_EPOCH,
        finished: OffsetDateTime::UNIX_EPOCH,
        invocation: "one".into(),
        platform: Platform::new("linux", "amd64"),
        dockerfile: "1.0".into(),
        custom: BTreeMap::from([
            ("site".to_owned(), json!("here")),
            ("builderPlatform".to_owned(), json!("a lie")),
        ]),
        compatibility: Some(30),
    }
}

fn dockerfile(options: &[(&'static str, &'static str)]) -> Request {
    Request::new("dockerfile.v0", options.iter().copied())
}

fn definition() -> pb::Definition {
    let source = |identifier: &str, attrs: &[(&str, &str)]| pb::Op {
        op: Some(pb::op::Op::Source(pb::SourceOp {
            identifier: identifier.into(),
            attrs: attrs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        })),
        ..Default::default()
    };
    let local = source("local://context", &[("local.session", "secret"), ("local.unique", "x")]);
    let git = source("git://x/y", &[("git.fullurl", "https://me:token@x/y")]);
    let input = |op: &pb::Op| pb::Input {
        digest: Digest::sha256(op.encode_to_vec()).to_string(),
        index: 0,
    };
    let last = pb::Op { inputs: vec![input(&git), input(&local)], ..Default::default() };
    let ops = [&local, &git, &last];
    let data =
        pb::SourceInfo { filename: "Dockerfile".into(), data: "x".into(), ..Default::default() };
    let locations = [(input(&git).digest, pb::Locations::default())].into();
    let source = pb::Source { locations, infos: vec![data] };
    let def = ops.map(|op| op.encode_to_vec().into()).to_vec();
    pb::Definition { def, source: Some(source), ..Default::default() }
}

fn document(request: Request, used: &Used, options: &[(&str, &str)]) -> Value {
    let attributes = options.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    let options = ProvenanceOptions::parse(&attributes).unwrap().unwrap();
    let predicate = Predicate::new(request, used, Some(&definition()), &options).unwrap();
    predicate.document(&run(), &Layers::default())
}

#[test]
fn images_are_named_as_package_urls() {
    let amd64 = Platform::new("linux", "amd64");
    for (name, url) in [
        ("busybox", "pkg:docker/busybox@latest?platform=linux%2Famd64"),
        ("localhost:5000/a/b:1", "pkg:docker/localhost%3A5000/a/b@1?platform=linux%2Famd64"),
    ] {
        assert_eq!(package_url(PackageKind::Docker, &reference(name), Some(&amd64)), url);
    }
    let digest = Digest::sha256("x");
    let named = Reference::parse_untagged(&format!("a/b@{digest}")).unwrap();
    let url = package_url(PackageKind::Oci, &named, None);
    assert_eq!(url, format!("pkg:oci/a/b?digest={digest}"));
}

#[test]
fn an_image_by_digest_is_not_said_where_its_tag_is() {
    let mut used = Used::default();
    let by_digest = format!("busybox:latest@{}", Digest::sha256("x"));
    for name in [&*by_digest, "busybox", "busybox", "alpine"] {
        used.add_image(image(name));
    }
    used.tidy();
    let names: Vec<_> = used.images.iter().map(|image| image.reference.familiar()).collect();
    assert_eq!(names, ["alpine:latest", "busybox:latest"]);
}

#[test]
fn min_says_neither_arguments_nor_secrets_and_that_something_is_missing() {
    let mut used = Used::default();
    used.add_secret("token", false);
    used.add_agent("", true);
    let options = [("build-arg:A", "b"), ("label:l", "m"), ("target", "t"), ("platform", "p")];
    let min = document(dockerfile(&options), &used, &[("mode", "min")]);
    let request = &min["buildDefinition"]["externalParameters"]["request"];
    assert_eq!(request["args"], json!({ "target": "t" }));
    assert!(request.get("secrets").is_none() && request.get("ssh").is_none());
    assert_eq!(min["runDetails"]["metadata"]["buildkit_completeness"]["request"], json!(false));
    assert!(min["buildDefinition"]["internalParameters"].get("buildConfig").is_none());
    let max = document(dockerfile(&options), &used, &[]);
    let request = &max["buildDefinition"]["externalParameters"]["request"];
    assert_eq!(request["args"].as_object().unwrap().len(), 3);
    assert_eq!(request["secrets"], json!([{ "id": "token" }]));
    assert_eq!(request["ssh"], json!([{ "id": "default", "optional": true }]));
}

#[test]
fn credentials_and_sessions_are_nowhere() {
    let options = [
        ("context", "https://me:token@x/y.git#main:dir"),
        ("context:other", "https://me:token@x/z"),
        ("vcs:source", "https://me:token@x/y.git"),
        ("vcs:revision", "abc"),
        ("build-arg:http_proxy", "http://me:token@proxy"),
    ];
    let mut used = Used::default();
    used.add_git("https://me:token@x/y.git#main".into(), "a".repeat(40));
    used.add_file("https://me:token@x/f".into(), Digest::sha256("f"));
    for version in ["v1", "v0.2"] {
        let text = document(dockerfile(&options), &used, &[("version", version)]).to_string();
        assert!(!text.contains("token") && !text.contains("secret"), "{text}");
        assert!(text.contains("https://xxxxx:xxxxx@x/y.git#main:dir"), "{text}");
        assert!(text.contains(r#""vcs":{"revision":"abc","source":"https://xxxxx:"#), "{text}");
    }
}

#[test]
fn the_context_is_said_with_its_commit_and_is_no_argument() {
    let mut used = Used::default();
    used.add_git("https://x/y.git#main".into(), "a".repeat(40));
    let request = dockerfile(&[("context", "https://x/y.git#main:dir"), ("filename", "F")]);
    let Requested { config_source, request } = request.requested(&used);
    assert_eq!(config_source.uri, "https://x/y.git#main:dir");
    assert_eq!(config_source.digest["sha1"], "a".repeat(40));
    assert_eq!((config_source.path.as_str(), request.args.len()), ("F", 0));
}

#[test]
fn what_is_not_known_of_requests_through_a_proxy_is_said_and_counts() {
    let metadata =
        |used: &Used| document(dockerfile(&[]), used, &[])["runDetails"]["metadata"].clone();
    assert_eq!(metadata(&Used::default())["buildkit_metadata"]["network"], Value::Null);
    let mut used = Used { network: true, proxied: true, ..Used::default() };
    let known = metadata(&used);
    assert_eq!(known["buildkit_metadata"]["network"], json!({ "mode": "proxy" }));
    assert_eq!(known["buildkit_completeness"]["resolvedDependencies"], json!(true));
    let gap = NetworkGap {
        op: "sha256:00".into(),
        name: "wget x".into(),
        method: "GET".into(),
        uri: "http://a.test/x".into(),
        reason: "unsuccessful_response".into(),
    };
    used.merge(&Used { network_gaps: vec![gap], ..Used::default() });
    let unknown = metadata(&used);
    let said = json!({
        "op": "sha256:00", "name": "wget x", "method": "GET", "uri": "http://a.test/x",
        "reason": "unsuccessful_response",
    });
    let network = &unknown["buildkit_metadata"]["network"];
    assert_eq!(network, &json!({ "mode": "proxy", "proxy": { "incomplete": [said] } }));
    assert_eq!(unknown["buildkit_completeness"]["resolvedDependencies"], json!(false));
}

#[test]
fn a_build_with_a_directory_or_a_network_is_not_hermetic() {
    let hermetic = |used: &Used| {
        document(dockerfile(&[]), used, &[])["runDetails"]["metadata"]["buildkit_hermetic"].clone()
    };
    let mut used = Used::default();
    assert_eq!(hermetic(&used), json!(true));
    used.network = true;
    assert_eq!(hermetic(&used), Value::Null);
    used.network = false;
    used.locals.insert("context".into());
    assert_eq!(hermetic(&used), Value::Null);
}

#[test]
fn max_says_the_graph_and_the_files_it_was_read_from() {
    let document = document(dockerfile(&[]), &Used::default(), &[("builder-id", "me")]);
    let internal = &document["buildDefinition"]["internalParameters"];
    let steps = internal["buildConfig"]["llbDefinition"].as_array().unwrap();
    assert_eq!(steps.len(), 3);
    assert_eq!(steps[2]["inputs"], json!(["step0:0", "step1:0"]));
    assert_eq!(steps[1]["op"]["Op"]["source"]["identifier"], json!("local://context"));
    assert_eq!(internal["builderPlatform"], json!("linux/amd64"), "the operator replaces nothing");
    assert_eq!(internal["site"], json!("here"));
    let source = &document["runDetails"]["metadata"]["buildkit_metadata"]["source"];
    assert_eq!(source["infos"][0]["filename"], json!("Dockerfile"));
    assert_eq!(source["infos"][0]["data"], json!("eA=="));
    assert!(source["locations"].get("step0").is_some());
    assert_eq!(document["runDetails"]["builder"]["id"], json!("me"));
}

#[test]
fn attributes_that_make_no_sense_are_refused_by_name() {
    let parse = |key: &str, value: &str| {
        ProvenanceOptions::parse(&BTreeMap::from([(key.to_owned(), value.to_owned())]))
    };
    assert_eq!(parse("mode", "full").unwrap().unwrap().mode, Mode::Max);
    assert_eq!(parse("disabled", "true").unwrap(), None);
    for (key, value) in [
        ("mode", "some"),
        ("version", "v2"),
        ("reproducible", "perhaps"),
        ("filename", "../x"),
        ("builder", "me"),
    ] {
        let error = parse(key, value).unwrap_err().to_string();
        assert!(error.contains(value) || error.contains(key), "{error}");
    }
}

#[test]
fn a_statement_survives_and_an_empty_predicate_is_none() {
    let subject = Subject::new("a", [&Digest::sha256("a")]);
    let text = statement("https://example.com/p", std::slice::from_ref(&subject), b"").unwrap();
    let (kind, subjects, predicate) = parse(text.as_bytes()).unwrap();
    assert_eq!(
        (kind.as_str(), subjects, predicate),
        ("https://example.com/p", vec![subject], b"null".to_vec())
    );
    assert!(!compact(&text).unwrap().contains('\n'));
    assert!(statement("x", &[], b"{").is_err());
}

#[test]
fn files_of_spdx_documents_get_their_layers_unless_they_have_a_comment() {
    let document = json!({
        "spdxVersion": "SPDX-2.2",
        "files": [
            { "fileName": "/a" },
            { "fileName": "/b", "comment": "mine" },
            { "fileName": "/c" },
        ],
    });
    let layer = |name: &str| (name != "/c").then(|| "sha256:1".to_owned());
    let done = supplement(document.to_string().as_bytes(), "kiln", layer).unwrap();
    let done: Value = serde_json::from_slice(&done).unwrap();
    assert_eq!(done["files"][0]["comment"], json!("layerID: sha256:1"));
    assert_eq!(done["files"][1]["comment"], json!("mine"));
    assert!(done["files"][2].get("comment").is_none());
    assert_eq!(done["creationInfo"]["creators"], json!(["Tool: kiln"]));
    assert_eq!(supplement(b"{\"name\":\"x\"}", "kiln", layer), None);
}
