//! How fast the bytes of an answer have to come.
//!
//! A server that has fallen silent, or sends a byte now and then, would hold a build for ever. Only
//! the time in which we wait for it counts, not what whoever takes the bytes needs.

use std::future::Future;
use std::time::{Duration, Instant};

/// The least that is expected of a server.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long it may be silent, and over which time its bytes are counted.
    pub window: Duration,
    /// How many bytes have to come in a second, on average over a window.
    pub bytes_per_second: u64,
}

/// What a server did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooSlow {
    /// Nothing came for a whole window.
    Silent,
    /// Not enough came in a window.
    Dripping,
}

/// The bytes of one answer.
#[derive(Debug)]
pub struct Watch {
    pace: Pace,
    /// In this window.
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// What is wrong, in words.
    pub fn describe(self, fault: TooSlow) -> String {
        let seconds = self.window.as_secs_f32();
        match fault {
            TooSlow::Silent => format!("sent nothing for {seconds} s"),
            TooSlow::Dripping => {
                let rate = self.bytes_per_second;
                format!("sent less than {rate} bytes a second for {seconds} s")
            }
        }
    }
}

impl Watch {
    /// Nothing has come yet.
    pub fn new(pace: Pace) -> Self {
        Self { pace, waited: Duration::ZERO, bytes: 0 }
    }

    /// Waits for the next piece of the answer, and counts it by `len`.
    ///
    /// # Errors
    ///
    /// If the server is too slow.
    pub async fn next<T>(
        &mut self,
        piece: impl Future<Output = T>,
        len: impl FnOnce(&T) -> usize,
    ) -> Result<T, TooSlow> {
        let began = Instant::now();
        let piece = tokio::time::timeout(self.pace.window, piece).await;
        let piece = piece.map_err(|_| TooSlow::Silent)?;
        self.count(began.elapsed(), len(&piece) as u64)?;
        Ok(piece)
    }

    fn count(&mut self, waited: Duration, bytes: u64) -> Result<(), TooSlow> {
        self.waited += waited;
        self.bytes += bytes;
        if self.waited < self.pace.window {
            return Ok(());
        }
        let milliseconds = u64::try_from(self.waited.as_millis()).unwrap_or(u64::MAX);
        let least = self.pace.bytes_per_second.saturating_mul(milliseconds) / 1000;
        let enough = self.bytes >= least;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        if enough { Ok(()) } else { Err(TooSlow::Dripping) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn watch() -> Watch {
        Watch::new(Pace { window: SECOND * 10, bytes_per_second: 100 })
    }

    #[test]
    fn a_slow_server_is_fast_enough_if_it_keeps_up_over_a_while() {
        let mut watch = watch();
        for _ in 0..100 {
            assert_eq!(watch.count(SECOND * 9, 900), Ok(()));
            assert_eq!(watch.count(SECOND, 100), Ok(()));
        }
    }

    #[test]
    fn a_server_that_drips_is_too_slow() {
        let mut watch = watch();
        for _ in 0..9 {
            assert_eq!(watch.count(SECOND, 1), Ok(()));
        }
        assert_eq!(watch.count(SECOND, 1), Err(TooSlow::Dripping));
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_given_up() {
        let pace = Pace { window: Duration::from_millis(10), bytes_per_second: 1 };
        let mut watch = Watch::new(pace);
        let silent = watch.next(std::future::pending::<()>(), |()| 0).await;
        assert_eq!(silent, Err(TooSlow::Silent));
        assert_eq!(pace.describe(TooSlow::Silent), "sent nothing for 0.01 s");
    }
}
