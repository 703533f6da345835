//! What a frontend cannot do, whoever runs it: here one in the client's own process.

use async_trait::async_trait;
use kiln_client::{Session, SolveOptions};
use kiln_frontend::{Bridge, BuildResult, Frontend, FrontendError, Ref, Solve};

use crate::kilnd::Kilnd;

/// A frontend that has another one do the work, whatever it is called.
struct Delegate(&'static str);

#[async_trait]
impl Frontend for Delegate {
    async fn solve(&self, bridge: &dyn Bridge) -> Result<BuildResult<Ref>, FrontendError> {
        let solve = Solve::default().with_frontend(self.0.to_owned());
        Ok(bridge.solve(solve).await?)
    }
}

#[tokio::test]
async fn a_frontend_cannot_have_a_program_of_the_host_started() {
    let daemon = Kilnd::start();
    let client = daemon.client().await;
    for path in ["/bin/sh", "./sh", "bin/sh"] {
        let (progress, _) = kiln_progress::channel();
        let options = SolveOptions::default();
        let built = client.build(options, Session::default(), &Delegate(path), progress).await;
        let error = built.unwrap_err().to_string();
        assert!(error.contains("starts plugins by name only"), "{error}");
    }
}
