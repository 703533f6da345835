//! The bridge that writes everything down.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use kiln_frontend::{
    Bridge, BuildInfo, BuildResult, FileRange, ImageConfigRequest, Inputs, Ref, ResolvedImage,
    Solve, SourceMeta, SourceRequest, Warning,
};
use kiln_frontend::{FileStat, FrontendError, SourceIdentifier};
use kiln_llb::Definition;
use kiln_oci::Digest;

use super::question::{Answer, Info, Message, Question, graphs, stat_message};
use super::session::{SESSION, renamed};
use super::{Exchange, FORMAT, MAX_SAID, Recording, RecordingError};

/// A bridge that passes everything on to another and remembers it.
///
/// The frontend sees fixed names for its session and for results, so that nothing random of the
/// daemon gets into what is recorded.
pub struct Recorder<'a> {
    bridge: &'a dyn Bridge,
    info: BuildInfo,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In the order in which the calls were made; absent are those without an answer yet.
    exchanges: Vec<Option<Exchange>>,
    /// What the daemon calls the results.
    refs: BTreeMap<String, Ref>,
    /// What the daemon knows vertices by that have another digest here.
    digests: BTreeMap<String, String>,
    said: usize,
}

impl<'a> Recorder<'a> {
    /// Records what is asked of `bridge`.
    pub fn new(bridge: &'a dyn Bridge) -> Self {
        let mut info = bridge.info().clone();
        let session = std::mem::replace(&mut info.session_id, SESSION.to_owned());
        for value in info.options.0.values_mut().filter(|value| **value == session) {
            SESSION.clone_into(value);
        }
        Self { bridge, info, state: Mutex::default() }
    }

    /// What was recorded so far. Calls without an answer are left out.
    ///
    /// # Errors
    ///
    /// [`RecordingError::TooLarge`] if more was said than a recording may hold.
    pub fn finish(self) -> Result<Recording, RecordingError> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if state.said > MAX_SAID {
            return Err(RecordingError::TooLarge);
        }
        let exchanges = state.exchanges.into_iter().flatten().collect();
        Ok(Recording { format: FORMAT, info: Info::of(&self.info), exchanges })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a call, in the order of the calls.
    fn begin(&self) -> usize {
        let mut state = self.state();
        state.exchanges.push(None);
        state.exchanges.len() - 1
    }

    /// Writes an exchange down, as long as there is room.
    fn end(&self, place: usize, asked: Question, answered: Answer) {
        let size = |value: Result<String, serde_json::Error>| value.map_or(0, |text| text.len());
        let said = size(serde_json::to_string(&asked)) + size(serde_json::to_string(&answered));
        let mut state = self.state();
        state.said = state.said.saturating_add(said);
        if state.said <= MAX_SAID {
            state.exchanges[place] = Some(Exchange { asked, answered });
        }
    }

    /// Makes a call and writes it down.
    async fn exchange<T: Clone>(
        &self,
        asked: Question,
        call: impl Future<Output = Result<T, FrontendError>>,
        said: impl FnOnce(T) -> Answer,
    ) -> Result<T, FrontendError> {
        let place = self.begin();
        let result = call.await;
        let answered = match &result {
            Ok(value) => said(value.clone()),
            Err(status) => Answer::error(status),
        };
        self.end(place, asked, answered);
        result
    }

    /// What the daemon calls a result.
    fn theirs(&self, of: &Ref) -> Ref {
        self.state().refs.get(&of.0).cloned().unwrap_or_else(|| of.clone())
    }

    /// A result under names that follow from the question alone.
    fn ours(
        &self,
        asked: &Question,
        result: BuildResult<Ref>,
    ) -> Result<BuildResult<Ref>, FrontendError> {
        let question = serde_json::to_vec(asked).unwrap_or_default();
        let digest = Digest::sha256(question).to_string();
        let short = &digest["sha256:".len()..][..12];
        let mut count = 0;
        let mut state = self.state();
        result.try_map(|one| {
            count += 1;
            let name =
                if count == 1 { format!("ref-{short}") } else { format!("ref-{short}-{count}") };
            state.refs.insert(name.clone(), one);
            Ok(Ref(name))
        })
    }

    fn session(&self) -> &str {
        &self.bridge.info().session_id
    }

    /// A graph as the daemon has to see it.
    fn graph(&self, definition: Definition) -> Definition {
        let (definition, digests) = renamed(definition.into(), SESSION, self.session());
        self.state().digests.extend(digests);
        definition.into()
    }

    fn text(&self, text: String) -> String {
        if text == SESSION { self.session().to_owned() } else { text }
    }

    fn texts(&self, texts: BTreeMap<String, String>) -> BTreeMap<String, String> {
        texts.into_iter().map(|(key, value)| (key, self.text(value))).collect()
    }
}

#[async_trait]
impl Bridge for Recorder<'_> {
    fn info(&self) -> &BuildInfo {
        &self.info
    }

    async fn solve(&self, request: Solve) -> Result<BuildResult<Ref>, FrontendError> {
        let asked = ask::solve(request.clone());
        let mut theirs = request;
        theirs.definition = theirs.definition.map(|definition| self.graph(definition));
        theirs.options = self.texts(theirs.options);
        let inputs = theirs.inputs.into_iter();
        theirs.inputs = inputs.map(|(name, graph)| (name, self.graph(graph))).collect();
        let named = asked.clone();
        let call = async {
            let result = self.bridge.solve(theirs).await?;
            self.ours(&named, result)
        };
        self.exchange(asked, call, Answer::result).await
    }

    async fn resolve_image(
        &self,
        reference: &str,
        request: ImageConfigRequest,
    ) -> Result<ResolvedImage, FrontendError> {
        let asked = ask::image(reference, request.clone());
        let mut theirs = request;
        if let Some(layout) = &mut theirs.layout {
            layout.session_id = self.text(std::mem::take(&mut layout.session_id));
        }
        self.exchange(asked, self.bridge.resolve_image(reference, theirs), Answer::image).await
    }

    async fn resolve_source(
        &self,
        source: SourceIdentifier,
        request: SourceRequest,
    ) -> Result<SourceMeta, FrontendError> {
        crate::unanswerable::refuse_sums(&request)?;
        let asked = ask::source(source.clone(), request.clone());
        let theirs =
            SourceIdentifier::new(&source.identifier).attrs(self.texts(source.attrs.clone()));
        let call = async {
            let mut meta = self.bridge.resolve_source(theirs, request).await?;
            let session = self.session();
            for value in meta.source.attrs.values_mut().filter(|value| *value == session) {
                SESSION.clone_into(value);
            }
            Ok(meta)
        };
        self.exchange(asked, call, Answer::source).await
    }

    async fn definition(&self, of: &Ref) -> Result<Option<Definition>, FrontendError> {
        let theirs = self.theirs(of);
        let call = async {
            let definition = self.bridge.definition(&theirs).await?;
            Ok(definition
                .map(|definition| renamed(definition.into(), self.session(), SESSION).0.into()))
        };
        let said = |definition: Option<Definition>| Answer::Definition {
            definition: definition.map(super::question::Graph::of),
        };
        self.exchange(Question::Definition { of: of.0.clone() }, call, said).await
    }

    async fn read_file(
        &self,
        of: &Ref,
        path: &str,
        range: Option<FileRange>,
    ) -> Result<Bytes, FrontendError> {
        let theirs = self.theirs(of);
        let said = |content: Bytes| Answer::File { content: super::blob::Blob::of(&content) };
        self.exchange(ask::file(of, path, range), self.bridge.read_file(&theirs, path, range), said)
            .await
    }

    async fn read_dir(
        &self,
        of: &Ref,
        path: &str,
        include_pattern: &str,
    ) -> Result<Vec<FileStat>, FrontendError> {
        let theirs = self.theirs(of);
        let call = self.bridge.read_dir(&theirs, path, include_pattern);
        let said = |entries: Vec<FileStat>| Answer::Directory {
            entries: entries.iter().map(stat_message).collect(),
        };
        self.exchange(ask::directory(of, path, include_pattern), call, said).await
    }

    async fn stat_file(&self, of: &Ref, path: &str) -> Result<FileStat, FrontendError> {
        let theirs = self.theirs(of);
        let asked = Question::StatFile { of: of.0.clone(), path: path.to_owned() };
        let said = |stat: FileStat| Answer::Stat { stat: stat_message(&stat) };
        self.exchange(asked, self.bridge.stat_file(&theirs, path), said).await
    }

    async fn evaluate(&self, of: &Ref) -> Result<(), FrontendError> {
        let theirs = self.theirs(of);
        let asked = Question::Evaluate { of: of.0.clone() };
        self.exchange(asked, self.bridge.evaluate(&theirs), |()| Answer::Done).await
    }

    async fn inputs(&self) -> Result<Inputs, FrontendError> {
        let call = async {
            let inputs = self.bridge.inputs().await?;
            let ours = |graph: Definition| renamed(graph.into(), self.session(), SESSION).0.into();
            Ok(inputs.into_iter().map(|(name, definition)| (name, ours(definition))).collect())
        };
        let said = |inputs: Inputs| Answer::Inputs { inputs: graphs(inputs) };
        self.exchange(Question::Inputs, call, said).await
    }

    async fn warn(&self, warning: Warning) -> Result<(), FrontendError> {
        let asked = ask::warning(&warning);
        let mut theirs = warning;
        if let Some(digest) = self.state().digests.get(&theirs.vertex) {
            theirs.vertex.clone_from(digest);
        }
        self.exchange(asked, self.bridge.warn(theirs), |()| Answer::Done).await
    }
}

/// Calls as questions.
pub(crate) mod ask {
    use super::{
        FileRange, ImageConfigRequest, Message, Question, Ref, Solve, SourceIdentifier,
        SourceRequest, Warning, graphs,
    };
    use crate::record::question::{Graph, Source};
    use kiln_wire::status::{self, Detail, RichStatus};

    pub(crate) fn solve(request: Solve) -> Question {
        let imports = request.cache_imports.into_iter();
        Question::Solve {
            definition: request.definition.map(Graph::of),
            frontend: request.frontend,
            options: request.options,
            inputs: graphs(request.inputs),
            evaluate: request.evaluate,
            cache_imports: imports.map(|import| (import.kind, import.attrs)).collect(),
        }
    }

    pub(crate) fn image(reference: &str, request: ImageConfigRequest) -> Question {
        Question::ResolveImage {
            reference: reference.to_owned(),
            platform: request.platform,
            resolve_mode: request.resolve_mode,
            log_name: request.log_name,
            layout: request.layout.map(|layout| (layout.session_id, layout.store_id)),
        }
    }

    pub(crate) fn source(source: SourceIdentifier, request: SourceRequest) -> Question {
        Question::ResolveSource {
            source: Source::of(source),
            platform: request.platform,
            resolve_mode: request.resolve_mode,
            log_name: request.log_name,
            git_object: request.git_object,
        }
    }

    pub(crate) fn file(of: &Ref, path: &str, range: Option<FileRange>) -> Question {
        let range = range.map(|range| (range.offset, range.length));
        Question::ReadFile { of: of.0.clone(), path: path.to_owned(), range }
    }

    pub(crate) fn directory(of: &Ref, path: &str, include_pattern: &str) -> Question {
        Question::ReadDir {
            of: of.0.clone(),
            path: path.to_owned(),
            include_pattern: include_pattern.to_owned(),
        }
    }

    pub(crate) fn warning(warning: &Warning) -> Question {
        let place = status::Source {
            info: warning.info.clone().map(Into::into).unwrap_or_default(),
            ranges: warning.ranges.iter().copied().map(Into::into).collect(),
        };
        // The wire has this pair in errors, too.
        let place = RichStatus::new(tonic::Code::Ok, "").with(Detail::Source(place)).to_rpc();
        Question::Warn {
            vertex: warning.vertex.clone(),
            level: warning.level,
            short: warning.short.clone(),
            detail: warning.detail.clone(),
            url: warning.url.clone(),
            place: Message::of(&place),
        }
    }
}
