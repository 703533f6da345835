//! Asks clients whether they are still there.
//!
//! A client may hang without closing its connection, and every build that waits for it with it.
//! Being slow is no hanging: whatever arrives from a client is a sign of life, so a session is over
//! only if checks fail in a row and nothing at all has come for long.

use std::time::Duration;

use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::caller::Traffic;
use crate::waiting;

/// How often to ask and how long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Time between two checks.
    pub interval: Duration,
    /// How long an answer may take, at least; slow answers raise it.
    pub timeout: Duration,
    /// So many checks in a row have to fail.
    pub failures: u32,
    /// For so long nothing may have come from the client, neither answers nor anything else.
    pub silence: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(15),
            failures: 2,
            silence: Duration::from_secs(60),
        }
    }
}

/// How a check failed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Failure {
    /// There was no answer.
    Silent,
    /// There can be none, because the connection inside the tunnel is broken.
    Broken(String),
}

/// What is known about a client.
#[derive(Debug)]
struct Pulse {
    health: Health,
    /// How long the next answer may take.
    timeout: Duration,
    failed: u32,
    heard: u64,
    quiet: Duration,
}

impl Health {
    /// The same, if the client asks for another time to answer. It is then ended by the first check
    /// that fails.
    pub(crate) fn wanted(self, custom: Option<Duration>) -> Self {
        match custom {
            Some(time) => Self { interval: time, timeout: time, failures: 1, silence: time },
            None => self,
        }
    }

    /// Checks until the client is gone; the answer is why.
    pub(crate) async fn watch(self, channel: Channel, traffic: &Traffic) -> String {
        let mut client = HealthClient::new(channel);
        let mut pulse = Pulse::new(self, traffic.heard());
        loop {
            let pause = std::future::pending::<()>();
            waiting::in_steps(self.interval, pause, |step| pulse.passed(step, traffic.heard()))
                .await;
            let mut took = Duration::ZERO;
            let check = client.check(HealthCheckRequest::default());
            let answer = waiting::in_steps(pulse.timeout, check, |step| {
                took += step;
                pulse.passed(step, traffic.heard());
            });
            let outcome = judge(answer.await.map(|answer| answer.map(drop)));
            if let Err(failure) = &outcome {
                tracing::debug!(?failure, quiet = ?pulse.quiet, "health check of a session failed");
            }
            if let Some(cause) = pulse.checked(outcome, took) {
                return cause;
            }
        }
    }
}

/// What the end of a check means; `None` is no answer.
fn judge(answer: Option<Result<(), Status>>) -> Result<(), Failure> {
    match answer {
        None => Err(Failure::Silent),
        Some(Err(status)) if is_broken(&status) => Err(Failure::Broken(status.message().into())),
        // A client without the service answers, too.
        Some(_) => Ok(()),
    }
}

/// Whether a status says that the connection is broken, and not what the client thinks.
fn is_broken(status: &Status) -> bool {
    let source = std::error::Error::source(status);
    status.code() != Code::Unimplemented
        && source.is_some_and(|source| source.is::<tonic::transport::Error>())
}

impl Pulse {
    fn new(health: Health, heard: u64) -> Self {
        Self { health, timeout: health.timeout, failed: 0, heard, quiet: Duration::ZERO }
    }

    /// A step of time is over; so many messages have come until now.
    fn passed(&mut self, step: Duration, heard: u64) {
        self.quiet = if heard == self.heard { self.quiet + step } else { Duration::ZERO };
        self.heard = heard;
    }

    /// A check is over, after so long; says why the client is gone, if it is.
    fn checked(&mut self, outcome: Result<(), Failure>, took: Duration) -> Option<String> {
        self.timeout = self.health.timeout.max(took.mul_f32(1.5));
        let Err(failure) = outcome else {
            (self.failed, self.quiet) = (0, Duration::ZERO);
            return None;
        };
        self.failed += 1;
        if self.failed < self.health.failures {
            return None;
        }
        let Self { failed, quiet, .. } = self;
        match failure {
            Failure::Broken(reason) => {
                Some(format!("health check failed ({failed} in a row): {reason}"))
            }
            Failure::Silent if *quiet >= self.health.silence => Some(format!(
                "health check failed ({failed} in a row): nothing came from the client for {quiet:?}"
            )),
            Failure::Silent => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn silent(pulse: &mut Pulse, took: u32) -> Option<String> {
        pulse.checked(Err(Failure::Silent), SECOND * took)
    }

    #[test]
    fn checks_that_fail_do_not_end_a_client_that_sends() {
        let mut pulse = Pulse::new(Health::default(), 0);
        for heard in 1..100 {
            pulse.passed(SECOND * 20, heard);
            assert_eq!(silent(&mut pulse, 20), None);
        }
        pulse.passed(SECOND * 59, 99);
        assert_eq!(silent(&mut pulse, 20), None);
        pulse.passed(SECOND, 99);
        let cause = silent(&mut pulse, 20).unwrap();
        assert!(cause.ends_with("in a row): nothing came from the client for 60s"), "{cause}");
    }

    #[test]
    fn a_silent_client_needs_no_check_to_be_there() {
        let mut pulse = Pulse::new(Health::default(), 7);
        pulse.passed(SECOND * 1000, 7);
        assert_eq!(pulse.checked(Ok(()), SECOND), None);
        assert_eq!(silent(&mut pulse, 15), None);
        assert_eq!(silent(&mut pulse, 15), None, "it answered a moment ago");
    }

    #[test]
    fn slow_answers_are_given_more_time() {
        let mut pulse = Pulse::new(Health::default(), 0);
        pulse.checked(Ok(()), SECOND * 12);
        assert_eq!(pulse.timeout, SECOND * 18);
        pulse.checked(Ok(()), SECOND);
        assert_eq!(pulse.timeout, SECOND * 15);
    }

    #[test]
    fn a_broken_connection_is_not_waited_for() {
        let mut pulse = Pulse::new(Health::default(), 0);
        let broken = || Err(Failure::Broken("gone".into()));
        assert_eq!(pulse.checked(broken(), SECOND), None);
        assert_eq!(
            pulse.checked(broken(), SECOND).unwrap(),
            "health check failed (2 in a row): gone"
        );
    }

    #[test]
    fn a_client_may_ask_for_less_time() {
        let mut pulse = Pulse::new(Health::default().wanted(Some(SECOND * 2)), 0);
        pulse.passed(SECOND * 2, 0);
        assert!(silent(&mut pulse, 2).is_some());
    }
}
