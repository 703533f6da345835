//! The executable of a frontend: gateway protocol on standard input and output.
//!
//! The same executable is an image's entrypoint and a plugin of the daemon. Options come in the
//! environment, as BuildKit passes them (`frontend/gateway/gateway.go`).

use std::process::ExitCode;
use std::time::Duration;

use crate::grpc::GrpcBridge;
use crate::{Code, Frontend, FrontendError, Options, run};

/// How long the daemon may take to answer the greeting.
const GREETING: Duration = Duration::from_secs(15);

/// Runs a frontend as a program: `fn main() -> ExitCode { serve::main(MyLanguage) }`.
///
/// Exits with 0 when the daemon took the result or the error, with 1 when there is no daemon.
pub fn main(frontend: impl Frontend + 'static) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start: {error}")),
    };
    let served = runtime.block_on(serve(&frontend));
    // A read of standard input may still be waiting on its own thread; do not wait for it.
    runtime.shutdown_background();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!(
            "{error}\nThis program is a build frontend: it is started by a build daemon and speaks the gateway \
             protocol on its standard streams. Try `kiln build --frontend=<path of this program>`."
        )),
    }
}

#[expect(clippy::print_stderr, reason = "a program's last words")]
fn fail(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::FAILURE
}

async fn serve(frontend: &dyn Frontend) -> Result<(), FrontendError> {
    let io = tokio::io::join(tokio::io::stdin(), tokio::io::stdout());
    let unavailable = |error: &dyn std::fmt::Display| {
        FrontendError::new(
            Code::Unavailable,
            format!("no build daemon on the standard streams: {error}"),
        )
    };
    let greeting = async {
        let channel = kiln_wire::channel::connect(io).await.map_err(|error| unavailable(&error))?;
        GrpcBridge::connect(channel, options_from(std::env::vars()), session_id(), None).await
    };
    let bridge = tokio::time::timeout(GREETING, greeting)
        .await
        .map_err(|elapsed| unavailable(&elapsed))??;
    let result = run(frontend, &bridge).await;
    bridge.finish(result).await
}

/// `BUILDKIT_FRONTEND_OPT_<n>=<key>=<value>`, in any order.
fn options_from(environment: impl Iterator<Item = (String, String)>) -> Options {
    environment
        .filter(|(name, _)| name.starts_with("BUILDKIT_FRONTEND_OPT_"))
        .map(|(_, option)| match option.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => (option, String::new()),
        })
        .collect()
}

fn session_id() -> String {
    std::env::vars()
        .find(|(name, _)| name == "BUILDKIT_SESSION_ID")
        .map(|(_, id)| id)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_equals_sign_ends_the_key() {
        let environment = [
            ("BUILDKIT_FRONTEND_OPT_0", "build-arg:A=b=c"),
            ("BUILDKIT_FRONTEND_OPT_1", "x"),
            ("HOME", "/"),
        ];
        let options =
            options_from(environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        assert_eq!(options.build_arg("A"), Some("b=c"));
        assert_eq!(options.get("x"), Some(""));
        assert_eq!(options.0.len(), 2);
    }
}
