//! The shell around a display: reads the channel, the clock and the terminal, and writes.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use kiln_progress::{Progress, Receiver};
use tokio::time::MissedTickBehavior;

use super::display::Display;
use super::screen::Size;

/// How often is drawn.
const TICK: Duration = Duration::from_millis(100);
/// How many values are taken in before drawing.
const BATCH: usize = 1024;
/// The size of a terminal that does not tell.
const DEFAULT_SIZE: Size = Size { columns: 80, rows: 24 };

/// Shows progress on standard error until all senders are gone; `observe` sees each batch first.
///
/// # Errors
///
/// What `observe` says. A standard error that is gone stops the display, not the build.
///
/// # Cancellation
///
/// Safe at any await; a screen is then left as it is, with the cursor hidden.
pub(crate) async fn watch(
    mut receiver: Receiver,
    mut display: Display,
    observe: &mut (dyn FnMut(&[Progress]) -> io::Result<()> + Send),
) -> io::Result<()> {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut batch: Vec<Progress> = Vec::with_capacity(BATCH);
    let mut seen = true;
    loop {
        tokio::select! {
            count = receiver.recv_many(&mut batch, BATCH) => {
                if count == 0 {
                    break;
                }
                observe(&batch)?;
                let now = SystemTime::now();
                for progress in batch.drain(..) {
                    display.apply(progress, now);
                }
            }
            _ = ticks.tick() => {
                if seen {
                    seen = show(&display.render(SystemTime::now(), size()));
                }
            }
        }
    }
    if seen {
        show(&display.finish(SystemTime::now(), size()));
    }
    Ok(())
}

/// Writes to standard error; returns whether anybody reads it.
fn show(bytes: &[u8]) -> bool {
    let mut stderr = io::stderr().lock();
    bytes.is_empty() || stderr.write_all(bytes).and_then(|()| stderr.flush()).is_ok()
}

/// The size of the terminal, asked of the kernel alone: without one there is nobody to ask.
fn size() -> Size {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            Size { columns: usize::from(size.ws_col), rows: usize::from(size.ws_row) }
        }
        _ => DEFAULT_SIZE,
    }
}
