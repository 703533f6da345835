//! A build whose frontend runs in this process.
//!
//! The daemon gets a request without anything to build and waits; meanwhile the frontend talks to
//! its gateway over the same connection and hands the result over at the end.

use kiln_frontend::grpc::GrpcBridge;
use kiln_frontend::{Frontend, Options};
use kiln_progress::Sender;
use kiln_wire::status::RichStatus;

use crate::client::Client;
use crate::request::SolveOptions;
use crate::session::Session;
use crate::solve::{Prepared, SolveError, SolveResult};

impl Client {
    /// Runs a build with a frontend of the caller's. `options.what` does not matter; the frontend
    /// gets `options.frontend_attrs` as its options.
    ///
    /// # Errors
    ///
    /// See [`SolveError`]; the frontend's error comes back through the daemon like any other.
    ///
    /// # Cancellation
    ///
    /// Dropping the future stops the frontend and cancels the build.
    pub async fn build(
        &self,
        mut options: SolveOptions,
        session: Session,
        frontend: &dyn Frontend,
        progress: Sender,
    ) -> Result<SolveResult, SolveError> {
        options.what = crate::request::What::Nothing;
        let prepared = Prepared::new(options, session, true)?;
        let attrs = Options(prepared.frontend_attrs().clone());
        let build = prepared.id().to_owned();
        let meanwhile = |session: String| async move {
            match self.call(frontend, attrs, session, &build).await {
                // The daemon answers the request itself, with the exporters' last words.
                Ok(()) => std::future::pending().await,
                Err(error) => error,
            }
        };
        self.run(prepared, &progress, meanwhile).await
    }

    /// Calls the frontend and hands its result, or its error, to the daemon.
    async fn call(
        &self,
        frontend: &dyn Frontend,
        options: Options,
        session: String,
        build: &str,
    ) -> Result<(), RichStatus> {
        let bridge = GrpcBridge::connect(self.channel(), options, session, Some(build)).await?;
        let result = kiln_frontend::run(frontend, &bridge).await;
        Ok(bridge.finish(result).await?)
    }
}
