//! What comes over a frontend's standard streams: the first byte chooses at which end one listens.

use kiln_testing::gateway_stream::{as_daemon, as_frontend};

pub(crate) fn run(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    match choice % 2 {
        0 => as_frontend(bytes),
        _ => as_daemon(bytes),
    };
}
