//! An executor whose processes are connected.
//!
//! A process comes in that asks for [`Network::Default`], and goes on with what that is here; the
//! namespace is given back when the process has ended. All others pass.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kiln_executor::{
    ExecError, ExecProcess, Executor, ExitStatus, Network, Process, Running, Stdio,
};

use crate::bridge::Connection;
use crate::cni::Attachment;
use crate::networks::{DefaultNetwork, NetworkError};
use crate::tap::TapConnection;

/// See the module.
#[derive(Debug)]
pub(crate) struct Connected {
    inner: Arc<dyn Executor>,
    default: Arc<DefaultNetwork>,
}

/// What is given back when a process has ended.
#[derive(Debug)]
#[expect(dead_code, reason = "held until it is dropped")]
pub(crate) enum Held {
    Bridge(Connection),
    Cni(Attachment),
    Tap(TapConnection),
}

impl Connected {
    pub(crate) fn new(inner: Arc<dyn Executor>, default: Arc<DefaultNetwork>) -> Self {
        Self { inner, default }
    }
}

impl DefaultNetwork {
    /// A network for one process, with what is to be held as long as it is there.
    pub(crate) async fn connect(
        &self,
        hostname: &str,
    ) -> Result<(Network, Option<Held>), NetworkError> {
        Ok(match self {
            Self::Host => (Network::Host, None),
            Self::None => (Network::None, None),
            Self::Bridge(bridge) => {
                let connection = bridge.connect().await?;
                let path = connection.namespace.path().to_owned();
                (Network::Namespace(path), Some(Held::Bridge(connection)))
            }
            Self::Tap(tap) => {
                let connection = tap.connect().await?;
                let path = connection.namespace.path().to_owned();
                (Network::Namespace(path), Some(Held::Tap(connection)))
            }
            Self::Cni(cni) => {
                let attachment = cni.attach(hostname).await?;
                let path = attachment.path().to_owned();
                (Network::Namespace(path), Some(Held::Cni(attachment)))
            }
        })
    }
}

#[async_trait]
impl Executor for Connected {
    async fn start(
        &self,
        mut process: Process,
        stdio: Stdio,
    ) -> Result<Box<dyn Running>, ExecError> {
        if process.network != Network::Default {
            return self.inner.start(process, stdio).await;
        }
        let found = self.default.connect(&process.hostname).await;
        let (network, held) = found.map_err(|error| ExecError::Setup {
            step: "connect the process".to_owned(),
            message: error.to_string(),
        })?;
        process.network = network;
        let running = self.inner.start(process, stdio).await?;
        Ok(match held {
            Some(held) => Box::new(ConnectedProcess { running, held: Some(held) }),
            None => running,
        })
    }

    fn name(&self) -> &str {
        self.inner.name()
    }
}

/// A running process with what its network is made of. The process ends first.
#[derive(Debug)]
struct ConnectedProcess {
    running: Box<dyn Running>,
    held: Option<Held>,
}

#[async_trait]
impl Running for ConnectedProcess {
    async fn wait(&mut self) -> Result<ExitStatus, ExecError> {
        let status = self.running.wait().await;
        self.held = None;
        status
    }

    fn kill(&self, signal: i32) {
        self.running.kill(signal);
    }

    fn terminate(&self, grace: Duration) {
        self.running.terminate(grace);
    }

    async fn exec(
        &self,
        process: ExecProcess,
        stdio: Stdio,
    ) -> Result<Box<dyn Running>, ExecError> {
        self.running.exec(process, stdio).await
    }

    fn resize(&self, rows: u16, columns: u16) {
        self.running.resize(rows, columns);
    }
}
