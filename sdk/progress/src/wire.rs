//! Progress as `StatusResponse` messages, and back.

use std::time::{Duration, SystemTime};

use kiln_oci::Digest;
use kiln_pb::control;
use kiln_pb::pb;
use prost_types::Timestamp;

use crate::{Log, Progress, Stream, Vertex, VertexStatus, Warning};

/// The largest piece of log in one message, in bytes.
const LOG_SPLIT_BYTES: usize = 1 << 20;

/// Packs a batch into messages; logs beyond 1 MiB start a new message.
pub fn to_responses(batch: impl IntoIterator<Item = Progress>) -> Vec<control::StatusResponse> {
    let mut responses = vec![control::StatusResponse::default()];
    let mut log_bytes = 0;
    for progress in batch {
        if log_bytes > LOG_SPLIT_BYTES {
            responses.push(control::StatusResponse::default());
            log_bytes = 0;
        }
        let Some(response) = responses.last_mut() else { break };
        match progress {
            Progress::Vertex(vertex) => response.vertexes.push(vertex.into()),
            Progress::Status(status) => response.statuses.push(status.into()),
            Progress::Warning(warning) => response.warnings.push(warning.into()),
            Progress::Log(log) => {
                log_bytes += log.data.len();
                response.logs.push(log.into());
            }
        }
    }
    responses.retain(|response| *response != control::StatusResponse::default());
    responses
}

/// Unpacks a message. Entries with malformed digests are left out: they could not be shown.
pub fn from_response(response: control::StatusResponse) -> Vec<Progress> {
    let vertices =
        response.vertexes.into_iter().filter_map(|v| vertex_from(v).map(Progress::Vertex));
    let statuses =
        response.statuses.into_iter().filter_map(|s| status_from(s).map(Progress::Status));
    let logs = response.logs.into_iter().filter_map(|l| log_from(l).map(Progress::Log));
    let warnings =
        response.warnings.into_iter().filter_map(|w| warning_from(w).map(Progress::Warning));
    vertices.chain(statuses).chain(logs).chain(warnings).collect()
}

/// A progress group as it travels.
pub fn progress_group(id: &str, name: &str, weak: bool) -> pb::ProgressGroup {
    pb::ProgressGroup { id: id.to_owned(), name: name.to_owned(), weak }
}

/// A time as it travels.
pub fn timestamp(time: SystemTime) -> Timestamp {
    time.into()
}

/// A time as it came; times before 1970 become 1970.
pub fn system_time(timestamp: Timestamp) -> SystemTime {
    SystemTime::try_from(timestamp).unwrap_or(SystemTime::UNIX_EPOCH + Duration::ZERO)
}

impl From<Vertex> for control::Vertex {
    fn from(vertex: Vertex) -> Self {
        Self {
            digest: vertex.digest.to_string(),
            inputs: vertex.inputs.iter().map(ToString::to_string).collect(),
            name: vertex.name,
            cached: vertex.cached,
            started: vertex.started.map(timestamp),
            completed: vertex.completed.map(timestamp),
            error: vertex.error,
            progress_group: vertex.progress_group,
        }
    }
}

fn vertex_from(vertex: control::Vertex) -> Option<Vertex> {
    Some(Vertex {
        digest: vertex.digest.parse().ok()?,
        inputs: vertex.inputs.iter().filter_map(|input| input.parse::<Digest>().ok()).collect(),
        name: vertex.name,
        cached: vertex.cached,
        started: vertex.started.map(system_time),
        completed: vertex.completed.map(system_time),
        error: vertex.error,
        progress_group: vertex.progress_group,
    })
}

impl From<VertexStatus> for control::VertexStatus {
    fn from(status: VertexStatus) -> Self {
        Self {
            id: status.id,
            vertex: status.vertex.to_string(),
            name: status.name,
            current: i64::try_from(status.current).unwrap_or(i64::MAX),
            total: i64::try_from(status.total).unwrap_or(i64::MAX),
            timestamp: Some(timestamp(status.timestamp)),
            started: status.started.map(timestamp),
            completed: status.completed.map(timestamp),
        }
    }
}

fn status_from(status: control::VertexStatus) -> Option<VertexStatus> {
    Some(VertexStatus {
        id: status.id,
        vertex: status.vertex.parse().ok()?,
        name: status.name,
        current: u64::try_from(status.current).unwrap_or(0),
        total: u64::try_from(status.total).unwrap_or(0),
        timestamp: status.timestamp.map_or(SystemTime::UNIX_EPOCH, system_time),
        started: status.started.map(system_time),
        completed: status.completed.map(system_time),
    })
}

impl From<Log> for control::VertexLog {
    fn from(log: Log) -> Self {
        let stream = match log.stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        };
        Self {
            vertex: log.vertex.to_string(),
            timestamp: Some(timestamp(log.timestamp)),
            stream,
            msg: log.data,
        }
    }
}

fn log_from(log: control::VertexLog) -> Option<Log> {
    Some(Log {
        vertex: log.vertex.parse().ok()?,
        timestamp: log.timestamp.map_or(SystemTime::UNIX_EPOCH, system_time),
        stream: if log.stream == 2 { Stream::Stderr } else { Stream::Stdout },
        data: log.msg,
    })
}

impl From<Warning> for control::VertexWarning {
    fn from(warning: Warning) -> Self {
        Self {
            vertex: warning.vertex.to_string(),
            level: warning.level,
            short: warning.short.into(),
            detail: warning.detail.into_iter().map(Into::into).collect(),
            url: warning.url,
            info: warning.info,
            ranges: warning.ranges,
        }
    }
}

fn warning_from(warning: control::VertexWarning) -> Option<Warning> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(Warning {
        vertex: warning.vertex.parse().ok()?,
        level: warning.level,
        short: text(&warning.short),
        detail: warning.detail.iter().map(|line| text(line)).collect(),
        url: warning.url,
        info: warning.info,
        ranges: warning.ranges,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_survives_the_wire() {
        let digest = Digest::sha256("v");
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1500);
        let mut vertex = Vertex::new(digest.clone(), "[1/2] RUN make");
        vertex.started = Some(time);
        let log =
            Log { vertex: digest, timestamp: time, stream: Stream::Stderr, data: "hello\n".into() };
        let batch = vec![Progress::Vertex(vertex), Progress::Log(log)];
        let responses = to_responses(batch.clone());
        assert_eq!(responses.len(), 1);
        assert_eq!(from_response(responses[0].clone()), batch);
    }

    #[test]
    fn large_logs_are_split() {
        let log = |byte: u8| {
            Progress::Log(Log {
                vertex: Digest::sha256("v"),
                timestamp: SystemTime::UNIX_EPOCH,
                stream: Stream::Stdout,
                data: vec![byte; LOG_SPLIT_BYTES + 1].into(),
            })
        };
        assert_eq!(to_responses([log(1), log(2), log(3)]).len(), 3);
    }
}
