//! Where in this daemon an operation was given up, for those who debug: `buildctl --debug` prints it
//! below the error.

use std::panic::Location;

use kiln_wire::status::Detail;
use prost_types::Any;
use serde_json::json;

const STACK: &str = "github.com/moby/buildkit/stack.Stack+json";

/// The place of the caller, with the daemon's name and version.
#[track_caller]
pub(crate) fn here(what: &str) -> Detail {
    let place = Location::caller();
    let stack = json!({
        "frames": [{
            "Name": format!("{}.{what}", env!("CARGO_PKG_NAME")),
            "File": place.file(),
            "Line": place.line(),
        }],
        "cmdline": std::env::args().take(1).collect::<Vec<_>>(),
        "pid": std::process::id(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    Detail::Other(Any { type_url: STACK.into(), value: stack.to_string().into_bytes() })
}
