//! Stories about caches in clouds, told against a server in memory that may misbehave.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::TryStreamExt as _;
use kiln_cache::{Answer, CacheKey, CacheSource as _, KnownInput, Lookup};
use kiln_oci::{Descriptor, Digest};
use kiln_progress::Sender;
use kiln_registry::testing::{ScriptedAnswer, ScriptedRequest, ScriptedServer};

use super::parts::PART;
use super::*;
use crate::import::ImportedCache;
use crate::origin::Cause;
use crate::progress::chain;

const KINDS: [&str; 3] = ["azblob", "gha", "s3"];

/// Stands in each login.
const SECRET: &str = "c2VjcmV0LWtleS1vZi10ZXN0cw==";

/// Objects in memory, served as each kind of cloud does it.
#[derive(Default)]
struct Memory {
    objects: Mutex<Vec<(String, Vec<u8>)>>,
    pieces: Mutex<BTreeMap<(String, String), Vec<u8>>>,
}

impl Memory {
    fn object(&self, name: &str) -> Option<Vec<u8>> {
        let objects = self.objects.lock().unwrap();
        objects.iter().rev().find(|(known, _)| known == name).map(|(_, bytes)| bytes.clone())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> ScriptedAnswer {
        self.objects.lock().unwrap().push((name.to_owned(), bytes.to_vec()));
        ScriptedAnswer::new(201, "").with("ETag", "\"tag\"")
    }

    fn names(&self) -> Vec<String> {
        self.objects.lock().unwrap().iter().map(|(name, _)| name.clone()).collect()
    }

    fn answer(&self, request: &ScriptedRequest) -> ScriptedAnswer {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        if let Some((_, method)) = path.split_once("CacheService/") {
            return self.service(method, request);
        }
        let name = unescaped(path);
        let value = |key: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(name, _)| *name == key).map(|(_, value)| unescaped(value))
        };
        let piece = value("partNumber").or_else(|| value("blockid"));
        match (request.method.as_str(), piece) {
            _ if query.contains("restype=container") => ScriptedAnswer::new(201, ""),
            ("PUT", Some(id)) => {
                self.pieces.lock().unwrap().insert((name, id.clone()), request.body.clone());
                ScriptedAnswer::new(201, "").with("ETag", &format!("\"{id}\""))
            }
            ("POST", None) if query.starts_with("uploads") => {
                ScriptedAnswer::new(200, "<UploadId>an upload</UploadId>")
            }
            ("POST" | "PUT", None) if query.contains("uploadId") || query.contains("blocklist") => {
                let list = String::from_utf8_lossy(&request.body).into_owned();
                let tags = list.split("<Latest>").chain(list.split("<PartNumber>"));
                let ids =
                    tags.filter_map(|text| text.split_once("</").map(|(id, _)| id.to_owned()));
                let pieces = self.pieces.lock().unwrap();
                let bytes = ids.filter_map(|id| pieces.get(&(name.clone(), id)).cloned());
                let bytes: Vec<u8> = bytes.flatten().collect();
                self.put(&name, &bytes);
                ScriptedAnswer::new(200, "<Complete/>")
            }
            ("DELETE", _) => ScriptedAnswer::new(204, ""),
            ("PUT", None) if !request.header("x-amz-copy-source").is_empty() => {
                assert_eq!(request.header("x-amz-metadata-directive"), "REPLACE");
                ScriptedAnswer::new(200, "<CopyObjectResult/>")
            }
            ("PUT", None) => self.put(&name, &request.body),
            _ => match self.object(&name) {
                Some(bytes) => ranged(request, &bytes),
                None => ScriptedAnswer::new(404, "<Error><Code>NoSuchKey</Code></Error>"),
            },
        }
    }

    fn service(&self, method: &str, request: &ScriptedRequest) -> ScriptedAnswer {
        assert!(request.header("authorization").starts_with("Bearer "));
        let json: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(json["version"].as_str().unwrap().len(), 64);
        let key = json["key"].as_str().unwrap();
        let url = |key: &str| {
            let key = escaped_all(key);
            format!("http://{}/storage/{key}?sig=signature", request.header("host"))
        };
        let stored = |key: &str| format!("/storage/{key}");
        let body = match method {
            "CreateCacheEntry" if self.object(&stored(key)).is_some() => {
                return ScriptedAnswer::new(409, r#"{"code":"already_exists","msg":"there"}"#);
            }
            "CreateCacheEntry" => serde_json::json!({"ok": true, "signed_upload_url": url(key)}),
            "FinalizeCacheEntryUpload" => {
                let bytes = self.object(&stored(key)).unwrap();
                assert_eq!(json["size_bytes"], bytes.len());
                serde_json::json!({"ok": true, "entry_id": "1"})
            }
            _ => {
                let names = self.names();
                let prefix = stored(json["restore_keys"][0].as_str().unwrap());
                match names.iter().rfind(|name| name.starts_with(&prefix)) {
                    None => serde_json::json!({"ok": false}),
                    Some(name) => {
                        let key = name.strip_prefix("/storage/").unwrap();
                        serde_json::json!({
                            "ok": true, "signed_download_url": url(key), "matched_key": key,
                        })
                    }
                }
            }
        };
        ScriptedAnswer::new(200, body.to_string())
    }
}

fn ranged(request: &ScriptedRequest, bytes: &[u8]) -> ScriptedAnswer {
    let range = request.header("range").trim_start_matches("bytes=").trim_end_matches('-');
    let answer = match range.parse::<usize>() {
        Ok(from) if from >= bytes.len() => ScriptedAnswer::new(416, ""),
        Ok(from) => ScriptedAnswer::new(206, &bytes[from..]),
        Err(_) => ScriptedAnswer::new(200, bytes),
    };
    answer.with("Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT")
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || char::from(rest.next().unwrap()).to_digit(16).unwrap() as u8;
        bytes.push(if byte == b'%' { digit() * 16 + digit() } else { byte });
    }
    String::from_utf8(bytes).unwrap()
}

fn escaped_all(text: &str) -> String {
    objects::escaped(text, b"-_.~")
}

/// A server with objects, which first asks its mischief what to answer.
fn serving(
    mischief: impl Fn(&ScriptedRequest) -> Option<ScriptedAnswer> + Send + Sync + 'static,
) -> (Arc<Memory>, ScriptedServer) {
    let memory = Arc::new(Memory::default());
    let own = Arc::clone(&memory);
    let server = ScriptedServer::start(move |request| {
        mischief(request).unwrap_or_else(|| own.answer(request))
    });
    (memory, server.unwrap())
}

fn impatient() -> Clouds {
    waiting(Duration::from_secs(20))
}

/// Who waits no longer than this for a server.
fn waiting(idle: Duration) -> Clouds {
    let patience = Patience {
        idle,
        delay: Duration::from_millis(2),
        bytes_per_second: 1000,
        turn: Duration::from_millis(40),
    };
    Clouds { patience, ..Clouds::default() }
}

fn token() -> String {
    let claims = r#"{"ac":"[{\"Scope\":\"refs/heads/main\",\"Permission\":3}]"}"#;
    format!("e30.{}.{SECRET}", URL_SAFE_NO_PAD.encode(claims))
}

fn cache(kind: &str, host: &str, more: &[(&str, &str)]) -> Result<CloudCache, AttributeError> {
    cache_of(&impatient(), kind, host, more)
}

fn cache_of(
    clouds: &Clouds,
    kind: &str,
    host: &str,
    more: &[(&str, &str)],
) -> Result<CloudCache, AttributeError> {
    let url = format!("http://{host}");
    let (account, token) = (format!("{url}/account"), token());
    let attrs: &[(&str, &str)] = match kind {
        "s3" => &[
            ("bucket", "bucket"),
            ("region", "eu-1"),
            ("endpoint_url", &url),
            ("use_path_style", "true"),
            ("access_key_id", "id-of-the-key"),
            ("secret_access_key", SECRET),
        ],
        "azblob" => {
            &[("account_url", &account), ("account_name", "account"), ("secret_access_key", SECRET)]
        }
        _ => &[("url_v2", &url), ("token", &token), ("timeout", "0")],
    };
    let attrs = attrs.iter().chain(more).map(|(name, value)| ((*name).into(), (*value).into()));
    Ok(clouds.open(kind, &attrs.collect())?.unwrap())
}

/// The name of an object of a cache with no more than the necessary attributes.
fn blob_name(kind: &str, digest: &Digest) -> String {
    match kind {
        "s3" => format!("/bucket/blobs/{digest}"),
        "azblob" => format!("/account/buildkit-cache/blobs/{digest}"),
        _ => format!("/storage/buildkit-blob-1-{digest}"),
    }
}

fn config_name(kind: &str) -> String {
    let hash = Digest::sha256("refs/heads/main");
    match kind {
        "s3" => "/bucket/manifests/buildkit".into(),
        "azblob" => "/account/buildkit-cache/manifests/buildkit".into(),
        _ => format!("/storage/index-buildkit-1-{}#1", &hash.hex()[..8]),
    }
}

fn layer(bytes: &Bytes) -> Descriptor {
    Descriptor::new("layer", Digest::sha256(bytes), bytes.len() as u64)
}

async fn put(cache: &CloudCache, bytes: &Bytes) -> Result<(), Cause> {
    let body = Arc::new(bytes.clone());
    Arc::clone(&cache.0).put_blob(&layer(bytes), body).await
}

async fn got(cache: &CloudCache, descriptor: &Descriptor) -> Result<Vec<u8>, Cause> {
    let chunks: Vec<Bytes> = Arc::clone(&cache.0).blob(descriptor).try_collect().await?;
    Ok(chunks.concat())
}

#[tokio::test]
async fn objects_are_where_buildkit_has_them_and_come_back_whole() {
    for kind in KINDS {
        let (memory, server) = serving(|_| None);
        let cache = cache(kind, &server.host(), &[]).unwrap();
        assert!(Arc::clone(&cache.0).configs().await.unwrap().is_empty(), "{kind}");
        // The second is written in several pieces.
        let small = Bytes::from_static(b"a small layer");
        let large = Bytes::from((0..PART * 2 + 17).map(|n| (n % 251) as u8).collect::<Vec<_>>());
        for bytes in [&small, &large] {
            put(&cache, bytes).await.unwrap();
            let layer = layer(bytes);
            assert_eq!(memory.object(&blob_name(kind, &layer.digest)).unwrap(), **bytes, "{kind}");
            assert!(Arc::clone(&cache.0).has(&layer).await.unwrap(), "{kind}");
            assert!(got(&cache, &layer).await.unwrap() == **bytes, "{kind}");
        }
        let missing = layer(&Bytes::from_static(b"nowhere"));
        assert!(!Arc::clone(&cache.0).has(&missing).await.unwrap(), "{kind}");
        assert!(got(&cache, &missing).await.is_err(), "{kind}");
        // What is there is not sent again.
        let written = memory.names().len();
        put(&cache, &small).await.unwrap();
        assert_eq!(memory.names().len(), written, "{kind}");
        for config in ["{\"one\":1}", "{\"two\":2}"] {
            Arc::clone(&cache.0).publish(config.into()).await.unwrap();
            assert_eq!(Arc::clone(&cache.0).configs().await.unwrap(), [config], "{kind}");
        }
        assert!(memory.names().contains(&config_name(kind)), "{kind}: {:?}", memory.names());
    }
}

#[tokio::test]
async fn prefixes_and_names_are_put_together_as_by_buildkit() {
    let common = [("prefix", "p/"), ("blobs_prefix", "b/"), ("manifests_prefix", "m/")];
    let names = ("name", "one;two");
    for (kind, expected) in [
        ("s3", ["/bucket/p/b/D", "/bucket/p/m/one", "/bucket/p/m/two"]),
        (
            "azblob",
            [
                "/account/buildkit-cache/p/b/D",
                "/account/buildkit-cache/p/m/one",
                "/account/buildkit-cache/p/m/two",
            ],
        ),
    ] {
        let (memory, server) = serving(|_| None);
        let cache = cache(kind, &server.host(), &[&common[..], &[names]].concat()).unwrap();
        let bytes = Bytes::from_static(b"layer");
        put(&cache, &bytes).await.unwrap();
        Arc::clone(&cache.0).publish("{}".into()).await.unwrap();
        let digest = layer(&bytes).digest.to_string();
        let expected = expected.map(|name| name.replace('D', &digest));
        assert_eq!(memory.names(), expected);
        assert_eq!(Arc::clone(&cache.0).configs().await.unwrap().len(), 2, "{kind}: all names");
    }
}

#[tokio::test]
async fn a_layer_that_is_old_in_s3_is_touched() {
    for (refresh, touched) in [("24h", 1), ("1000000h", 0)] {
        let (_, server) = serving(|_| None);
        let cache = cache("s3", &server.host(), &[("touch_refresh", refresh)]).unwrap();
        let bytes = Bytes::from_static(b"layer");
        put(&cache, &bytes).await.unwrap();
        put(&cache, &bytes).await.unwrap();
        let copies = server.requests();
        let copies =
            copies.iter().filter(|request| !request.header("x-amz-copy-source").is_empty());
        assert_eq!(copies.count(), touched, "{refresh}");
    }
}

#[tokio::test]
async fn a_layer_that_was_cut_off_is_written_again() {
    for kind in ["azblob", "s3"] {
        let (memory, server) = serving(|_| None);
        let cache = cache(kind, &server.host(), &[]).unwrap();
        let bytes = Bytes::from_static(b"a whole layer");
        let name = blob_name(kind, &layer(&bytes).digest);
        memory.put(&name, b"a who");
        put(&cache, &bytes).await.unwrap();
        assert_eq!(memory.object(&name).unwrap(), b"a whole layer", "{kind}");
    }
}

#[tokio::test]
async fn what_is_not_what_its_digest_says_is_never_finished() {
    for kind in KINDS {
        for size in [10, PART * 2] {
            let (memory, server) = serving(|_| None);
            let cache = cache(kind, &server.host(), &[]).unwrap();
            let bytes = Bytes::from(vec![7; usize::try_from(size).unwrap()]);
            let lie = Descriptor::new("layer", Digest::sha256("another"), size);
            let put = Arc::clone(&cache.0).put_blob(&lie, Arc::new(bytes)).await;
            let error = chain(&*put.unwrap_err());
            assert!(error.contains("its bytes are not those of its digest"), "{kind}: {error}");
            assert!(memory.names().is_empty(), "{kind}: {:?}", memory.names());
        }
    }
}

/// A server that answers everything in one way.
fn always(answer: ScriptedAnswer) -> ScriptedServer {
    serving(move |_| Some(answer.clone())).1
}

#[tokio::test]
async fn a_cloud_that_is_broken_is_a_miss_when_it_is_read_and_an_error_when_it_is_written() {
    let echo = format!(r#"{{"code":"denied","msg":"no {SECRET} and no {}"}}"#, token());
    let faults: Vec<(&str, ScriptedAnswer, &str)> = vec![
        ("401", ScriptedAnswer::new(401, echo.clone()), "answered 401: denied: no"),
        ("403", ScriptedAnswer::new(403, "<Message>not you</Message>"), "answered 403: not you"),
        ("429", ScriptedAnswer::new(429, echo).with("Retry-After", "0"), "limits the rate"),
        ("500", ScriptedAnswer::new(500, ""), "answered 500"),
        ("503", ScriptedAnswer::new(503, "<Code>SlowDown</Code>"), "answered 503: SlowDown"),
        ("302", ScriptedAnswer::new(302, "").with("Location", "http://x"), "answered 302"),
        ("cut", ScriptedAnswer::cut(), "cannot reach"),
        ("late", ScriptedAnswer::new(200, "{}").announce(9).stalling_after(1), "sent nothing"),
        ("short", ScriptedAnswer::new(200, "{").announce(9), "cannot reach"),
    ];
    for kind in KINDS {
        for (name, answer, words) in &faults {
            let server = always(answer.clone());
            let idle = Duration::from_millis(if *name == "late" { 300 } else { 20_000 });
            let cache = cache_of(&waiting(idle), kind, &server.host(), &[]).unwrap();
            let read = Arc::clone(&cache.0).configs().await;
            let error = chain(&*read.unwrap_err());
            assert!(error.contains(words), "{kind} {name}: {error}");
            assert!(!error.contains(SECRET) && !error.contains("sig="), "{kind} {name}: {error}");
            if matches!(*name, "late" | "short" | "302") {
                // An answer to HEAD has no body that could be late.
                continue;
            }
            let error = chain(&*put(&cache, &Bytes::from_static(b"layer")).await.unwrap_err());
            // Without a body there are no words.
            let words = words.split(": ").next().unwrap_or(words);
            assert!(error.contains(words), "{kind} {name}: {error}");
            assert!(!error.contains(SECRET), "{kind} {name}: {error}");
            knows_nothing(&cache).await;
        }
    }
}

#[tokio::test]
async fn a_config_that_is_none_is_a_miss() {
    for kind in KINDS {
        for config in ["", "no JSON", "[]", r#"{"records":[{"digest":"x"}]}"#] {
            let (memory, server) = serving(|_| None);
            memory.put(&config_name(kind), config.as_bytes());
            knows_nothing(&cache(kind, &server.host(), &[]).unwrap()).await;
        }
    }
}

async fn knows_nothing(cache: &CloudCache) {
    let origin = Arc::new(InObjects(cache.clone()));
    let imported =
        ImportedCache::new("test".into(), origin, Vec::new(), Vec::new(), Sender::default());
    let inputs = vec![KnownInput { number: 0, keys: Vec::new(), is_open: true }];
    let operation = CacheKey::of_digest(&Digest::sha256("x"));
    let answer = imported.look_up(&Lookup { operation, inputs, whole: true }).await;
    assert_eq!(answer, Answer::default());
}

#[tokio::test]
async fn what_passes_is_tried_again_and_a_cut_download_goes_on_where_it_was() {
    for kind in KINDS {
        let count = Mutex::new(0_u32);
        let (memory, server) = serving(move |request| {
            let mut count = count.lock().unwrap();
            *count += 1;
            let is_blob = request.method == "GET" && request.target.contains("sha256");
            // Of a blob the half is sent and then nothing; every third other request fails.
            match (is_blob, request.header("range")) {
                (true, "") => Some(ScriptedAnswer::new(200, "half a ").announce(99)),
                (false, _) if count.is_multiple_of(3) => {
                    Some(ScriptedAnswer::new(500, "").with("Retry-After", "0"))
                }
                _ => None,
            }
        });
        let cache = cache(kind, &server.host(), &[]).unwrap();
        let bytes = Bytes::from_static(b"half a layer and the other");
        for _ in 0..3 {
            put(&cache, &bytes).await.unwrap();
            Arc::clone(&cache.0).publish("{}".into()).await.unwrap();
            assert_eq!(got(&cache, &layer(&bytes)).await.unwrap(), *bytes, "{kind}");
        }
        assert!(memory.names().contains(&config_name(kind)), "{kind}");
        let ranges = server.requests();
        let ranges = ranges.iter().filter(|request| request.header("range") == "bytes=7-");
        assert!(ranges.count() > 0, "{kind}");
    }
}

#[tokio::test]
async fn a_layer_that_is_shorter_than_the_config_says_or_drips_is_an_error() {
    for kind in KINDS {
        let (memory, server) = serving(|_| None);
        let cache = cache(kind, &server.host(), &[]).unwrap();
        let short = layer(&Bytes::from_static(b"a whole layer"));
        memory.put(&blob_name(kind, &short.digest), b"a whole");
        let error = chain(&*got(&cache, &short).await.unwrap_err());
        assert!(error.contains("it ends after 7 of 13 bytes"), "{kind}: {error}");

        let (memory, server) = serving(|request| {
            let is_blob = request.method == "GET" && request.target.contains("sha256");
            let drips = ScriptedAnswer::new(200, vec![0; 1000]).dripping(Duration::from_millis(50));
            is_blob.then_some(drips)
        });
        let layer = layer(&vec![0; 1000].into());
        memory.put(&blob_name(kind, &layer.digest), &[0; 1000]);
        let short = waiting(Duration::from_millis(1500));
        let cache = cache_of(&short, kind, &server.host(), &[]).unwrap();
        let error = chain(&*got(&cache, &layer).await.unwrap_err());
        let is_given_up = error.contains("bytes a second") || error.contains("from the beginning");
        assert!(is_given_up || error.contains("answered 200"), "{kind}: {error}");
    }
}

#[tokio::test]
async fn an_index_that_another_builder_writes_at_the_same_time_is_not_lost() {
    let (memory, server) = serving(|_| None);
    let cache = cache("gha", &server.host(), &[]).unwrap();
    let key = config_name("gha").replace("#1", "");
    // Somebody had begun the first and never finished it: it is there, and not found.
    memory.put(&format!("{key}#1"), b"old");
    Arc::clone(&cache.0).publish("new".into()).await.unwrap();
    assert_eq!(memory.object(&format!("{key}#2")).unwrap(), b"new");
    assert_eq!(Arc::clone(&cache.0).configs().await.unwrap(), ["new"]);
    // The scope of another cache begins in the same way.
    memory.put(&format!("{key}-sig#9"), b"signed");
    assert_eq!(Arc::clone(&cache.0).configs().await.unwrap(), ["new"]);
}

#[tokio::test]
async fn names_that_can_be_listed_are_not_asked_one_by_one() {
    let bytes = Bytes::from_static(b"layer");
    let digest = layer(&bytes).digest;
    let listed =
        format!(r#"{{"total_count":1,"actions_caches":[{{"key":"buildkit-blob-1-{digest}"}}]}}"#);
    let (_, server) = serving(move |request| {
        request.target.starts_with("/repos/a/b/actions/caches?").then(|| {
            assert_eq!(request.header("authorization"), "Bearer token-for-listing");
            ScriptedAnswer::new(200, listed.clone())
        })
    });
    let environment = [("GITHUB_API_URL".to_owned(), format!("http://{}", server.host()))];
    let environment = CloudEnvironment::of(&BTreeMap::from(environment));
    let clouds = Clouds { environment: Arc::new(environment), ..impatient() };
    let (url, token) = (format!("http://{}", server.host()), token());
    let attrs = [
        ("url_v2", url.as_str()),
        ("token", &token),
        ("repository", "a/b"),
        ("ghtoken", "token-for-listing"),
    ];
    let attrs = attrs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let cache = clouds.open("gha", &attrs.into()).unwrap().unwrap();
    put(&cache, &bytes).await.unwrap();
    assert_eq!(server.asked().len(), 1, "{:?}", server.asked());
}

#[tokio::test]
async fn requests_are_sent_as_often_as_is_asked() {
    for (kind, more, expected) in [
        ("s3", &[][..], 3),
        ("s3", &[("retry_max_attempts", "1")], 1),
        ("s3", &[("retry_max_attempts", "5"), ("retry_mode", "adaptive")], 5),
        ("s3", &[("retry_mode", "standard"), ("upload_parallelism", "7")], 3),
        ("azblob", &[], 4),
        ("gha", &[], 3),
    ] {
        let server = always(ScriptedAnswer::new(503, "").with("Retry-After", "0"));
        let cache = cache(kind, &server.host(), more).unwrap();
        assert!(Arc::clone(&cache.0).configs().await.is_err());
        assert_eq!(server.asked().len(), expected, "{kind} {more:?}");
        if more.iter().any(|(name, _)| *name == "upload_parallelism") {
            assert_eq!(cache.0.parallelism(), 7);
        }
    }
    // The service is asked as long as that takes when it limits the rate, and within the time.
    let server = always(ScriptedAnswer::new(429, "").with("Retry-After", "0"));
    let cache = cache("gha", &server.host(), &[("timeout", "500ms")]).unwrap();
    assert!(Arc::clone(&cache.0).configs().await.is_err());
    assert!(server.asked().len() > 3, "{:?}", server.asked());
}

#[tokio::test]
async fn a_session_token_is_sent_and_signed() {
    let (_, server) = serving(|_| None);
    let cache = cache("s3", &server.host(), &[("session_token", "token-of-a-session")]).unwrap();
    assert!(Arc::clone(&cache.0).configs().await.unwrap().is_empty());
    let request = server.requests().remove(0);
    assert_eq!(request.header("x-amz-security-token"), "token-of-a-session");
    let signed = request.header("authorization");
    assert!(signed.contains("x-amz-security-token") && signed.contains("/eu-1/s3/"), "{signed}");
}

#[test]
fn attributes_that_make_no_sense_are_refused_by_name_and_no_login_is_shown() {
    for (kind, more, words) in [
        ("s3", ("bucket", ""), "s3 cache requires bucket (or $AWS_BUCKET of the daemon)"),
        ("s3", ("region", ""), "s3 cache requires region (or $AWS_REGION of the daemon)"),
        ("s3", ("bucket", "a/b"), "invalid bucket of a cache"),
        ("s3", ("prefix", "../"), "invalid blobs_prefix of a cache"),
        ("s3", ("name", "a;;b"), "invalid name of a cache: `a;;b`"),
        ("s3", ("touch_refresh", "soon"), "invalid touch_refresh of a cache: `soon`"),
        ("s3", ("upload_parallelism", "0"), "invalid upload_parallelism of a cache: `0`"),
        ("s3", ("retry_mode", "legacy"), "expected standard or adaptive"),
        ("s3", ("retry_max_attempts", "x"), "invalid retry_max_attempts of a cache"),
        ("s3", ("use_path_style", "maybe"), "invalid use_path_style of a cache"),
        ("s3", ("disable_accept_encoding", "2"), "invalid disable_accept_encoding of a cache"),
        ("s3", ("secret_access_key", ""), "s3 cache requires secret_access_key"),
        ("s3", ("access_key_id", ""), "s3 cache requires access_key_id"),
        (
            "s3",
            ("endpoint_url", "https://a:c2VjcmV0@h"),
            "invalid endpoint_url of a cache: `https://h`",
        ),
        ("azblob", ("account_url", ""), "azblob cache requires account_url (or $BUILDKIT_AZURE"),
        (
            "azblob",
            ("account_url", "https://h/?sig=c2VjcmV0"),
            "`https://h/`, expected the address",
        ),
        ("azblob", ("secret_access_key", "c2VjcmV0!"), "secret_access_key is no base64"),
        ("azblob", ("container", "A/b"), "invalid container of a cache"),
        ("gha", ("token", ""), "gha cache requires token"),
        ("gha", ("token", "c2VjcmV0.c2VjcmV0"), "the token is of no use: it has not three parts"),
        ("gha", ("url_v2", ""), "gha cache requires url_v2"),
        ("gha", ("version", "1"), "version=1 of a gha cache is not supported: GitHub has switched"),
        ("gha", ("version", "3"), "invalid version of a cache: `3`, expected 2"),
        ("gha", ("timeout", "long"), "invalid timeout of a cache: `long`"),
    ] {
        let error = cache(kind, "127.0.0.1:1", &[more]).unwrap_err().to_string();
        assert!(error.contains(words), "{kind} {more:?}: {error}");
        assert!(!error.contains("c2VjcmV0"), "{error}");
    }
    let debug = KINDS.map(|kind| format!("{:?}", cache(kind, "127.0.0.1:1", &[]).unwrap()));
    assert!(debug.iter().all(|text| !text.contains(SECRET)), "{debug:?}");
    // An address alone is one of version 1, unless it is that of the service itself.
    for (url, more, is_fit) in [
        ("https://old.example", None, false),
        ("https://old.example", Some(("version", "2")), true),
        ("https://results-receiver.actions.githubusercontent.com/", None, true),
    ] {
        let token = token();
        let attrs = [Some(("url", url)), Some(("token", &token)), more];
        let attrs = attrs.into_iter().flatten().map(|(name, value)| (name.into(), value.into()));
        assert_eq!(impatient().open("gha", &attrs.collect()).is_ok(), is_fit, "{url}");
    }
}

#[test]
fn a_bucket_is_addressed_as_amazons_programs_do() {
    let base = |attrs: &[(&str, &str)]| {
        let attrs = attrs.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let cache = impatient().open("s3", &attrs.collect()).unwrap().unwrap();
        let debug = format!("{:?}", cache.0);
        let (_, after) = debug.split_once("base: \"").unwrap();
        after.split('"').next().unwrap().to_owned()
    };
    let key = [("access_key_id", "i"), ("secret_access_key", "s")];
    for (more, expected) in [
        (&[("bucket", "b"), ("region", "eu-1")][..], "https://b.s3.eu-1.amazonaws.com"),
        (&[("bucket", "b.c"), ("region", "eu-1")], "https://s3.eu-1.amazonaws.com/b.c"),
        (&[("bucket", "b"), ("region", "cn-1")], "https://b.s3.cn-1.amazonaws.com.cn"),
        (
            &[("bucket", "b"), ("region", "r"), ("endpoint_url", "https://m.example:9/s/")],
            "https://b.m.example:9/s",
        ),
        (
            &[
                ("bucket", "b"),
                ("region", "r"),
                ("endpoint_url", "https://m.example:9"),
                ("use_path_style", "true"),
            ],
            "https://m.example:9/b",
        ),
        (
            &[("bucket", "b"), ("region", "r"), ("endpoint_url", "http://127.0.0.1:9")],
            "http://127.0.0.1:9/b",
        ),
    ] {
        assert_eq!(base(&[&key[..], more].concat()), expected);
    }
}
