//! What a frontend cannot do, whoever runs it: here one in the client's own process.

use std::process::{Child, Command};
use std::time::Duration;

use async_trait::async_trait;
use kiln_client::{Client, Session, SolveOptions};
use kiln_frontend::{Bridge, BuildResult, Frontend, FrontendError, Ref, Solve};
use tempfile::TempDir;

/// A daemon that ends with the test.
struct Kilnd {
    process: Child,
    directory: TempDir,
}

impl Kilnd {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kilnd"));
        command.arg("--root").arg(directory.path().join("state"));
        command.arg("--addr").arg(format!("unix://{}/kilnd.sock", directory.path().display()));
        Self { process: command.spawn().unwrap(), directory }
    }

    async fn client(&self) -> Client {
        let address = format!("unix://{}/kilnd.sock", self.directory.path().display());
        for _ in 0..200 {
            if let Ok(client) = Client::connect(&address).await {
                return client;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("kilnd does not come up");
    }
}

impl Drop for Kilnd {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// A frontend that has another one do the work, whatever it is called.
struct Delegate(&'static str);

#[async_trait]
impl Frontend for Delegate {
    async fn build(&self, bridge: &dyn Bridge) -> Result<BuildResult<Ref>, FrontendError> {
        let solve = Solve { frontend: self.0.to_owned(), ..Solve::default() };
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
