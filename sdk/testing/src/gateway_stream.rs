//! Nonsense on the gateway's stream, for fuzzing and for tests.
//!
//! Arbitrary bytes take the place of one end of a conversation, and the other end has to come to an
//! end by itself: with an error, without a panic, and without keeping more than a few messages.
//! Start with [`PREFACE`] to get past the first step of HTTP/2.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use kiln_frontend::process::{self, FrontendProcess};
use kiln_frontend::{Bridge as _, FrontendError, Options, Ref, grpc::GrpcBridge};
use tokio::sync::oneshot;

use crate::Fixture;

/// How every HTTP/2 client begins: the preface, and settings that change nothing.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// How every HTTP/2 server begins: settings that change nothing.
pub const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
/// How often everything else gets a turn before a process that has said everything is gone.
const TURNS: usize = 512;
/// When a conversation that does not end counts as hanging.
const LIMIT: Duration = Duration::from_secs(10);

/// Whether the conversation ended by itself, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a result, which needs a whole call of `Return`.
    Well,
    /// With an error.
    InError,
}

/// The bytes are all that a frontend's process writes to its standard output.
///
/// # Panics
///
/// If the daemon's side panics or hangs; that is what this is for.
pub fn as_frontend(bytes: &[u8]) -> Ended {
    let (alive, gone) = oneshot::channel::<()>();
    let said = tokio::io::AsyncReadExt::chain(std::io::Cursor::new(bytes.to_vec()), Silence(gone));
    let io = tokio::io::join(said, tokio::io::sink());
    let ended = async move {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        drop(alive);
        process::Ended::with_code(0_u32)
    };
    let process =
        FrontendProcess { name: "nonsense".to_owned(), io, stderr: tokio::io::empty(), ended };
    let bridge = Arc::new(Fixture::new().any_image().bridge());
    run(process.converse(bridge, Some(LIMIT)))
}

/// The bytes are all that a daemon writes to a frontend's standard input.
///
/// # Panics
///
/// If the frontend's side panics or hangs; that is what this is for.
pub fn as_daemon(bytes: &[u8]) -> Ended {
    let io = tokio::io::join(std::io::Cursor::new(bytes.to_vec()), tokio::io::sink());
    run(async {
        let unavailable =
            |error: &dyn std::fmt::Display| FrontendError::internal(error.to_string());
        let channel = kiln_wire::channel::connect(io).await.map_err(|error| unavailable(&error))?;
        let bridge = GrpcBridge::connect(channel, Options::default(), String::new(), None).await?;
        bridge.read_file(&Ref("ref".to_owned()), "file", None).await?;
        Ok::<_, FrontendError>(())
    })
}

/// A stream that says nothing and is open for as long as the process lives: what is still on its way
/// is not cut off by its end.
struct Silence(oneshot::Receiver<()>);

impl tokio::io::AsyncRead for Silence {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        _: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll(context).map(|_| Ok(()))
    }
}

fn run<T, E>(conversation: impl Future<Output = Result<T, E>>) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
    let ended = runtime.block_on(async { tokio::time::timeout(LIMIT, conversation).await });
    match ended {
        Ok(Ok(_)) => Ended::Well,
        Ok(Err(_)) => Ended::InError,
        Err(_) => panic!("the conversation does not end"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_stream_that_ends_in_the_middle_is_an_error_on_both_sides() {
        for bytes in [&b""[..], b"P", b"hello\n", PREFACE, SETTINGS, &PREFACE[..10]] {
            assert_eq!(as_frontend(bytes), Ended::InError, "{bytes:?}");
            assert_eq!(as_daemon(bytes), Ended::InError, "{bytes:?}");
        }
    }

    #[test]
    fn a_frame_that_promises_more_than_may_come_is_refused() {
        // A frame of data for a stream that nobody opened, of nearly 16 MiB.
        let huge = [PREFACE, b"\xff\xff\xff\0\0\0\0\0\x01", &[0; 64]].concat();
        assert_eq!(as_frontend(&huge), Ended::InError);
    }

    /// A frame of HTTP/2: kind, flags and payload, on the first stream.
    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// Everything that a frontend says that just returns an empty result.
    fn empty_return() -> Vec<u8> {
        let headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/moby.buildkit.v1.frontend.LLBBridge/Return"),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        let short = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        let block = headers.map(|(name, value)| [vec![0], short(name), short(value)].concat());
        let (end_of_headers, end_of_stream) = (4, 1);
        let head = frame(1, end_of_headers, &block.concat());
        [PREFACE, &head, &frame(0, end_of_stream, &[0; 5])].concat()
    }

    #[test]
    fn a_whole_conversation_gets_through() {
        let whole = empty_return();
        assert_eq!(as_frontend(&whole), Ended::Well);
        for end in 0..whole.len() {
            assert_eq!(as_frontend(&whole[..end]), Ended::InError, "cut after {end} bytes");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn nonsense_of_any_kind_ends_in_an_error(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            prop_assert_eq!(as_frontend(&bytes), Ended::InError);
            prop_assert_eq!(as_frontend(&[PREFACE, &bytes].concat()), Ended::InError);
            prop_assert_eq!(as_daemon(&[SETTINGS, &bytes].concat()), Ended::InError);
        }
    }
}
