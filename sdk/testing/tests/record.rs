//! Conversations that are recorded and repeated.

use std::path::Path;

use crate::language::{Fault, Faulty};
use async_trait::async_trait;
use kiln_frontend::{
    Bridge, BuildInfo, BuildResult, FileRange, FileStat, Frontend as _, FrontendError,
    ImageConfigRequest, Inputs, Ref, ResolvedImage, Solve, SourceIdentifier, SourceMeta,
    SourceRequest, Warning,
};
use kiln_testing::{Fixture, Recorder, Recording};
use kiln_wire::pb;

const LINES: &str = "from debian:13\nrun make\nrun make install\n";

fn fixture() -> Fixture {
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": { "Env": ["A=b"], "WorkingDir": "/w" },
    });
    Fixture::new()
        .without_gateway_cap("kiln.sessions.apart")
        .file("dockerfile", "lines", LINES)
        .image("debian:13", serde_json::from_value(config).unwrap())
}

/// A daemon whose sessions and results have names that nobody can know before.
struct Random<B>(B, BuildInfo, &'static str);

impl<B: Bridge> Random<B> {
    fn new(bridge: B, salt: &'static str) -> Self {
        let info = bridge.info().clone().with_session_id(format!("session-{salt}"));
        Self(bridge, info, salt)
    }

    fn own(&self, of: &Ref) -> Ref {
        Ref(of
            .0
            .strip_prefix(self.2)
            .unwrap_or_else(|| panic!("{} is not its own", of.0))
            .to_owned())
    }
}

#[async_trait]
impl<B: Bridge> Bridge for Random<B> {
    fn info(&self) -> &BuildInfo {
        &self.1
    }

    async fn solve(&self, request: Solve) -> Result<BuildResult<Ref>, FrontendError> {
        let definition = request.definition.clone().unwrap();
        let sessions = definition.ops().filter_map(|op| match op.unwrap().1.op? {
            pb::op::Op::Source(source) => source.attrs.get("local.session").cloned(),
            _ => None,
        });
        assert!(sessions.into_iter().all(|session| session == self.1.session_id));
        let result = self.0.solve(request).await?;
        result.try_map(|one| Ok(Ref(format!("{}{}", self.2, one.0))))
    }

    async fn resolve_image(
        &self,
        reference: &str,
        request: ImageConfigRequest,
    ) -> Result<ResolvedImage, FrontendError> {
        self.0.resolve_image(reference, request).await
    }

    async fn resolve_source(
        &self,
        source: SourceIdentifier,
        request: SourceRequest,
    ) -> Result<SourceMeta, FrontendError> {
        self.0.resolve_source(source, request).await
    }

    async fn read_file(
        &self,
        of: &Ref,
        path: &str,
        range: Option<FileRange>,
    ) -> Result<bytes::Bytes, FrontendError> {
        self.0.read_file(&self.own(of), path, range).await
    }

    async fn read_dir(
        &self,
        of: &Ref,
        path: &str,
        pattern: &str,
    ) -> Result<Vec<FileStat>, FrontendError> {
        self.0.read_dir(&self.own(of), path, pattern).await
    }

    async fn stat_file(&self, of: &Ref, path: &str) -> Result<FileStat, FrontendError> {
        self.0.stat_file(&self.own(of), path).await
    }

    async fn evaluate(&self, of: &Ref) -> Result<(), FrontendError> {
        self.0.evaluate(&self.own(of)).await
    }

    async fn inputs(&self) -> Result<Inputs, FrontendError> {
        self.0.inputs().await
    }

    async fn warn(&self, warning: Warning) -> Result<(), FrontendError> {
        self.0.warn(warning).await
    }
}

async fn record(salt: &'static str) -> (BuildResult<Ref>, Recording) {
    let daemon = Random::new(fixture().bridge(), salt);
    let recorder = Recorder::new(&daemon);
    let result = Faulty(Fault::None).solve(&recorder).await.unwrap();
    (result, recorder.finish().unwrap())
}

fn saved(recording: &Recording, path: &Path) -> String {
    recording.save(path).unwrap();
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn a_recording_answers_like_the_daemon_it_was_made_with() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("build.json");
    let (result, recording) = record("x").await;
    assert_eq!(recording.len(), 4);
    let text = saved(&recording, &path);
    assert!(text.contains("make install"), "people can read it: {text}");
    let again = Recording::load(&path).unwrap();
    assert_eq!(again, recording);
    let replayed = again.replay();
    assert_eq!(Faulty(Fault::None).solve(&replayed).await.unwrap(), result);
    assert_eq!(replayed.unused(), [""; 0]);
}

#[tokio::test]
async fn two_recordings_of_one_build_are_the_same_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("build.json");
    let (_, one) = record("some-").await;
    let (_, other) = record("other-").await;
    assert_eq!(saved(&one, &path), saved(&other, &path));
}

#[tokio::test]
async fn what_was_not_recorded_is_an_error_with_the_nearest_call() {
    let (_, recording) = record("x").await;
    // A frontend that has changed since.
    let replayed = recording.clone().replay();
    let error = Faulty(Fault::SessionInCommands).solve(&replayed).await.unwrap_err().to_string();
    assert!(
        error.starts_with("the recording has no answer to: solve 3 steps, the last"),
        "{error}"
    );
    assert!(error.contains("the nearest it has: solve 3 steps"), "{error}");
    assert!(error.contains("FAULT"), "it says what is different: {error}");
    // A frontend that asks something else altogether.
    let error = recording.replay().stat_file(&Ref("r".into()), "a").await.unwrap_err().to_string();
    assert!(error.contains("look at a of r; it has no such call at all"), "{error}");
}

#[test]
fn a_file_that_is_no_recording_is_an_error_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("build.json");
    for (text, said) in [
        ("{", "is no recording: EOF"),
        ("{\"format\": 1}", "missing field `info`"),
        ("[]", "is no recording"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = Recording::load(&path).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    let error = Recording::load(directory.path().join("nothing.json")).unwrap_err().to_string();
    assert!(error.contains("cannot read") && error.contains("nothing.json"), "{error}");
}
