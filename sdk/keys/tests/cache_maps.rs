//! Cache maps of recorded operations and sources, held to what BuildKit computed.

#![expect(clippy::print_stdout, reason = "the tests say how much of the vectors passes")]

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_keys::source::{Found, GitKey, HttpKey, ImageKey, SourceKey, maps};
use kiln_keys::{CacheMap, KeyError, cache_map};
use kiln_oci::{Digest, Platform};
use kiln_pb::pb;
use kiln_pb::pb::op::Op as Kind;
use prost::Message as _;
use serde_json::Value;

fn vectors() -> Value {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/cache/cachemap.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn platform(value: &Value) -> Platform {
    let features = value["OSFeatures"].as_array().into_iter().flatten();
    Platform {
        architecture: text(&value["Architecture"]),
        os: text(&value["OS"]),
        os_version: text(&value["OSVersion"]),
        os_features: features.map(text).collect(),
        variant: text(&value["Variant"]),
    }
}

fn computed(vector: &Value) -> Result<CacheMap, KeyError> {
    let bytes = STANDARD.decode(text(&vector["op_base64"])).unwrap();
    let op = pb::Op::decode(bytes.as_slice()).unwrap();
    let platform = platform(&vector["effective_platform"]);
    match &op.op {
        Some(Kind::Source(source)) => maps(source, &platform, &Found::Nothing).map(|mut maps| {
            assert_eq!(maps.len(), 1);
            maps.remove(0)
        }),
        _ => cache_map(&op, &platform),
    }
}

/// Everything about a cache map that the vectors hold, as lines.
fn shown(map: &CacheMap) -> String {
    let mut lines = vec![map.digest_text()];
    if !map.session_scoped {
        lines.push(format!("record {}", map.record(0)));
    }
    for dep in &map.deps {
        let selector = dep.selector.as_ref();
        let paths = selector.map_or(&[][..], |selector| &selector.paths);
        lines.push(format!(
            "dep {} {paths:?} content={} preprocess={}",
            selector.map_or("", |selector| selector.digest.as_str()),
            dep.content.is_some(),
            dep.preprocess
        ));
    }
    lines.join("\n")
}

fn wanted(vector: &Value) -> String {
    let mut lines = vec![text(&vector["digest"])];
    if let Some(record) = vector["record_digest_output0"].as_str() {
        lines.push(format!("record {record}"));
    }
    for dep in vector["deps"].as_array().into_iter().flatten() {
        let paths = dep["selector_paths"].as_array().into_iter().flatten();
        let paths: Vec<String> = paths.map(text).collect();
        lines.push(format!(
            "dep {} {paths:?} content={} preprocess={}",
            text(&dep["selector"]),
            dep["content_based"].as_bool().unwrap_or_default(),
            dep["preprocess"].as_bool().unwrap_or_default()
        ));
    }
    lines.join("\n")
}

/// Whether an op without a key in the vectors is answered as it should.
fn is_right_failure(vector: &Value, computed: &Result<CacheMap, KeyError>) -> bool {
    let error = text(&vector["error"]);
    match computed {
        Err(KeyError::Found(_)) => error.starts_with("not computed: needs"),
        Err(KeyError::ContentCache(_)) => error.starts_with("invalid mount cache content"),
        Err(KeyError::Attribute { key, .. }) => error.starts_with(key),
        Err(_) => false,
        // BuildKit looks at the signature before it gives the key, hence has to download the file;
        // the key is over the digest that the op names, all the same.
        Ok(_) => vector["op_json"]["Op"]["source"]["attrs"]["http.sig.signature"].is_string(),
    }
}

#[test]
fn recorded_ops_have_the_recorded_cache_maps() {
    let vectors = vectors();
    let ops = vectors["ops"].as_array().unwrap();
    let mut wrong = Vec::new();
    for vector in ops {
        let computed = computed(vector);
        let right = match &computed {
            Ok(map) if vector["error"].is_null() => shown(map) == wanted(vector),
            computed => is_right_failure(vector, computed),
        };
        if !right {
            let computed = computed.map_or_else(|error| error.to_string(), |map| shown(&map));
            let (from, preimage) = (&vector["from"], text(&vector["preimage"]));
            wrong.push(format!(
                "{} {from}\n{preimage}\nwanted {}\ngot {computed}",
                text(&vector["kind"]),
                wanted(vector)
            ));
        }
    }
    println!("cache maps: {} passed of {}", ops.len() - wrong.len(), ops.len());
    assert_eq!(ops.len(), 386);
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn recorded_images_have_the_recorded_two_keys() {
    let vectors = vectors();
    let images = vectors["images"].as_array().unwrap();
    for image in images {
        let mut op =
            pb::SourceOp { identifier: "docker-image://base".into(), ..Default::default() };
        if let Some(limit) = image["layer_limit"].as_u64() {
            op.attrs.insert("image.layerlimit".into(), limit.to_string());
        }
        let platform: Platform = text(&image["platform"]).parse().unwrap();
        let digest: Digest = text(&image["resolved_digest"]).parse().unwrap();
        let config = text(&image["config"]);
        let found = Found::Image { digest: &digest, config: config.as_bytes() };
        let maps = maps(&op, &platform.normalized(), &found).unwrap();
        let digests: Vec<String> = maps.iter().map(CacheMap::digest_text).collect();
        let wanted = [text(&image["digest_index0"]), text(&image["digest_index1"])];
        assert_eq!(digests, wanted, "{}", image["name"]);
    }
    println!("images: {0} passed of {0}", images.len());
    assert_eq!(images.len(), 14);
}

/// The key of a source that was seen in a build, made again from what its own text or the text that
/// was hashed for it says.
fn seen(source: &Value) -> Option<SourceKey> {
    let preimage = text(&source["key_preimage"]);
    if preimage.is_empty() {
        return commit(text(&source["preimage"]).strip_prefix("buildkit.source.v0:")?);
    }
    let parts: Value = serde_json::from_str(&preimage).unwrap();
    let number = |key: &str| u32::try_from(parts[key].as_u64().unwrap()).unwrap();
    if parts["Digest"].is_string() {
        let platform = Platform { architecture: text(&parts["Arch"]), ..platform(&parts) };
        let digest = text(&parts["Digest"]).parse().unwrap();
        let layer_limit = parts["Limit"].as_u64().map(|limit| usize::try_from(limit).unwrap());
        return Some(ImageKey { digest: &digest, platform: &platform, layer_limit }.key());
    }
    let key = HttpKey {
        filename: &text(&parts["Filename"]),
        perm: number("Perm"),
        uid: number("UID"),
        gid: number("GID"),
        checksum: &text(&parts["Checksum"]).parse().unwrap(),
        last_modified: &text(&parts["LastModTime"]),
        auth_header_secret: "",
        accept: "",
        user_agent: "",
    };
    Some(key.key())
}

fn commit(key: &str) -> Option<SourceKey> {
    // What is left over are chains of layers, which `recorded_images…` looks at.
    let (object, rest) = key.split_at_checked(40).filter(|_| !key.starts_with("sha256:"))?;
    let (rest, mtime) = match rest.strip_suffix("(mtime=commit)") {
        Some(rest) => (rest, "commit"),
        None => (rest, ""),
    };
    let (kept, subdir) = rest.split_once(':').unwrap_or((rest, ""));
    let reference = kept.strip_prefix(".git#");
    Some(
        GitKey {
            object,
            reference: reference.unwrap_or_default(),
            keep_git_dir: reference.is_some(),
            subdir,
            mtime,
            ..GitKey::default()
        }
        .key(),
    )
}

#[test]
fn sources_that_were_seen_in_builds_have_the_keys_they_had_there() {
    let vectors = vectors();
    let sources = vectors["sources_seen_in_cases"].as_array().unwrap();
    let mut passed = 0;
    for source in sources {
        let Some(key) = seen(source) else { continue };
        assert_eq!(key.map().digest_text(), text(&source["digest"]), "{source}");
        passed += 1;
    }
    println!("sources: {passed} passed of {}, the others are chains of layers", sources.len());
    assert_eq!((passed, sources.len()), (16, 19));
}
