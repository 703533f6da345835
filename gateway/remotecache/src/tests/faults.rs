//! Registries that misbehave while a cache is imported: a warning and a miss, never something wrong.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use kiln_cache::{Answer, CacheSource as _, Lookup};
use kiln_frontend::CacheImport;
use kiln_oci::{Descriptor, media_type};
use kiln_progress::{Progress, Receiver};
use kiln_registry::testing::{ScriptedAnswer, ScriptedServer};
use kiln_registry::{Hosts, Options, Registry};
use kiln_session::SessionManager;
use kiln_store::{Requester, Store, StoreOptions};
use tempfile::TempDir;

use super::*;
use crate::cloud::Clouds;
use crate::config::CACHE_CONFIG;
use crate::mounts::record_of;
use crate::origin::Reach;
use crate::{ImportFrom, ImportedCache, Imports};

/// A cache with one layer, which is the result of a step and of a cache mount.
struct Cache {
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

impl Cache {
    fn new() -> Self {
        let mut tar = tar_of("f", b"what was found");
        let diff_id = Digest::sha256(&tar);
        let layer = std::mem::take(&mut tar);
        let blob = Digest::sha256(&layer);
        let created = "2026-01-01T00:00:00Z";
        let result = serde_json::json!([{ "layer": 0, "createdAt": created }]);
        let config = serde_json::json!({
            "layers": [{ "blob": blob, "parent": -1 }],
            "records": [{ "digest": record_of("go"), "layers": result }],
        });
        let config = config.to_string().into_bytes();
        let mut described = Descriptor::new(media_type::OCI_LAYER, blob, layer.len() as u64);
        described.annotations.insert("containerd.io/uncompressed".into(), diff_id.to_string());
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "config": Descriptor::new(CACHE_CONFIG, Digest::sha256(&config), config.len() as u64),
            "layers": [described],
        });
        Self { layer, config, manifest: manifest.to_string().into_bytes() }
    }

    /// Serves it, but for what is said for some paths.
    fn serve(
        self,
        fault: impl Fn(&str, &[u8]) -> Option<ScriptedAnswer> + Send + Sync + 'static,
    ) -> ScriptedServer {
        ScriptedServer::start(move |request| {
            let path = request.target.replace("%3A", ":");
            let of = |bytes: &[u8]| path.ends_with(Digest::sha256(bytes).as_str());
            let (part, bytes) = match () {
                () if path.contains("/manifests/") => ("manifest", &self.manifest),
                () if of(&self.config) => ("config", &self.config),
                () if of(&self.layer) => ("layer", &self.layer),
                () => return ScriptedAnswer::new(404, ""),
            };
            fault(part, bytes).unwrap_or_else(|| {
                ScriptedAnswer::new(200, &bytes[..]).with("Content-Type", media_type::OCI_MANIFEST)
            })
        })
        .unwrap()
    }
}

/// A tar of one file.
fn tar_of(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0u8; 512];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", content.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut tar = Vec::new();
    tar.write_all(&header).unwrap();
    tar.extend(content);
    tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
    tar
}

/// A machine that imports a cache.
struct Machine {
    imports: Imports,
    cache: Arc<ImportedCache>,
    progress: Receiver,
    requester: Requester,
    _root: TempDir,
}

impl Machine {
    fn new(server: &ScriptedServer, session: &str) -> Self {
        let options = Options {
            retry_delays: vec![Duration::from_millis(1)],
            idle_timeout: Duration::from_millis(200),
            ..Options::default()
        };
        let reach = Reach {
            registry: Registry::new(Hosts::default(), options),
            clouds: Clouds::default(),
            sessions: SessionManager::default(),
        };
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path(), StoreOptions::default()).unwrap();
        let imports = Imports::new(reach, &store);
        let (sender, progress) = kiln_progress::channel();
        let attrs = BTreeMap::from([("ref".to_owned(), format!("{}/cache:1", server.host()))]);
        let import = CacheImport { kind: "registry".into(), attrs };
        let cache = match session {
            // Nobody is asked for a login, and nobody waited for.
            "" => {
                let (from, _) = ImportFrom::parse(&import, &imports.reach().clouds).unwrap();
                let origin = imports.reach().origin(from);
                Arc::new(ImportedCache::new("cache".into(), origin, Vec::new(), sender.clone()))
            }
            session => imports.open(&import, session, &sender).unwrap().0,
        };
        let requester = Requester::of(vec![session.to_owned()], &Digest::sha256("step"), &sender);
        Self { imports, cache, progress, requester, _root: root }
    }

    /// The warnings so far.
    fn warnings(&mut self) -> Vec<String> {
        let mut warnings = Vec::new();
        while let Ok(progress) = self.progress.try_recv() {
            if let Progress::Warning(warning) = progress {
                warnings.push(warning.short);
            }
        }
        warnings
    }
}

/// What a registry may answer instead, and a word of the warning.
fn faults() -> Vec<(&'static str, ScriptedAnswer)> {
    vec![
        ("401", ScriptedAnswer::new(401, "")),
        ("403", ScriptedAnswer::new(403, r#"{"errors":[{"message":"not yours"}]}"#)),
        ("404", ScriptedAnswer::new(404, "")),
        ("429", ScriptedAnswer::new(429, "").with("Retry-After", "3600")),
        ("500", ScriptedAnswer::new(500, "")),
        ("cut", ScriptedAnswer::cut()),
        ("silent", ScriptedAnswer::new(200, "x").stalling_after(0)),
    ]
}

#[tokio::test]
async fn a_registry_that_refuses_a_cache_is_a_warning_and_a_miss() {
    for part in ["manifest", "config"] {
        for (name, answer) in faults() {
            let server = Cache::new().serve(move |of, _| (of == part).then(|| answer.clone()));
            let mut machine = Machine::new(&server, "");
            let operation = CacheKey::of_digest(&record_of("go"));
            let lookup = Lookup { operation, inputs: Vec::new(), whole: true };
            assert_eq!(machine.cache.look_up(&lookup).await, Answer::default(), "{part} {name}");
            let warnings = machine.warnings();
            assert_eq!(warnings.len(), 1, "{part} {name}: {warnings:?}");
            assert!(warnings[0].contains("is not imported: "), "{part} {name}: {warnings:?}");
        }
    }
}

#[tokio::test]
async fn a_cache_that_is_sent_half_or_altered_is_a_warning_and_a_miss() {
    let altered = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        ScriptedAnswer::new(200, bytes).with("Content-Type", media_type::OCI_MANIFEST)
    };
    let half = |bytes: &[u8]| {
        let answer = ScriptedAnswer::new(200, &bytes[..bytes.len() / 2]);
        answer.announce(bytes.len() as u64).with("Content-Type", media_type::OCI_MANIFEST)
    };
    type Fault = fn(&[u8]) -> ScriptedAnswer;
    for (part, fault) in [("manifest", half as Fault), ("config", half), ("config", altered)] {
        let server = Cache::new().serve(move |of, bytes| (of == part).then(|| fault(bytes)));
        let mut machine = Machine::new(&server, "s");
        assert!(machine.imports.mount("go", &machine.requester).await.is_none(), "{part}");
        assert!(machine.warnings()[0].contains("is not imported: "), "{part}");
    }
    for fault in [half as Fault, altered] {
        let server = Cache::new().serve(move |of, bytes| (of == "layer").then(|| fault(bytes)));
        let mut machine = Machine::new(&server, "s");
        assert!(machine.imports.mount("go", &machine.requester).await.is_none());
        let warnings = machine.warnings();
        assert!(warnings[0].starts_with("cache mount go of cache "), "{warnings:?}");
        // The same layer as the result of a step: looked at only when somebody wants its files.
        let saved = format!("imported:{}/0", machine.cache.id());
        let files = machine.imports.load(&saved, &machine.requester).await.unwrap();
        assert!(files.files(&machine.requester).await.is_err(), "never something else");
    }
}

#[tokio::test]
async fn a_layer_that_is_gone_from_a_cache_is_a_warning_and_a_miss() {
    // A session that is not there would be waited for where a login is wanted.
    for (name, answer) in faults().into_iter().filter(|(name, _)| *name != "401") {
        let server = Cache::new().serve(move |of, _| (of == "layer").then(|| answer.clone()));
        let mut machine = Machine::new(&server, "s");
        let operation = CacheKey::of_digest(&record_of("go"));
        let lookup = Lookup { operation, inputs: Vec::new(), whole: true };
        machine.cache.look_up(&lookup).await;
        let saved = format!("imported:{}/0", machine.cache.id());
        let loaded = machine.imports.load(&saved, &machine.requester).await;
        if name != "silent" {
            assert!(loaded.is_none(), "{name}");
            let warnings = machine.warnings();
            assert!(warnings[0].starts_with("a result of cache "), "{name}: {warnings:?}");
        }
        assert!(machine.imports.mount("go", &machine.requester).await.is_none(), "{name}");
    }
}

#[tokio::test]
async fn what_a_cache_mount_had_in_it_is_found_by_its_id() {
    let server = Cache::new().serve(|_, _| None);
    let mut machine = Machine::new(&server, "s");
    assert!(machine.imports.mount("other", &machine.requester).await.is_none());
    let (blob, diff_id) = machine.imports.mount("go", &machine.requester).await.unwrap();
    assert_eq!((blob.digest(), &diff_id), (&diff_id, blob.digest()), "it is not compressed");
    let stranger = Requester { sessions: vec!["t".into()], ..machine.requester.clone() };
    assert!(machine.imports.mount("go", &stranger).await.is_none(), "it is of another build");
    assert_eq!(machine.warnings(), [""; 0]);
}
