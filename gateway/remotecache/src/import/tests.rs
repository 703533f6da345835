//! Stories about imported caches, and all caches that BuildKit wrote into the vectors.

use std::fs;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use futures::StreamExt as _;
use kiln_cache::KnownInput;

use super::*;
use crate::chains::{ChainLayer, ChainResult, Chains};
use crate::origin::ByteStream;

impl ChainLayer for ImportedLayer {
    fn blob(&self) -> &Digest {
        &self.descriptor.digest
    }
}

/// A cache in memory: documents and blobs by digest, the root apart.
struct InMemory {
    root: Bytes,
    blobs: BTreeMap<Digest, Bytes>,
}

#[async_trait]
impl CacheOrigin for InMemory {
    async fn root(&self, _: &[String]) -> Result<Root, Cause> {
        Ok(Root::Manifest(self.root.clone()))
    }

    fn blob(&self, _: &[String], descriptor: &Descriptor) -> ByteStream {
        let blob = self.blobs.get(&descriptor.digest).cloned();
        let blob = blob.ok_or_else(|| Cause::from("there is no such blob"));
        stream::iter([blob]).boxed()
    }

    async fn has(&self, _: &[String], descriptor: &Descriptor) -> bool {
        self.blobs.contains_key(&descriptor.digest)
    }
}

fn imported(root: Bytes, blobs: BTreeMap<Digest, Bytes>) -> ImportedCache {
    let origin = Arc::new(InMemory { root, blobs });
    ImportedCache::new("test".into(), origin, Vec::new(), Vec::new(), Sender::default())
}

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/cache/cases")
}

/// The recorded cases by name.
fn cases() -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(vectors()).unwrap().map(|entry| entry.unwrap().path());
    let named = |path: PathBuf| (path.file_name().unwrap().to_str().unwrap().to_owned(), path);
    let mut cases: Vec<_> = entries.map(named).collect();
    cases.sort();
    cases
}

/// A cache that was exported into a directory: its manifest, its blobs, and its config.
fn recorded(path: &Path) -> (Bytes, BTreeMap<Digest, Bytes>) {
    let read = |digest: &Digest| {
        Bytes::from(fs::read(path.join("blobs/sha256").join(digest.hex())).unwrap())
    };
    let index: Index = serde_json::from_slice(&fs::read(path.join("index.json")).unwrap()).unwrap();
    let root = read(&index.manifests[0].digest);
    let blobs = fs::read_dir(path.join("blobs/sha256")).unwrap();
    let blobs = blobs.map(|entry| {
        let bytes = Bytes::from(fs::read(entry.unwrap().path()).unwrap());
        (Digest::sha256(&bytes), bytes)
    });
    (root, blobs.collect())
}

/// An image with a cache in its config.
fn recorded_image(path: &Path) -> (Bytes, BTreeMap<Digest, Bytes>) {
    let root = Bytes::from(fs::read(path.join("manifest.json")).unwrap());
    let config = Bytes::from(fs::read(path.join("config.json")).unwrap());
    (root, [(Digest::sha256(&config), config)].into())
}

/// Everything that a config says but the order in which it says it: each record with all that leads
/// to it and its results.
fn shape(config: &CacheConfig) -> Vec<String> {
    let mut shapes: Vec<String> = vec![String::new(); config.records.len()];
    for number in ordered(config).unwrap() {
        let record = &config.records[number];
        let ways = |ways: &Vec<crate::ConfigInput>| {
            let way = |way: &crate::ConfigInput| {
                format!("{} {}", way.selector, shapes[usize::try_from(way.link).unwrap()])
            };
            let mut ways: Vec<String> = ways.iter().map(way).collect();
            ways.sort();
            ways.join(",")
        };
        let inputs: Vec<String> = record.inputs.iter().map(ways).collect();
        let shape = format!("{} {inputs:?}", record.digest);
        shapes[number] = Digest::sha256(shape).to_string();
    }
    let blobs = |layers: Vec<usize>| -> Vec<String> {
        layers.iter().map(|layer| config.layers[*layer].blob.to_string()).collect()
    };
    let line = |(record, shape): (&ConfigRecord, &String)| {
        let results = record.results.iter();
        let results = results.map(|result| {
            format!("{:?} {}", blobs(config.layers_below(result.layer).unwrap()), result.created_at)
        });
        let chains = record.chains.iter().map(|chain| {
            let layers = chain.layers.iter().map(|layer| usize::try_from(*layer).unwrap());
            format!("{:?} {}", blobs(layers.collect()), chain.created_at)
        });
        format!("{shape} {:?}", results.chain(chains).collect::<Vec<_>>())
    };
    let mut lines: Vec<String> = config.records.iter().zip(&shapes).map(line).collect();
    lines.sort();
    lines
}

/// The config that is exported of everything in an imported cache.
fn exported_again(known: &Known, records: &[CacheKey]) -> CacheConfig {
    let graph = known.links.export(records).unwrap();
    let mut chains = Chains::default();
    let items = chains.add_graph(&graph);
    for record in &graph.records {
        for result in &record.results {
            let (_, number) = parse_name(&result.id).unwrap();
            let layers = known.results[number].clone();
            chains.add_result(items[&record.key], ChainResult { created: result.created, layers });
        }
    }
    chains.config().0
}

/// The keys of all records of a config.
fn all_keys(saving: &Saving, config: &CacheConfig) -> Vec<CacheKey> {
    let roots = config.records.iter().filter(|record| record.inputs.is_empty());
    let roots = roots.map(|record| CacheKey::of_digest(&record.digest));
    roots.chain(saving.records.iter().map(|record| record.key)).collect()
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "how many passed is for who runs the test")]
async fn caches_of_buildkit_are_read_and_written_again_as_they_were() {
    let (mut run, mut passed) = (0, 0);
    for (name, path) in cases() {
        let cache = path.join("cache");
        if !cache.join("index.json").exists() {
            continue;
        }
        run += 1;
        let (root, blobs) = recorded(&cache);
        let CacheManifest::Config { config, layers } = CacheManifest::parse(&root).unwrap() else {
            panic!("{name}: no cache")
        };
        let config = CacheConfig::parse(&blobs[&config.digest]).unwrap();
        let imported = imported(root, blobs);
        let layers = believed(layers);
        assert!(layers.values().all(|layer| layer.diff_id.is_some()), "{name}");
        let mut collected = Collected::new("c");
        collected.add(&config, &layers).unwrap();
        let keys = all_keys(&collected.saving, &config);
        let again = exported_again(&collected.known(), &keys);
        let (left, right) = (shape(&config), shape(&again));
        assert_eq!(left, right, "{name}");
        // What BuildKit wrote sorted is sorted here in the same way.
        let digests = |config: &CacheConfig| -> Vec<String> {
            config.records.iter().map(|record| record.digest.to_string()).collect()
        };
        assert_eq!(digests(&config), digests(&again), "{name}");
        passed += 1;
        // The whole way, too: the roots are found.
        let operation = keys[0];
        let lookup = Lookup { operation, inputs: Vec::new(), whole: true };
        let found = imported.look_up(&lookup).await;
        assert!(found.records.len() <= 1, "{name}");
        assert!(imported.known().await.is_some(), "{name}");
    }
    eprintln!("{passed} of {run} caches of BuildKit passed");
    assert!(run >= 85, "only {run} recorded caches");
}

#[tokio::test]
async fn caches_in_images_of_buildkit_are_read_and_written_again_as_they_were() {
    let mut run = 0;
    for (name, path) in cases() {
        let inline = path.join("inline");
        if !inline.is_dir() {
            continue;
        }
        run += 1;
        let (root, blobs) = recorded_image(&inline);
        let cache: Vec<ConfigRecord> =
            serde_json::from_slice(&fs::read(inline.join("cache.json")).unwrap()).unwrap();
        let CacheManifest::Image(manifest) = CacheManifest::parse(&root).unwrap() else {
            panic!("{name}: no image")
        };
        let bytes = &blobs[&manifest.config.digest];
        let image: ImageWithCache = serde_json::from_slice(bytes).unwrap();
        let diff_ids = image.rootfs.diff_ids.clone();
        let (config, layers) = image.cache(manifest.layers).unwrap().unwrap();
        assert_eq!(config.records, cache, "{name}");
        let imported = imported(root.clone(), blobs.clone());
        assert!(imported.known().await.is_some_and(|known| !known.results.is_empty()), "{name}");

        // The same records, for an image with the same layers, by diff id.
        let layers: BTreeMap<_, _> = layers
            .into_iter()
            .map(|(layer, diff_id)| {
                let blob = layer.digest.clone();
                let by_diff_id = Descriptor::new("", diff_id.clone(), 0);
                (blob, ImportedLayer { descriptor: by_diff_id, diff_id: Some(diff_id) })
            })
            .collect();
        let mut collected = Collected::new("c");
        collected.add(&config, &layers).unwrap();
        let keys = all_keys(&collected.saving, &config);
        let known = collected.known();
        let graph = known.links.export(&keys).unwrap();
        let mut chains = Chains::default();
        let items = chains.add_graph(&graph);
        for record in &graph.records {
            for result in &record.results {
                let (_, number) = parse_name(&result.id).unwrap();
                let layers = known.results[number].clone();
                let result = ChainResult { created: result.created, layers };
                chains.add_result(items[&record.key], result);
            }
        }
        let again = chains.config_within(&diff_ids).unwrap();
        let with_layers = |records: Vec<ConfigRecord>| CacheConfig { records, ..config.clone() };
        assert_eq!(shape(&with_layers(again)), shape(&config), "{name}");
    }
    assert!(run >= 3, "only {run} recorded images");
}

fn config(json: &str) -> Result<(), ConfigError> {
    let config = CacheConfig::parse(json.as_bytes())?;
    let layer = |layer: &ConfigLayer| {
        let descriptor = Descriptor::new("", layer.blob.clone(), 0);
        (layer.blob.clone(), ImportedLayer { descriptor, diff_id: None })
    };
    let layers = config.layers.iter().map(layer).collect();
    Collected::new("c").add(&config, &layers)
}

#[test]
fn configs_that_lie_are_refused() {
    let digest = Digest::sha256("x");
    for (json, words) in [
        (
            r#"{"records":[{"digest":"D","inputs":[[{"link":1}]]},{"digest":"D","inputs":[[{"link":0}]]}]}"#,
            "records of the cache config lead to themselves",
        ),
        (r#"{"records":[{"digest":"D","inputs":[[{"link":0}]]}]}"#, "lead to themselves"),
        (r#"{"records":[{"digest":"D","inputs":[[]]}]}"#, "has an input that nothing leads to"),
        (
            r#"{"records":[{"digest":"D","inputs":[[{"link":7}]]}]}"#,
            "record 7 of the cache config does not exist",
        ),
        (r#"{"records":[{"digest":"D","inputs":[[{"link":-1}]]}]}"#, "record -1"),
        (
            r#"{"records":[{"digest":"D"},{"digest":"D","inputs":[[{"link":0,"selector":"a"}]]}]}"#,
            "a selector that is no digest",
        ),
        (
            r#"{"layers":[{"blob":"D","parent":-1}],"records":[{"digest":"D","layers":[{"layer":3}]}]}"#,
            "layer 3",
        ),
        (
            r#"{"layers":[{"blob":"D","parent":0}],"records":[{"digest":"D","layers":[{"layer":0}]}]}"#,
            "layers of the cache config lead to themselves",
        ),
        (
            r#"{"layers":[{"blob":"D"}],"records":[{"digest":"D","layers":[{"layer":0}]}]}"#,
            "layers of the cache config lead to themselves",
        ),
        (
            r#"{"layers":[{"blob":"D","parent":-1}],"records":[{"digest":"D","chains":[{"layers":[0,9]}]}]}"#,
            "layer 9",
        ),
        (r#"{"records":[{"digest":"nothing"}]}"#, "cannot be parsed"),
        ("3", "cannot be parsed"),
    ] {
        let error = config(&json.replace("\"D\"", &format!("\"{digest}\""))).unwrap_err();
        assert!(error.to_string().contains(words), "{json}: {error}");
    }
    config(r#"{"layers":null,"records":null}"#).unwrap();
}

#[test]
fn a_result_with_a_layer_that_is_not_there_is_left_out() {
    let (blob, gone) = (Digest::sha256("blob"), Digest::sha256("gone"));
    let record = Digest::sha256("record");
    let json = format!(
        r#"{{"layers":[{{"blob":"{blob}","parent":-1}},{{"blob":"{gone}"}}],
        "records":[{{"digest":"{record}","layers":[{{"layer":0}},{{"layer":1}}]}}]}}"#
    );
    let config = CacheConfig::parse(json.as_bytes()).unwrap();
    let descriptor = Descriptor::new("", blob.clone(), 0);
    let layers = [(blob, ImportedLayer { descriptor, diff_id: None })].into();
    let mut collected = Collected::new("c");
    collected.add(&config, &layers).unwrap();
    assert_eq!((collected.results.len(), collected.saving.results.len()), (1, 1));
}

#[tokio::test]
async fn a_cache_that_is_broken_knows_nothing() {
    let config = Descriptor::new(CACHE_CONFIG, Digest::sha256("config"), 6);
    let manifest = serde_json::json!({ "schemaVersion": 2, "config": config, "layers": [] });
    let huge = Descriptor::new(CACHE_CONFIG, Digest::sha256("config"), LARGEST_CONFIG + 1);
    let too_large = serde_json::json!({ "schemaVersion": 2, "config": huge, "layers": [] });
    let other: BTreeMap<Digest, Bytes> =
        [(Digest::sha256("config"), Bytes::from_static(b"other"))].into();
    let cases: [(Bytes, BTreeMap<Digest, Bytes>); 4] = [
        (Bytes::from_static(b"no JSON"), BTreeMap::new()),
        (manifest.to_string().into(), BTreeMap::new()),
        (manifest.to_string().into(), other),
        (too_large.to_string().into(), BTreeMap::new()),
    ];
    for (root, blobs) in cases {
        let cache = imported(root, blobs);
        let operation = CacheKey::of_digest(&Digest::sha256("x"));
        let inputs = vec![KnownInput { number: 0, keys: Vec::new(), is_open: true }];
        let lookup = Lookup { operation, inputs, whole: true };
        assert_eq!(cache.look_up(&lookup).await, Answer::default());
        assert_eq!(cache.graph(&[operation]), ExportGraph::default());
        assert_eq!(cache.result(0), None);
    }
}

#[test]
fn names_of_results_say_which_cache_has_them() {
    assert_eq!(parse_name(&name_of("abc", 7)), Some(("abc", 7)));
    for other in ["", "abc", "imported:", "imported:abc", "imported:abc/x", "q4t0k2"] {
        assert_eq!(parse_name(other), None, "{other}");
    }
}

/// The key of the fixtures, and the public one of another.
const SIGNS: &str = include_str!("../../../signatures/fixtures/signs");
const SIGNS_PUB: &[u8] = include_bytes!("../../../signatures/fixtures/signs.pub");
const OTHER_PUB: &[u8] = include_bytes!("../../../signatures/fixtures/ssh-ed25519.pub");

/// A cache with two records and a layer, and what a manifest says of the layer.
fn small() -> (CacheConfig, Vec<Descriptor>) {
    let (blob, tar) = (Digest::sha256("blob"), Digest::sha256("tar"));
    let (source, run) = (Digest::sha256("source"), Digest::sha256("run"));
    let json = format!(
        r#"{{"layers":[{{"blob":"{blob}","parent":-1}}],"records":[{{"digest":"{source}"}},
        {{"digest":"{run}","layers":[{{"layer":0,"createdAt":"2026-11-28T16:37:14Z"}}],
        "inputs":[[{{"link":0,"selector":"{tar}"}}]]}}]}}"#
    );
    let mut layer = Descriptor::new("application/vnd.oci.image.layer.v1.tar+gzip", blob, 4);
    layer.annotations.insert(UNCOMPRESSED.into(), tar.to_string());
    layer.annotations.insert(estargz::TABLE_DIGEST.into(), Digest::sha256("toc").to_string());
    (CacheConfig::parse(json.as_bytes()).unwrap(), vec![layer])
}

/// The config with a signature as an export makes it.
fn signed(mut config: CacheConfig, layers: &[Descriptor]) -> CacheConfig {
    let signer = signing::CacheSigner::parse(SIGNS).unwrap();
    let statement = signing::statement(&config, &believed(layers.iter().cloned()));
    config.signatures = vec![signer.sign(&statement)];
    config
}

fn required(keys: &[u8]) -> Vec<RequiredSigner> {
    vec![RequiredSigner::parse(keys, "verify-key").unwrap()]
}

/// What comes of a cache that is read with these requirements: its results, or why there are none.
async fn read_with(
    root: Root,
    blobs: BTreeMap<Digest, Bytes>,
    required: Vec<RequiredSigner>,
) -> Result<usize, String> {
    struct At(Root, InMemory);
    #[async_trait]
    impl CacheOrigin for At {
        async fn root(&self, _: &[String]) -> Result<Root, Cause> {
            Ok(self.0.clone())
        }
        fn blob(&self, sessions: &[String], descriptor: &Descriptor) -> ByteStream {
            self.1.blob(sessions, descriptor)
        }
        async fn has(&self, sessions: &[String], descriptor: &Descriptor) -> bool {
            self.1.has(sessions, descriptor).await
        }
        fn mark(&self, layer: &mut Descriptor) {
            layer.annotations.insert("containerd.io/distribution.source.x".into(), "y".into());
        }
    }
    let origin = Arc::new(At(root, InMemory { root: Bytes::new(), blobs }));
    let (name, progress) = ("test".to_owned(), Sender::default());
    let cache = ImportedCache::new(name, origin, Vec::new(), required, progress);
    match cache.read_all().await {
        Ok(known) => Ok(known.results.len()),
        Err(error) => Err(chain(&*error)),
    }
}

/// The same for a config with layers in a manifest, which is an image's or an index.
async fn read_manifest(
    config: &CacheConfig,
    layers: &[Descriptor],
    required: &[RequiredSigner],
) -> Result<usize, String> {
    let bytes = Bytes::from(serde_json::to_vec(config).unwrap());
    let config = Descriptor::new(CACHE_CONFIG, Digest::sha256(&bytes), bytes.len() as u64);
    let parts: Vec<Descriptor> = layers.iter().cloned().chain([config.clone()]).collect();
    let index = serde_json::json!({ "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": parts });
    let image = serde_json::json!({ "schemaVersion": 2, "config": config, "layers": layers });
    let mut answers = Vec::new();
    for root in [image, index] {
        let blobs = [(config.digest.clone(), bytes.clone())].into();
        let root = Root::Manifest(root.to_string().into());
        answers.push(read_with(root, blobs, required.to_vec()).await);
    }
    assert_eq!(answers[0], answers[1]);
    answers.remove(0)
}

#[tokio::test]
async fn a_signed_cache_is_read_by_who_wants_that_signature_and_by_who_wants_none() {
    let (config, layers) = small();
    let signed = signed(config.clone(), &layers);
    assert_eq!(read_manifest(&signed, &layers, &[]).await, Ok(1));
    assert_eq!(read_manifest(&signed, &layers, &required(SIGNS_PUB)).await, Ok(1));
    let any = [SIGNS_PUB, b"\n", OTHER_PUB].concat();
    assert_eq!(read_manifest(&signed, &layers, &required(&any)).await, Ok(1));
    // Among others, and after something that is none.
    let mut several = signed.clone();
    several.signatures.insert(0, "none".into());
    assert_eq!(read_manifest(&several, &layers, &required(SIGNS_PUB)).await, Ok(1));

    let words = read_manifest(&config, &layers, &required(SIGNS_PUB)).await.unwrap_err();
    let by = signing::CacheSigner::parse(SIGNS).unwrap().fingerprint();
    assert_eq!(words, format!("it is not signed, and verify-key wants a signature by {by}"));
    let words = read_manifest(&signed, &layers, &required(OTHER_PUB)).await.unwrap_err();
    assert!(words.starts_with("verify-key wants a signature by SHA256:"), "{words}");
    assert!(
        words.ends_with(&format!("signature by {by}: none of the given keys is that key")),
        "{words}"
    );
    // The policy of the daemon and the client may want different ones: then both must have signed.
    let both = [required(SIGNS_PUB), required(OTHER_PUB)].concat();
    assert!(read_manifest(&signed, &layers, &both).await.is_err());
    // A signature for something else is none.
    let key = kiln_signatures::ssh::SigningKey::parse(SIGNS.as_bytes()).unwrap();
    let statement = signing::statement(&config, &believed(layers.clone()));
    let git = CacheConfig { signatures: vec![key.sign("git", &statement)], ..config };
    let words = read_manifest(&git, &layers, &required(SIGNS_PUB)).await.unwrap_err();
    assert!(words.contains("it is for \"git\", not for \"kiln-cache\""), "{words}");
}

#[tokio::test]
async fn nothing_that_is_believed_of_a_signed_cache_can_be_changed() {
    let (config, layers) = small();
    let signed = signed(config, &layers);
    let required = required(SIGNS_PUB);
    let (other, by) = (Digest::sha256("other"), "it is not what SHA256:");
    type Change<'c, T> = (&'c str, &'c dyn Fn(&mut T));
    let configs: &[Change<'_, CacheConfig>] = &[
        ("operation", &|config| config.records[1].digest = other.clone()),
        ("selector", &|config| config.records[1].inputs[0][0].selector.clear()),
        ("link", &|config| config.records[1].inputs.clear()),
        ("time", &|config| config.records[1].results[0].created_at.clear()),
        ("another result", &|config| {
            let result = config.records[1].results.clone();
            config.records[0].results = result;
        }),
        ("another record", &|config| {
            let record = config.records[1].clone();
            config.records.push(ConfigRecord { digest: other.clone(), ..record });
        }),
        ("chain", &|config| {
            let created_at = String::new();
            config.records[1].chains = vec![crate::ConfigChain { layers: vec![0], created_at }];
        }),
        ("layer", &|config| config.layers[0].blob = other.clone()),
        ("another layer", &|config| {
            let layer = config.layers[0].clone();
            config.layers.push(layer);
        }),
    ];
    for (what, change) in configs {
        let mut changed = signed.clone();
        change(&mut changed);
        let words = read_manifest(&changed, &layers, &required).await.unwrap_err();
        assert!(words.starts_with(by), "{what}: {words}");
    }
    let manifests: &[Change<'_, Descriptor>] = &[
        ("size", &|layer| layer.size += 1),
        ("media type", &|layer| layer.media_type.push_str("+x")),
        ("tar", &|layer| drop(layer.annotations.insert(UNCOMPRESSED.into(), other.to_string()))),
        ("no tar", &|layer| drop(layer.annotations.remove(UNCOMPRESSED))),
        ("table", &|layer| {
            drop(layer.annotations.insert(estargz::TABLE_DIGEST.into(), other.to_string()));
        }),
        ("time", &|layer| drop(layer.annotations.insert(CREATED.into(), "2030".into()))),
        ("blob", &|layer| layer.digest = other.clone()),
    ];
    for (what, change) in manifests {
        let mut changed = layers.clone();
        change(&mut changed[0]);
        let words = read_manifest(&signed, &changed, &required).await.unwrap_err();
        assert!(words.starts_with(by), "{what}: {words}");
    }
    // What nobody reads may be anything.
    let mut other = layers.clone();
    other[0].urls.push("https://example.com".into());
    other[0].annotations.insert("com.example".into(), "x".into());
    other.push(Descriptor::new("", Digest::sha256("unused"), 1));
    assert_eq!(read_manifest(&signed, &other, &required).await, Ok(1));
}

#[tokio::test]
async fn caches_in_clouds_and_images_are_signed_as_well() {
    let (mut config, layers) = small();
    crate::cloud::annotate(&mut config, &layers).unwrap();
    // A config has less to say of a layer than a manifest.
    let known: Vec<Descriptor> = layers_of(&config).into_values().collect();
    let signed = signed(config.clone(), &known);
    let read = async |configs: &[&CacheConfig], required: Vec<RequiredSigner>| {
        let json = |config: &&CacheConfig| Bytes::from(serde_json::to_vec(config).unwrap());
        let root = Root::Configs(configs.iter().map(json).collect());
        read_with(root, BTreeMap::new(), required).await
    };
    assert_eq!(read(&[&signed], required(SIGNS_PUB)).await, Ok(1));
    assert_eq!(read(&[&signed, &config], Vec::new()).await, Ok(2));
    // One of several that is not signed spoils the rest.
    let words = read(&[&signed, &config], required(SIGNS_PUB)).await.unwrap_err();
    assert!(words.starts_with("it is not signed"), "{words}");
    let mut changed = signed.clone();
    let annotations = changed.layers[0].annotations.as_mut().unwrap();
    annotations.diff_id = Some(Digest::sha256("other"));
    let words = read(&[&changed], required(SIGNS_PUB)).await.unwrap_err();
    assert!(words.starts_with("it is not what SHA256:"), "{words}");

    let (records, diff_id) = (&config.records, Digest::sha256("tar"));
    let signer = signing::CacheSigner::parse(SIGNS).unwrap();
    let statement = signing::inline_statement(records, std::slice::from_ref(&diff_id));
    let signature = signer.sign(&statement);
    let read = async |diff_id: &Digest, signatures: &[&str]| {
        use base64::Engine as _;
        let records = serde_json::to_vec(records).unwrap();
        let records = base64::engine::general_purpose::STANDARD.encode(records);
        let image = serde_json::json!({ "rootfs": { "diff_ids": [diff_id] },
            "moby.buildkit.cache.v0": records, "kiln.cache.signatures": signatures });
        let image = Bytes::from(image.to_string());
        let config = Descriptor::new(
            "application/vnd.oci.image.config.v1+json",
            Digest::sha256(&image),
            image.len() as u64,
        );
        let root = serde_json::json!({ "schemaVersion": 2, "config": config, "layers": layers });
        let root = Root::Manifest(root.to_string().into());
        read_with(root, [(config.digest, image)].into(), required(SIGNS_PUB)).await
    };
    assert_eq!(read(&diff_id, &[&signature]).await, Ok(1));
    assert!(read(&diff_id, &[]).await.unwrap_err().starts_with("it is not signed"));
    let words = read(&Digest::sha256("other"), &[&signature]).await.unwrap_err();
    assert!(words.starts_with("it is not what SHA256:"), "{words}");
}
