//! The body of an answer on its way to the step, hashed while it passes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use kiln_oci::Digest;
use sha2::{Digest as _, Sha256};

use crate::capture::{Capture, Gap, Reason};
use crate::exchange;

/// What is noted of a body once it has come to its end.
pub(crate) struct Note {
    pub(crate) capture: Arc<Capture>,
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) status: StatusCode,
    /// What is known to be wrong with it already.
    pub(crate) gap: Option<Reason>,
}

/// See the module.
pub(crate) struct Hashed {
    body: Incoming,
    hash: Sha256,
    /// Taken when it is written down.
    note: Option<Note>,
}

impl Hashed {
    pub(crate) fn new(body: Incoming, note: Note) -> Self {
        let mut hashed = Self { body, hash: Sha256::new(), note: Some(note) };
        if hashed.body.is_end_stream() {
            hashed.end(true);
        }
        hashed
    }

    /// Writes down what came, before the step can know that it was all.
    fn end(&mut self, is_whole: bool) {
        let Some(Note { capture, method, url, status, gap }) = self.note.take() else { return };
        if let Some(reason) = gap.or_else(|| exchange::gap_at_end(status, is_whole)) {
            return capture.gap(Gap { method, url, reason });
        }
        let digest = format!("sha256:{}", hex::encode(self.hash.clone().finalize()));
        if let (true, Ok(digest)) = (status.is_success(), digest.parse::<Digest>()) {
            capture.material(url, digest);
        }
    }
}

impl Body for Hashed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.hash.update(data);
                }
                if self.body.is_end_stream() {
                    self.end(true);
                }
            }
            Some(Err(_)) => self.end(false),
            None => self.end(true),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Hashed {
    /// The step has left before its end.
    fn drop(&mut self) {
        self.end(false);
    }
}
