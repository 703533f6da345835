//! Waiting for a client, counted in time that this process had itself.
//!
//! A machine under load, or a process that was stopped, must not conclude that the other side was
//! silent for all that time. A limit is therefore passed in steps: a step that took longer than it
//! should counts as one step, because whoever answers had to wait for the same machine.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures::stream::{BoxStream, Stream, StreamExt};

/// In how many steps a limit is passed.
const STEPS: u32 = 50;

/// How long a client may send nothing of what it was asked for.
pub(crate) const SILENCE: Duration = Duration::from_secs(300);

/// Waits at most so long; `None` if that was not enough. `passed` is called after every step with
/// its length.
pub(crate) async fn in_steps<T>(
    limit: Duration,
    what: impl Future<Output = T>,
    mut passed: impl FnMut(Duration),
) -> Option<T> {
    let mut what = pin!(what);
    let step = (limit / STEPS).max(Duration::from_millis(1));
    let mut waited = Duration::ZERO;
    while waited < limit {
        match tokio::time::timeout(step, &mut what).await {
            Ok(done) => return Some(done),
            Err(_) => {
                waited += step;
                passed(step);
            }
        }
    }
    None
}

/// Waits at most so long; `None` if that was not enough.
pub(crate) async fn at_most<T>(limit: Duration, what: impl Future<Output = T>) -> Option<T> {
    in_steps(limit, what, drop).await
}

/// The stream, ending with `late` if it is silent for `limit`.
pub(crate) fn not_silent<T: Send + 'static, E: Send + 'static>(
    stream: impl Stream<Item = Result<T, E>> + Send + Unpin + 'static,
    limit: Duration,
    late: impl FnOnce() -> E + Send + 'static,
) -> BoxStream<'static, Result<T, E>> {
    let state = Some((stream, late));
    futures::stream::unfold(state, move |state| async move {
        let (mut stream, late) = state?;
        match at_most(limit, stream.next()).await {
            Some(item) => Some((item?, Some((stream, late)))),
            None => Some((Err(late()), None)),
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_limit_is_passed_step_by_step() {
        let mut steps = Vec::new();
        let pending = std::future::pending::<()>();
        assert_eq!(in_steps(LIMIT, pending, |step| steps.push(step)).await, None);
        assert_eq!(steps, [Duration::from_millis(1); 50]);
        assert_eq!(at_most(LIMIT, async { 1 }).await, Some(1));
    }

    #[tokio::test]
    async fn a_process_that_was_stopped_does_not_blame_others() {
        let answer = async {
            // Nothing else runs meanwhile, and the limit is over.
            std::thread::sleep(LIMIT * 2);
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        };
        assert_eq!(at_most(LIMIT, answer).await, Some(()));
    }

    #[tokio::test]
    async fn a_stream_that_falls_silent_ends() {
        let stream = futures::stream::iter([Ok(1), Err("no"), Ok(2)]);
        let stream = stream.chain(futures::stream::pending()).boxed();
        let items: Vec<_> = not_silent(stream, LIMIT, || "late").collect().await;
        assert_eq!(items, [Ok(1), Err("no"), Ok(2), Err("late")]);
        let ends = not_silent(futures::stream::iter([Ok::<_, &str>(1)]), LIMIT, || "late");
        assert_eq!(ends.collect::<Vec<_>>().await, [Ok(1)]);
    }
}
