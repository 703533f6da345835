//! Connections that are made ahead, so that a process does not wait for its own.
//!
//! Each is used once: what a process did to its network does not outlive it.

use std::fmt::Debug;

use tokio::sync::{Mutex, mpsc};

/// What was made ahead, in the order in which it was made.
#[derive(Debug)]
pub(crate) struct Pool<T, E> {
    ready: Mutex<mpsc::Receiver<Result<T, E>>>,
}

/// Where a maker leaves what it has made. It waits while there is enough, and ends when the pool is
/// closed.
pub(crate) type Filler<T, E> = mpsc::Sender<Result<T, E>>;

impl<T: Debug, E: Debug> Pool<T, E> {
    /// A pool for `size` connections, of which there are none yet.
    pub(crate) fn new(size: usize) -> (Self, Filler<T, E>) {
        let (filler, ready) = mpsc::channel(size.max(1));
        (Self { ready: Mutex::new(ready) }, filler)
    }

    /// Takes one; nothing, once the pool is closed.
    ///
    /// # Errors
    ///
    /// Why none can be made now; what went wrong earlier is tried again.
    pub(crate) async fn take(&self) -> Option<Result<T, E>> {
        let mut ready = self.ready.lock().await;
        let earlier = ready.len();
        let mut result = ready.recv().await?;
        for _ in 0..=earlier {
            if result.is_ok() {
                break;
            }
            result = ready.recv().await?;
        }
        Some(result)
    }

    /// Makes no more, and gives up what is there.
    pub(crate) async fn close(&self) {
        let mut ready = self.ready.lock().await;
        ready.close();
        while ready.recv().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_earlier_error_is_not_the_answer_once_it_works_again() {
        let (pool, filler) = Pool::<u32, &str>::new(4);
        let maker = tokio::spawn(async move {
            for number in 0.. {
                let made = if number < 4 { Err("not yet") } else { Ok(number) };
                if filler.send(made).await.is_err() {
                    return;
                }
            }
        });
        while pool.ready.lock().await.len() < 4 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.take().await, Some(Ok(4)));
        assert_eq!(pool.take().await, Some(Ok(5)));
        pool.close().await;
        assert_eq!(pool.take().await, None);
        maker.await.unwrap();
    }

    #[tokio::test]
    async fn an_error_that_stays_is_the_answer() {
        let (pool, filler) = Pool::<u32, &str>::new(2);
        tokio::spawn(async move { while filler.send(Err("full")).await.is_ok() {} });
        assert_eq!(pool.take().await, Some(Err("full")));
    }
}
