//! Why a frontend gave up, in a form that crosses the gateway without loss.

use kiln_document::{Diagnostic, Source};
use kiln_wire::pb;
use kiln_wire::status::{self, Detail, RichStatus};
use prost_types::Any;
use tonic::Code;

/// The type of the details that [`FrontendError::also`] adds; their value is text.
pub const ALSO: &str = "kiln.dev/also";

/// An error of a frontend: a gRPC status with its typed details.
#[derive(Clone, Debug)]
pub struct FrontendError(RichStatus);

impl FrontendError {
    /// The user's input is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self(RichStatus::new(Code::InvalidArgument, message))
    }

    /// Something went wrong, and the message says all of it. The code is `Unknown`, which is what
    /// BuildKit's own frontends answer with nearly always.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self(RichStatus::new(Code::Unknown, message))
    }

    /// The frontend has no answer to this sub-request (`errdefs.Subrequest`).
    pub fn unsupported_request(name: &str) -> Self {
        let message = format!("unsupported request {name}");
        let status = RichStatus::new(Code::Unknown, message);
        Self(status.with(Detail::Subrequest(name.to_owned())))
    }

    /// The frontend lacks a capability that the caller requires (`errdefs.FrontendCap`).
    pub fn unsupported_capability(name: &str) -> Self {
        let message = format!("unsupported frontend capability {name}");
        let status = RichStatus::new(Code::Unimplemented, message);
        Self(status.with(Detail::FrontendCap(name.to_owned())))
    }

    /// The daemon lacks an LLB feature, by its name, that the user's file needs for `what`.
    pub fn unsupported_feature(what: &str, cap: &str) -> Self {
        let message = format!("the daemon does not support {what} (it lacks {cap})");
        Self(RichStatus::new(Code::Unimplemented, message))
    }

    /// The frontend itself is wrong.
    pub fn internal(message: impl Into<String>) -> Self {
        Self(RichStatus::new(Code::Internal, message))
    }

    /// Mistakes in the user's file: the message shows them all, the details carry their places.
    pub fn diagnostics(source: &Source, diagnostics: &[Diagnostic]) -> Self {
        let rendered: Vec<String> = diagnostics
            .iter()
            .map(|diagnostic| diagnostic.render(source).trim_end().to_owned())
            .collect();
        let status = RichStatus::new(Code::InvalidArgument, rendered.join("\n\n"));
        Self(diagnostics.iter().fold(status, |status, diagnostic| {
            let ranges = diagnostic.span.map(|span| range(source, span)).into_iter().collect();
            status.with(Detail::Source(status::Source { info: source_info(source), ranges }))
        }))
    }

    /// Puts words in front of the message.
    #[must_use]
    pub fn context(mut self, what: impl std::fmt::Display) -> Self {
        self.0.message = format!("{what}: {}", self.0.message);
        self
    }

    /// Adds what the user may do, in parentheses.
    #[must_use]
    pub fn hint(mut self, what: impl std::fmt::Display) -> Self {
        self.0.message = format!("{} ({what})", self.0.message);
        self
    }

    /// Says where in the user's files it is. Places said before are further in.
    #[must_use]
    pub fn with_source(mut self, info: pb::SourceInfo, ranges: Vec<pb::Range>) -> Self {
        self.0.details.push(Detail::Source(status::Source { info, ranges }));
        self
    }

    /// Adds what the user should read below the error, such as other mistakes of the same file. The
    /// message and the places stay what they are; programs that do not know such text ignore it.
    #[must_use]
    pub fn also(mut self, text: impl Into<String>) -> Self {
        let value = text.into().into_bytes();
        let detail = Any { type_url: ALSO.to_owned(), value };
        self.0.details.push(Detail::Other(detail));
        self
    }

    /// Whether it is known where in the user's files it is.
    pub fn has_source(&self) -> bool {
        self.0.sources().next().is_some()
    }

    /// The status as it travels.
    pub fn status(&self) -> &RichStatus {
        &self.0
    }

    /// The status as it travels.
    pub fn into_status(self) -> RichStatus {
        self.0
    }
}

/// The file of a diagnostic, as LLB carries it.
fn source_info(source: &Source) -> pb::SourceInfo {
    pb::SourceInfo {
        filename: source.name().to_owned(),
        data: source.text().as_bytes().to_vec().into(),
        definition: None,
        language: String::new(),
    }
}

/// A span as the wire has it: lines from 1, characters from 0.
pub(crate) fn range(source: &Source, span: kiln_document::Span) -> pb::Range {
    let position = |offset: usize| {
        let position = source.position(offset);
        let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        pb::Position { line: number(position.line), character: number(position.character - 1) }
    };
    pb::Range { start: Some(position(span.start)), end: Some(position(span.end)) }
}

impl From<RichStatus> for FrontendError {
    fn from(status: RichStatus) -> Self {
        Self(status)
    }
}

impl From<FrontendError> for RichStatus {
    fn from(error: FrontendError) -> Self {
        error.0
    }
}

impl std::fmt::Display for FrontendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for FrontendError {}
