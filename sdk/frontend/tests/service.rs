//! The gateway service: every field of what a frontend asks reaches the bridge, and what it returns
//! arrives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use kiln_frontend::service::{FrontendSession, Returned, service};
use kiln_frontend::{
    Bridge, BuildInfo, BuildResult, FileRange, FileStat, FrontendError, ImageConfigRequest, Inputs,
    Ref, ResolvedImage, Solve, SourceIdentifier, SourceMeta, SourceRequest, Warning,
};
use kiln_wire::pb;
use kiln_wire::proto::gateway as wire;
use kiln_wire::proto::gateway::llb_bridge_client::LlbBridgeClient;
use kiln_wire::proto::rpc;
use kiln_wire::proto::sourcepolicy::Policy;
use tonic::transport::Channel;

/// A bridge that writes down what it is asked.
#[derive(Default)]
struct Recorder {
    info: BuildInfo,
    asked: Mutex<Vec<String>>,
}

impl Recorder {
    fn note(&self, text: String) {
        self.asked.lock().unwrap().push(text);
    }
}

#[async_trait]
impl Bridge for Recorder {
    fn info(&self) -> &BuildInfo {
        &self.info
    }

    async fn solve(&self, request: Solve) -> Result<BuildResult<Ref>, FrontendError> {
        self.note(format!("{request:?}"));
        Ok(BuildResult::single(Some(Ref("solved".into()))))
    }

    async fn resolve_image(
        &self,
        reference: &str,
        request: ImageConfigRequest,
    ) -> Result<ResolvedImage, FrontendError> {
        self.note(format!("{reference} {request:?}"));
        Ok(ResolvedImage::default())
    }

    async fn resolve_source(
        &self,
        source: SourceIdentifier,
        request: SourceRequest,
    ) -> Result<SourceMeta, FrontendError> {
        self.note(format!("{source:?} {request:?}"));
        Ok(SourceMeta::default())
    }

    async fn read_file(
        &self,
        of: &Ref,
        path: &str,
        range: Option<FileRange>,
    ) -> Result<Bytes, FrontendError> {
        self.note(format!("{of:?} {path} {range:?}"));
        Ok(Bytes::new())
    }

    async fn read_dir(
        &self,
        of: &Ref,
        path: &str,
        only: &str,
    ) -> Result<Vec<FileStat>, FrontendError> {
        self.note(format!("{of:?} {path} {only}"));
        Ok(Vec::new())
    }

    async fn stat_file(&self, of: &Ref, path: &str) -> Result<FileStat, FrontendError> {
        self.note(format!("{of:?} {path}"));
        Ok(FileStat::default())
    }

    async fn evaluate(&self, of: &Ref) -> Result<(), FrontendError> {
        self.note(format!("{of:?}"));
        Ok(())
    }

    async fn inputs(&self) -> Result<Inputs, FrontendError> {
        Ok(Inputs::new())
    }

    async fn warn(&self, warning: Warning) -> Result<(), FrontendError> {
        self.note(format!("{warning:?}"));
        Ok(())
    }
}

struct Gateway {
    client: LlbBridgeClient<Channel>,
    session: Arc<FrontendSession>,
    recorder: Arc<Recorder>,
    returned: tokio::sync::oneshot::Receiver<Returned>,
}

impl Gateway {
    async fn open() -> Self {
        let recorder = Arc::new(Recorder::default());
        let (session, returned) = FrontendSession::new(Arc::clone(&recorder) as Arc<dyn Bridge>);
        let router = kiln_wire::channel::server().add_service(service(Arc::clone(&session)));
        let (near, far) = tokio::io::duplex(1 << 16);
        tokio::spawn(kiln_wire::channel::serve(router, far));
        let client = LlbBridgeClient::new(kiln_wire::channel::connect(near).await.unwrap());
        Self { client, session, recorder, returned }
    }

    /// What the bridge was asked just now has all of these in it.
    #[track_caller]
    fn asked(&self, words: &[&str]) {
        let text = self.recorder.asked.lock().unwrap().pop().unwrap_or_default();
        for word in words {
            assert!(text.contains(word), "no {word} in {text}");
        }
    }
}

fn policy() -> Vec<Policy> {
    vec![Policy { version: 41, rules: Vec::new() }]
}

fn platform() -> Option<pb::Platform> {
    let (os, architecture) = ("plan9".into(), "mips".into());
    let (variant, os_version) = ("v5".into(), "os7".into());
    Some(pb::Platform { os, architecture, variant, os_version, os_features: vec!["win32k".into()] })
}

const PLATFORM: &[&str] = &["plan9", "mips", "v5", "os7", "win32k"];

fn map<T>(name: &str, value: T) -> BTreeMap<String, T> {
    [(name.to_owned(), value)].into()
}

fn definition(text: &'static str) -> pb::Definition {
    pb::Definition { def: vec![Bytes::from_static(text.as_bytes())], ..Default::default() }
}

#[tokio::test]
async fn what_a_frontend_asks_reaches_the_bridge_whole() {
    let mut gateway = Gateway::open().await;
    let import =
        wire::CacheOptionsEntry { r#type: "kind".into(), attrs: map("attr", "given".into()) };
    let solve = wire::SolveRequest {
        definition: Some(definition("graph")),
        frontend: "language".into(),
        frontend_opt: map("option", "chosen".into()),
        allow_result_return: true,
        allow_result_array_ref: true,
        r#final: true,
        exporter_attr: Bytes::from_static(br#"{"said": "d29yZHM="}"#),
        cache_imports: vec![import],
        frontend_inputs: map("input", definition("handed")),
        evaluate: true,
        source_policies: policy(),
    };
    let answer = gateway.client.solve(solve.clone()).await.unwrap().into_inner();
    gateway.asked(&[
        "graph",
        "language",
        "option",
        "chosen",
        "kind",
        "attr",
        "given",
        "input",
        "handed",
        "evaluate: true",
        "version: 41",
    ]);
    let last = gateway.session.take_final().unwrap();
    assert_eq!(last.metadata, map("said", Bytes::from_static(b"words")));
    let result = answer.result.and_then(|result| result.result);
    assert!(matches!(result, Some(wire::result::Result::Ref(one)) if one.id == "solved"));
    // Who does not know refs as messages gets names.
    let older = wire::SolveRequest { allow_result_array_ref: false, r#final: false, ..solve };
    let answer = gateway.client.solve(older).await.unwrap().into_inner();
    assert!(gateway.session.take_final().is_none());
    let result = answer.result.and_then(|result| result.result);
    assert_eq!(result, Some(wire::result::Result::RefDeprecated("solved".into())));
    assert_eq!(answer.r#ref, "solved");

    let image = wire::ResolveImageConfigRequest {
        r#ref: "image".into(),
        platform: platform(),
        resolve_mode: "mode".into(),
        log_name: "shown".into(),
        resolver_type: 1,
        session_id: "its-session".into(),
        store_id: "its-store".into(),
        source_policies: policy(),
    };
    gateway.client.resolve_image_config(image).await.unwrap();
    gateway.asked(&["image", "mode", "shown", "its-session", "its-store", "version: 41"]);

    let meta = wire::ResolveSourceMetaRequest {
        source: Some(pb::SourceOp { identifier: "source".into(), attrs: map("a", "b".into()) }),
        platform: platform(),
        log_name: "shown".into(),
        resolve_mode: "mode".into(),
        git: Some(wire::ResolveSourceGitRequest { return_object: true }),
        image: Some(wire::ResolveSourceImageRequest {
            no_config: true,
            attestation_chain: true,
            resolve_attestations: vec!["predicate".into()],
        }),
        http: Some(wire::ResolveSourceHttpRequest {
            checksum_request: Some(wire::ChecksumRequest { algo: 2, suffix: "behind".into() }),
        }),
        source_policies: policy(),
    };
    gateway.client.resolve_source_meta(meta).await.unwrap();
    let words = ["source", "shown", "mode", "git_object: true", "no_config: true", "version: 41"];
    let attestations = ["attestation_chain: true", "predicate", "Sha512", "behind"];
    gateway.asked(&[&words[..], &attestations, PLATFORM].concat());

    let range = Some(wire::FileRange { offset: 5, length: 7 });
    let (one, path) = ("one".to_owned(), "/path".to_owned());
    let file = wire::ReadFileRequest { r#ref: one.clone(), file_path: path, range, mount_index: 0 };
    gateway.client.read_file(file).await.unwrap();
    gateway.asked(&["one", "/path", "offset: 5", "length: 7"]);
    let dir = wire::ReadDirRequest {
        r#ref: one.clone(),
        dir_path: "/dir".into(),
        include_pattern: "*.c".into(),
        mount_index: 0,
    };
    gateway.client.read_dir(dir).await.unwrap();
    gateway.asked(&["one", "/dir", "*.c"]);
    let path = "/path".to_owned();
    let stat = wire::StatFileRequest { r#ref: one.clone(), path, mount_index: 0 };
    gateway.client.stat_file(stat).await.unwrap();
    gateway.asked(&["one", "/path"]);
    gateway.client.evaluate(wire::EvaluateRequest { r#ref: one }).await.unwrap();
    gateway.asked(&["one"]);

    let position = |line| Some(pb::Position { line, character: 3 });
    let info = pb::SourceInfo { filename: "file".into(), ..Default::default() };
    let warning = wire::WarnRequest {
        digest: "vertex".into(),
        level: 2,
        short: Bytes::from_static(b"short"),
        detail: vec![Bytes::from_static(b"detail")],
        url: "https://example.com".into(),
        info: Some(info),
        ranges: vec![pb::Range { start: position(17), end: position(18) }],
    };
    gateway.client.warn(warning).await.unwrap();
    gateway.asked(&[
        "vertex",
        "level: 2",
        "short",
        "detail",
        "https://example.com",
        "file",
        "line: 17",
        "line: 18",
    ]);
}

async fn returned(request: wire::ReturnRequest) -> Returned {
    let mut gateway = Gateway::open().await;
    gateway.client.r#return(request).await.unwrap();
    gateway.returned.await.unwrap()
}

#[tokio::test]
async fn what_a_frontend_returns_arrives_whole() {
    use wire::result::Result as Wire;
    let one = |id: &str| wire::Ref { id: id.into(), def: None };
    for (result, expected) in [
        (Wire::RefDeprecated("a".into()), "a"),
        (Wire::RefsDeprecated(wire::RefMapDeprecated { refs: map("p", "b".into()) }), "pb"),
        (Wire::Ref(one("c")), "c"),
        (Wire::Refs(wire::RefMap { refs: map("p", one("d")) }), "pd"),
    ] {
        let result = wire::Result {
            result: Some(result),
            metadata: map("key", Bytes::from_static(b"value")),
            attestations: map("p", wire::Attestations { attestation: vec![Default::default()] }),
        };
        let request = wire::ReturnRequest { result: Some(result), error: None };
        let result = returned(request).await.unwrap();
        let refs = result.iter().filter_map(|(platform, one)| {
            Some(format!("{}{}", platform.unwrap_or_default(), one?.0))
        });
        assert_eq!(refs.collect::<String>(), expected);
        assert_eq!(result.metadata, map("key", Bytes::from_static(b"value")));
        assert_eq!(result.attestations["p"].len(), 1);
    }
    let error = rpc::Status { code: 5, message: "it is gone".into(), details: Vec::new() };
    let request = wire::ReturnRequest { result: None, error: Some(error) };
    let status = returned(request).await.unwrap_err();
    assert!(status.to_string().contains("it is gone"), "{status}");
}
