//! When a request is sent again: one rule for all of them, tokens included.
//!
//! A failure comes in, the time to wait goes out, if there is another attempt. A server that says
//! how long to wait is obeyed within reason. Nothing is sent from here.

use std::time::{Duration, Instant, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

use crate::error::RegistryError;

/// A server is not obeyed if it wants us to wait longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How an attempt failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Trying again may help; the server may have said when.
    Passing(RegistryError, Option<Duration>),
    /// There was no TLS.
    NoTls(RegistryError),
    /// Trying again does not help.
    Final(RegistryError),
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Stalled { .. } => Self::Passing(error, None),
            error => Self::Final(error),
        }
    }
}

impl Failure {
    pub(crate) fn into_error(self) -> RegistryError {
        match self {
            Self::Passing(error, _) | Self::NoTls(error) | Self::Final(error) => error,
        }
    }
}

/// The attempts at one thing.
#[derive(Debug)]
pub(crate) struct Retry {
    delays: Vec<Duration>,
    /// Attempts that failed since the last progress.
    failed: usize,
    /// All of them.
    attempts: usize,
    began: Instant,
}

impl Retry {
    /// As many further attempts as there are delays.
    pub(crate) fn new(delays: &[Duration]) -> Self {
        Self { delays: delays.to_vec(), failed: 0, attempts: 0, began: Instant::now() }
    }

    /// Something was achieved since the last failure.
    pub(crate) fn progressed(&mut self) {
        self.failed = 0;
    }

    /// How long to wait before the next attempt, or the error if this was the last.
    pub(crate) fn after(&mut self, failure: Failure) -> Result<Again, RegistryError> {
        self.attempts += 1;
        let (error, wait) = match failure {
            Failure::Passing(error, wait) => (error, wait),
            failure => return Err(failure.into_error()),
        };
        let delay = self.delays.get(self.failed).map(|delay| wait.unwrap_or(*delay));
        self.failed += 1;
        match delay.filter(|delay| *delay <= LONGEST_WAIT) {
            Some(wait) => Ok(Again { wait, because: error }),
            None => Err(error.after(self.attempts, self.began.elapsed())),
        }
    }
}

/// Another attempt.
#[derive(Debug)]
pub(crate) struct Again {
    /// After so long.
    pub(crate) wait: Duration,
    /// What went wrong.
    pub(crate) because: RegistryError,
}

/// Whether a status is that of a server that is busy or broken for the moment.
pub(crate) fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504)
}

/// How long a server wants us to wait, in seconds or until a date.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            Some(date.duration_since(now).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAYS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

    fn busy(wait: Option<u64>) -> Failure {
        let error = RegistryError::protocol("x", "host", "busy");
        Failure::Passing(error, wait.map(Duration::from_secs))
    }

    fn waits(retry: &mut Retry, failure: Failure) -> Option<u64> {
        retry.after(failure).ok().map(|again| again.wait.as_secs())
    }

    #[test]
    fn waits_grow_until_there_are_no_more() {
        let mut retry = Retry::new(&DELAYS);
        assert_eq!(waits(&mut retry, busy(None)), Some(1));
        assert_eq!(waits(&mut retry, busy(None)), Some(2));
        retry.progressed();
        assert_eq!(waits(&mut retry, busy(None)), Some(1));
        assert_eq!(waits(&mut retry, busy(Some(7))), Some(7));
        assert_eq!(waits(&mut retry, busy(None)), None);
    }

    #[test]
    fn what_does_not_pass_is_not_tried_again() {
        let mut retry = Retry::new(&DELAYS);
        assert_eq!(waits(&mut retry, busy(Some(61))), None);
        let Failure::Passing(error, _) = busy(None) else { unreachable!() };
        assert_eq!(waits(&mut Retry::new(&DELAYS), Failure::Final(error)), None);
    }

    #[test]
    fn a_server_says_when_in_seconds_or_by_the_clock() {
        let now = httpdate::parse_http_date("Fri, 27 Nov 2026 15:11:59 GMT").unwrap();
        for (text, want) in [
            ("5", Some(5)),
            ("Fri, 27 Nov 2026 15:12:09 GMT", Some(10)),
            ("Fri, 27 Nov 2026 15:00:00 GMT", Some(0)),
            ("soon", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), want.map(Duration::from_secs), "{text}");
        }
    }
}
