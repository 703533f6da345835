//! Why a frontend gave up, in a form that crosses the gateway without loss.

use kiln_document::{Diagnostic, Source};
use kiln_llb::{SourcePosition, SourceRange};
use kiln_wire::status::{self, Detail, RichStatus};
use prost_types::Any;

use crate::{Code, SourceInfo};

/// The type of the details that [`FrontendError::also`] adds; their value is text.
pub const ALSO: &str = "kiln.dev/also";

/// Why a frontend, or the daemon that it asked, gave up: what kind of error it is, a message for
/// people, and details for programs, such as places in the user's files. Details that nobody here
/// knows are passed on as they came.
#[derive(Clone, Debug)]
pub struct FrontendError(pub(crate) RichStatus);

impl FrontendError {
    /// An error of a kind; see the other constructors for the usual ones.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self(RichStatus::new(code.to_wire(), message))
    }

    /// The user's input is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// Something went wrong, and the message says all of it. The code is `Unknown`, which is what
    /// BuildKit's own frontends answer with nearly always.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::new(Code::Unknown, message)
    }

    /// The frontend has no answer to this sub-request (`errdefs.Subrequest`).
    pub fn unsupported_request(name: &str) -> Self {
        let message = format!("unsupported request {name}");
        Self::new(Code::Unknown, message).with(Detail::Subrequest(name.to_owned()))
    }

    /// The frontend lacks a capability that the caller requires (`errdefs.FrontendCap`).
    pub fn unsupported_capability(name: &str) -> Self {
        let message = format!("unsupported frontend capability {name}");
        Self::new(Code::Unimplemented, message).with(Detail::FrontendCap(name.to_owned()))
    }

    /// The daemon lacks an LLB feature, by its name, that the user's file needs for `what`.
    pub fn unsupported_feature(what: &str, cap: &str) -> Self {
        let message = format!("the daemon does not support {what} (it lacks {cap})");
        Self::new(Code::Unimplemented, message)
    }

    /// The frontend itself is wrong.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, message)
    }

    /// Mistakes in the user's file: the message shows them all, the details carry their places.
    pub fn diagnostics(source: &Source, diagnostics: &[Diagnostic]) -> Self {
        let rendered: Vec<String> = diagnostics
            .iter()
            .map(|diagnostic| diagnostic.render(source).trim_end().to_owned())
            .collect();
        let error = Self::new(Code::InvalidArgument, rendered.join("\n\n"));
        diagnostics.iter().fold(error, |error, diagnostic| {
            let ranges = diagnostic.span.map(|span| range(source, span)).into_iter().collect();
            let info = SourceInfo::new(source.name(), source.text().as_bytes().to_vec());
            error.with_source(info, ranges)
        })
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
    pub fn with_source(self, info: SourceInfo, ranges: Vec<SourceRange>) -> Self {
        let ranges = ranges.into_iter().map(kiln_llb::wire::range_to_message).collect();
        self.with(Detail::Source(status::Source { info: info.0, ranges }))
    }

    /// Adds what the user should read below the error, such as other mistakes of the same file. The
    /// message and the places stay what they are; programs that do not know such text ignore it.
    #[must_use]
    pub fn also(self, text: impl Into<String>) -> Self {
        let value = text.into().into_bytes();
        self.with(Detail::Other(Any { type_url: ALSO.to_owned(), value }))
    }

    /// Another message in place of the one it has.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.0.message = message.into();
        self
    }

    /// Whether it is known where in the user's files it is.
    pub fn has_source(&self) -> bool {
        self.0.sources().next().is_some()
    }

    /// What kind of error it is.
    pub fn code(&self) -> Code {
        Code::from_wire(self.0.code)
    }

    /// What people should read.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The exit code of the process that failed, if one of a container of the frontend's did.
    pub fn exit_code(&self) -> Option<u32> {
        self.0.details.iter().find_map(|detail| match detail {
            Detail::Exit(code) => Some(*code),
            _ => None,
        })
    }

    pub(crate) fn with(self, detail: Detail) -> Self {
        Self(self.0.with(detail))
    }

    pub(crate) fn from_wire(status: &tonic::Status) -> Self {
        Self(RichStatus::from_status(status))
    }

    #[cfg(feature = "daemon")]
    pub(crate) fn to_status(&self) -> tonic::Status {
        self.0.to_status()
    }
}

/// A span as LLB has it: lines from 1, characters from 0.
pub(crate) fn range(source: &Source, span: kiln_document::Span) -> SourceRange {
    let position = |offset: usize| {
        let position = source.position(offset);
        let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        SourcePosition { line: number(position.line), character: number(position.character - 1) }
    };
    SourceRange { start: position(span.start), end: position(span.end) }
}

#[cfg(feature = "pb")]
impl FrontendError {
    /// The status as it travels.
    pub fn status(&self) -> &RichStatus {
        &self.0
    }

    /// The status as it travels.
    pub fn into_status(self) -> RichStatus {
        self.0
    }
}

#[cfg(feature = "pb")]
impl From<RichStatus> for FrontendError {
    fn from(status: RichStatus) -> Self {
        Self(status)
    }
}

#[cfg(feature = "pb")]
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
