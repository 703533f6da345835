//! Watches over what is sent: a registry that takes no bytes would hold a build for ever.
//!
//! How long an upload takes is not known, but bytes have to go on leaving; and once all have left, the
//! registry has some time to put them where they belong.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};

/// For so many windows no byte may leave; the source of the bytes may be what is slow.
const STANDSTILL: u32 = 4;
/// For so many windows a registry may be busy with what it has.
const FINISH: u32 = 10;

/// How many bytes of a body have been taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent(Arc<AtomicU64>);

impl Sent {
    /// The body, counted while it is read.
    pub(crate) fn count<E, S: Stream<Item = Result<Bytes, E>>>(
        &self,
        body: S,
    ) -> impl Stream<Item = Result<Bytes, E>> + use<E, S> {
        let sent = Arc::clone(&self.0);
        body.inspect_ok(move |bytes| {
            sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        })
    }

    /// Waits for the answer to a body of `len` bytes; how long nothing happened if that is too long.
    pub(crate) async fn watch<T>(
        &self,
        len: u64,
        window: Duration,
        answer: impl Future<Output = T>,
    ) -> Result<T, Duration> {
        let mut answer = std::pin::pin!(answer);
        let (mut seen, mut still) = (0, 0);
        loop {
            if let Ok(answer) = tokio::time::timeout(window, &mut answer).await {
                return Ok(answer);
            }
            let sent = self.0.load(Ordering::Relaxed);
            (seen, still) = if sent == seen { (seen, still + 1) } else { (sent, 0) };
            if still >= if sent < len { STANDSTILL } else { FINISH } {
                return Err(window * still);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(5);

    #[tokio::test]
    async fn bytes_have_to_go_on_leaving() {
        let sent = Sent::default();
        let never = std::future::pending::<()>();
        assert_eq!(sent.watch(10, WINDOW, never).await, Err(WINDOW * STANDSTILL));
        let taken = sent.clone();
        let slow = async move {
            for _ in 0..10 {
                tokio::time::sleep(WINDOW * 2).await;
                taken.0.fetch_add(1, Ordering::Relaxed);
            }
        };
        assert_eq!(sent.watch(20, WINDOW, slow).await, Ok(()));
        let never = std::future::pending::<()>();
        assert_eq!(sent.watch(10, WINDOW, never).await, Err(WINDOW * FINISH));
    }
}
