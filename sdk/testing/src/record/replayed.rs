//! The bridge that answers from a recording.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use kiln_frontend::{
    Bridge, BuildInfo, BuildResult, FileRange, ImageConfigRequest, Inputs, Ref, ResolvedImage,
    Solve, SourceMeta, SourceRequest, Warning,
};
use kiln_frontend::{Code, FileStat, FrontendError, SourceIdentifier};
use kiln_llb::Definition;

use super::Recording;
use super::question::{Answer, Question};
use super::recorder::ask;

/// How much of two calls is compared to find out how alike they are, in bytes.
const COMPARED: usize = 2048;

/// A daemon that says what another has said before.
///
/// A question that was asked several times gets its answers in their order, and then the last one
/// again. One that was never asked gets an error with the most similar one that was.
#[derive(Debug)]
pub struct Replayed {
    info: BuildInfo,
    recording: Recording,
    /// How often each exchange has been used.
    used: Mutex<BTreeMap<usize, usize>>,
}

impl Replayed {
    pub(crate) fn new(recording: Recording) -> Self {
        Self { info: recording.info.build_info(), recording, used: Mutex::default() }
    }

    /// The calls of the recording that the frontend has not repeated, in words.
    pub fn unused(&self) -> Vec<String> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let exchanges = self.recording.exchanges.iter().enumerate();
        let unused = exchanges.filter(|(index, _)| !used.contains_key(index));
        unused.map(|(_, exchange)| exchange.asked.words()).collect()
    }

    fn answer(&self, question: &Question) -> Result<Answer, FrontendError> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let exchanges = self.recording.exchanges.iter().enumerate();
        let fitting = exchanges.filter(|(_, exchange)| exchange.asked == *question);
        let next = fitting.min_by_key(|(index, _)| match used.get(index) {
            None => (0, *index),
            // Used up: the last one counts.
            Some(_) => (1, usize::MAX - *index),
        });
        let Some((index, exchange)) = next else { return Err(self.unknown(question)) };
        *used.entry(index).or_default() += 1;
        Ok(exchange.answered.clone())
    }

    /// The error about a question that was not recorded.
    fn unknown(&self, question: &Question) -> FrontendError {
        let words = question.words();
        let mut message = format!("the recording has no answer to: {words}");
        let same = |exchange: &&super::Exchange| {
            std::mem::discriminant(&exchange.asked) == std::mem::discriminant(question)
        };
        let nearest = self.recording.exchanges.iter().filter(same).max_by(|a, b| {
            let [a, b] = [a, b].map(|one| likeness(&one.asked, question));
            a.total_cmp(&b)
        });
        match nearest {
            Some(nearest) => {
                message.push_str(&format!("; the nearest it has: {}", nearest.asked.words()));
                message.push_str(&changes(&nearest.asked, question));
            }
            None => message.push_str("; it has no such call at all"),
        }
        message.push_str("; record the build again if the frontend has changed");
        FrontendError::new(Code::FailedPrecondition, message)
    }
}

/// How alike two calls are, from 0 to 1.
fn likeness(one: &Question, other: &Question) -> f32 {
    let text = |question: &Question| -> String {
        let words = question.words();
        let json = serde_json::to_string(question).unwrap_or_default();
        (words + &json).chars().take(COMPARED).collect()
    };
    let (one, other) = (text(one), text(other));
    similar::TextDiff::from_chars(&one, &other).ratio()
}

/// What is different between two graphs, in words.
fn changes(recorded: &Question, asked: &Question) -> String {
    let (Some(recorded), Some(asked)) = (recorded.graph(), asked.graph()) else {
        return String::new();
    };
    match crate::difference(&recorded, &asked) {
        Ok(difference) if !difference.is_empty() => {
            format!("\n{}", difference.to_string().trim_end())
        }
        _ => String::new(),
    }
}

#[async_trait]
impl Bridge for Replayed {
    fn info(&self) -> &BuildInfo {
        &self.info
    }

    async fn solve(&self, request: Solve) -> Result<BuildResult<Ref>, FrontendError> {
        self.answer(&ask::solve(request))?.into_result()
    }

    async fn resolve_image(
        &self,
        reference: &str,
        request: ImageConfigRequest,
    ) -> Result<ResolvedImage, FrontendError> {
        self.answer(&ask::image(reference, request))?.into_image()
    }

    async fn resolve_source(
        &self,
        source: SourceIdentifier,
        request: SourceRequest,
    ) -> Result<SourceMeta, FrontendError> {
        crate::unanswerable::refuse_sums(&request)?;
        self.answer(&ask::source(source, request))?.into_source()
    }

    async fn definition(&self, of: &Ref) -> Result<Option<Definition>, FrontendError> {
        self.answer(&Question::Definition { of: of.0.clone() })?.into_definition()
    }

    async fn read_file(
        &self,
        of: &Ref,
        path: &str,
        range: Option<FileRange>,
    ) -> Result<Bytes, FrontendError> {
        self.answer(&ask::file(of, path, range))?.into_file()
    }

    async fn read_dir(
        &self,
        of: &Ref,
        path: &str,
        include_pattern: &str,
    ) -> Result<Vec<FileStat>, FrontendError> {
        self.answer(&ask::directory(of, path, include_pattern))?.into_entries()
    }

    async fn stat_file(&self, of: &Ref, path: &str) -> Result<FileStat, FrontendError> {
        let question = Question::StatFile { of: of.0.clone(), path: path.to_owned() };
        self.answer(&question)?.into_stat()
    }

    async fn evaluate(&self, of: &Ref) -> Result<(), FrontendError> {
        self.answer(&Question::Evaluate { of: of.0.clone() })?.into_done()
    }

    async fn inputs(&self) -> Result<Inputs, FrontendError> {
        self.answer(&Question::Inputs)?.into_inputs()
    }

    async fn warn(&self, warning: Warning) -> Result<(), FrontendError> {
        self.answer(&ask::warning(&warning))?.into_done()
    }
}
