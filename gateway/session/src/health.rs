//! Asks clients whether they are still there.
//!
//! A client may hang without closing its connection, and every build that waits for it with it. Two
//! checks in a row that fail end the session.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// How often to ask and how long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Time between two checks.
    pub interval: Duration,
    /// How long an answer may take, at least; slow answers raise it.
    pub timeout: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Self { interval: Duration::from_secs(5), timeout: Duration::from_secs(15) }
    }
}

impl Health {
    /// Checks until two checks in a row have failed; the answer is why.
    pub(crate) async fn watch(self, channel: Channel) -> String {
        let mut client = HealthClient::new(channel);
        let mut timeout = self.timeout;
        let mut failed = false;
        loop {
            tokio::time::sleep(self.interval).await;
            let started = Instant::now();
            let check = client.check(HealthCheckRequest::default());
            let failure = match tokio::time::timeout(timeout, check).await {
                Ok(Ok(_)) => None,
                // An answer all the same.
                Ok(Err(status)) if status.code() == Code::Unimplemented => None,
                Ok(Err(status)) => Some(status.message().to_owned()),
                Err(_) => Some(format!("no answer within {timeout:?}")),
            };
            timeout = self.timeout.max(started.elapsed().mul_f32(1.5));
            match failure {
                Some(failure) if failed => return format!("health check failed twice: {failure}"),
                Some(failure) => {
                    tracing::debug!(failure, "health check of a session failed once");
                    failed = true;
                }
                None => failed = false,
            }
        }
    }
}
