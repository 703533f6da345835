//! The daemon in a process of its own, on a socket of its own.

use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use kiln_client::Client;
use tempfile::TempDir;

/// A daemon that ends with the test.
pub(crate) struct Kilnd {
    process: Child,
    directory: TempDir,
}

impl Kilnd {
    pub(crate) fn start() -> Self {
        Self::with_env(&[])
    }

    /// With these variables beside those of the tester.
    pub(crate) fn with_env(variables: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { process: Self::spawn(directory.path(), variables), directory }
    }

    fn spawn(directory: &Path, variables: &[(&str, &str)]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kilnd"));
        // The network of the tester stays as it is.
        command.arg("--oci-worker-net=host");
        command.arg("--root").arg(directory.join("state"));
        command.arg("--addr").arg(format!("unix://{}/kilnd.sock", directory.display()));
        command.envs(variables.iter().copied());
        command.spawn().unwrap()
    }

    /// Killed, and started again.
    pub(crate) fn restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = Self::spawn(self.directory.path(), &[]);
    }

    pub(crate) async fn client(&self) -> Client {
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
