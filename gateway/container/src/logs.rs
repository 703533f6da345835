//! What a process writes, on its way to those who watch.
//!
//! A process may write without end; what is passed on is limited in size, and the last part is kept
//! back so that the end, which says why it failed, is always shown.

use std::collections::VecDeque;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use kiln_engine::JobContext;
use kiln_progress::Stream;
use tokio::io::{AsyncRead, AsyncReadExt};

/// How much of a stream is passed on as it comes, in bytes.
const LIMIT: usize = 2 << 20;
/// How much of what came after that is shown at the end, in bytes.
const TAIL: usize = 256 << 10;

/// Passes a stream on until it ends.
pub(crate) async fn forward(job: JobContext, stream: Stream, mut from: impl AsyncRead + Unpin) {
    let mut buffer = BytesMut::with_capacity(32 << 10);
    let mut passed = 0;
    let mut tail = Tail::default();
    loop {
        buffer.reserve(32 << 10);
        match from.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let data = buffer.split().freeze();
        if passed < LIMIT {
            passed += data.len();
            job.progress.log(&job.vertex, stream, SystemTime::now(), data);
            if passed >= LIMIT {
                let note = format!("\n[output clipped, log limit {} MiB reached]\n", LIMIT >> 20);
                job.progress.log(&job.vertex, stream, SystemTime::now(), note.into());
            }
        } else {
            tail.push(data);
        }
    }
    for data in tail.pieces {
        job.progress.log(&job.vertex, stream, SystemTime::now(), data);
    }
}

/// The last pieces of a stream.
#[derive(Default)]
struct Tail {
    pieces: VecDeque<Bytes>,
    len: usize,
}

impl Tail {
    fn push(&mut self, data: Bytes) {
        self.len += data.len();
        self.pieces.push_back(data);
        while self.len > TAIL {
            match self.pieces.pop_front() {
                Some(old) => self.len -= old.len(),
                None => break,
            }
        }
    }
}
