//! Errors of the engine as gRPC statuses, with the places in the user's files.

use kiln_cdi::DeviceError;
use kiln_engine::{ErrorKind, OpError, SolveError};
use kiln_graph::{LoadError, Location, Vertex};
use kiln_wire::pb;
use kiln_wire::status::{Detail, RichStatus, Source};
use kiln_worker::LostLayer;
use tonic::Code;

use crate::stack;

/// Any error with all its causes as a status: something failed, and it is nobody's mistake, or a layer
/// was lost.
pub fn failed_status(error: &(dyn std::error::Error + 'static)) -> RichStatus {
    let kind = if LostLayer::is_cause_of(error) { ErrorKind::Lost } else { ErrorKind::Failed };
    op_status(&OpError::from_error(kind, error))
}

/// An operation's error as a status.
pub fn op_status(error: &OpError) -> RichStatus {
    let code = match error.kind {
        ErrorKind::Failed => Code::Unknown,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::Denied => Code::PermissionDenied,
        ErrorKind::Exhausted => Code::ResourceExhausted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Lost => Code::DataLoss,
        ErrorKind::Cancelled => Code::Cancelled,
        ErrorKind::Unsupported => Code::Unimplemented,
    };
    let status = RichStatus::new(code, error.message.clone());
    match error.exit_code {
        Some(code) => status.with(Detail::Exit(code)),
        None => status,
    }
}

/// The error of a vertex as a status that names the vertex and where it comes from.
pub fn solve_status<R>(error: &SolveError<R>) -> RichStatus {
    let status = op_status(&error.error);
    match &error.vertex {
        Some(vertex) => located(status, vertex),
        None => status,
    }
}

fn located(status: RichStatus, vertex: &Vertex) -> RichStatus {
    let status = status.with(stack::here("solve"));
    let status = status.with(Detail::Vertex(vertex.digest.to_string()));
    // Clients take the details from the inside, where the last location is.
    vertex
        .locations
        .iter()
        .rev()
        .fold(status, |status, location| status.with(Detail::Source(source(location))))
}

/// Why a definition is none, as a status with the place in the user's file.
pub(crate) fn load_status(error: &LoadError, definition: &pb::Definition) -> RichStatus {
    let code = match error {
        LoadError::Entitlement(_) => Code::PermissionDenied,
        LoadError::Device { source: DeviceError::Denied(_) | DeviceError::Disabled(_), .. } => {
            Code::PermissionDenied
        }
        _ => Code::InvalidArgument,
    };
    let mut message = error.to_string();
    if let Some(source) = std::error::Error::source(error)
        && !message.contains(&source.to_string())
    {
        message = format!("{message}: {source}");
    }
    let status = RichStatus::new(code, message);
    error
        .locations(definition)
        .iter()
        .fold(status, |status, location| status.with(Detail::Source(source(location))))
}

fn source(location: &Location) -> Source {
    let range = |range: &kiln_graph::SourceRange| pb::Range {
        start: Some(pb::Position { line: range.start_line, character: range.start_character }),
        end: Some(pb::Position { line: range.end_line, character: range.end_character }),
    };
    Source {
        info: pb::SourceInfo {
            filename: location.file.filename.clone(),
            data: location.file.data.clone().into(),
            definition: location.file.definition.clone(),
            language: location.file.language.clone(),
        },
        ranges: location.ranges.iter().map(range).collect(),
    }
}
