//! A bridge that only looks things up: what a fixture answered once, it answers again at once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::executor::block_on;
use kiln_sdk::frontend::{
    Bridge, BuildInfo, BuildResult, FileRange, FileStat, Frontend, FrontendError,
    ImageConfigRequest, Inputs, Ref, ResolvedImage, Solve, SourceIdentifier, SourceMeta,
    SourceRequest, Warning, run,
};
use kiln_testing::{Fixture, FixtureBridge};

type Answer<T> = Result<T, FrontendError>;

/// What was asked, as far as answers depend on it: of a file, the first operation of its graph.
#[derive(Default)]
struct Known {
    files: HashMap<(Bytes, String), Answer<Bytes>>,
    images: HashMap<(String, String), Answer<ResolvedImage>>,
    sources: HashMap<String, Answer<SourceMeta>>,
}

/// The answers to one build.
pub(crate) struct Answers {
    info: BuildInfo,
    fixture: FixtureBridge,
    known: Mutex<Known>,
    solved: Mutex<Vec<Bytes>>,
}

impl Answers {
    /// Builds once and keeps every answer; `None` if the build needs more than can be kept.
    pub(crate) fn learned(fixture: &Fixture, frontend: &dyn Frontend) -> Option<Self> {
        let bridge = fixture.bridge();
        let info = bridge.info().clone();
        let answers =
            Self { info, fixture: bridge, known: Mutex::default(), solved: Mutex::default() };
        block_on(run(frontend, &answers)).ok()?;
        Some(answers)
    }

    /// Forgets what was solved, but no answer.
    pub(crate) fn again(&self) -> &Self {
        self.solved.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self
    }

    fn known<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Bridge for Answers {
    fn info(&self) -> &BuildInfo {
        &self.info
    }

    async fn solve(&self, request: Solve) -> Answer<BuildResult<Ref>> {
        let Some(first) = request.definition.as_ref().and_then(|graph| graph.def.first()) else {
            return Ok(BuildResult::single(None));
        };
        let mut solved = self.solved.lock().unwrap_or_else(PoisonError::into_inner);
        solved.push(first.clone());
        Ok(BuildResult::single(Some(Ref((solved.len() - 1).to_string()))))
    }

    async fn read_file(&self, of: &Ref, path: &str, range: Option<FileRange>) -> Answer<Bytes> {
        let number: usize = of.0.parse().unwrap();
        let first = self.solved.lock().unwrap_or_else(PoisonError::into_inner)[number].clone();
        let key = (first, path.to_owned());
        if let Some(answer) = self.known(|known| known.files.get(&key).cloned()) {
            return answer;
        }
        let graph = kiln_wire::pb::Definition {
            def: vec![key.0.clone(), last(&key.0)],
            ..Default::default()
        };
        let solve = Solve::default().with_definition(Some(graph.into()));
        let of = self.fixture.solve(solve).await?.into_single().unwrap().unwrap();
        let answer = self.fixture.read_file(&of, path, range).await;
        self.known(|known| known.files.insert(key, answer.clone()));
        answer
    }

    async fn resolve_image(
        &self,
        reference: &str,
        request: ImageConfigRequest,
    ) -> Answer<ResolvedImage> {
        let platform = request.platform.as_ref().map(ToString::to_string).unwrap_or_default();
        let key = (reference.to_owned(), platform);
        if let Some(answer) = self.known(|known| known.images.get(&key).cloned()) {
            return answer;
        }
        let answer = self.fixture.resolve_image(reference, request).await;
        self.known(|known| known.images.insert(key, answer.clone()));
        answer
    }

    async fn resolve_source(
        &self,
        source: SourceIdentifier,
        request: SourceRequest,
    ) -> Answer<SourceMeta> {
        let key = source.identifier.clone();
        if let Some(answer) = self.known(|known| known.sources.get(&key).cloned()) {
            return answer;
        }
        let answer = self.fixture.resolve_source(source, request).await;
        self.known(|known| known.sources.insert(key, answer.clone()));
        answer
    }

    async fn read_dir(&self, of: &Ref, path: &str, pattern: &str) -> Answer<Vec<FileStat>> {
        self.fixture.read_dir(of, path, pattern).await
    }

    async fn stat_file(&self, of: &Ref, path: &str) -> Answer<FileStat> {
        self.fixture.stat_file(of, path).await
    }

    async fn evaluate(&self, _: &Ref) -> Answer<()> {
        Ok(())
    }

    async fn inputs(&self) -> Answer<Inputs> {
        self.fixture.inputs().await
    }

    async fn warn(&self, _: Warning) -> Answer<()> {
        Ok(())
    }
}

/// The terminal operation of a graph of one operation.
fn last(op: &Bytes) -> Bytes {
    use prost::Message as _;
    let digest = kiln_sdk::oci::Digest::sha256(op).to_string();
    let input = kiln_wire::pb::Input { digest, index: 0 };
    kiln_wire::pb::Op { inputs: vec![input], ..Default::default() }.encode_to_vec().into()
}
