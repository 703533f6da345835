//! The socket of a daemon that lives in a command: who uses the same state directory meanwhile asks there.
//!
//! It is for commands that are soon done (`du`, `history`, `why`): builds of others would end with this
//! process, so they wait for the state directory instead. Only the user of this process can open it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt as _;
use kiln_daemon::Daemon;
use kiln_daemon::listen::Listener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long others may take to hang up at the end.
const HANG_UP: Duration = Duration::from_secs(1);

/// An open socket; closed by [`OwnSocket::close`], or with the process.
#[derive(Debug)]
pub(crate) struct OwnSocket {
    path: PathBuf,
    ending: watch::Sender<bool>,
    server: JoinHandle<()>,
}

/// Where the socket of a state directory is.
pub(crate) fn place(root: &Path) -> PathBuf {
    root.join("kiln.sock")
}

impl OwnSocket {
    /// Opens it; none if that cannot be, such as below a path that is too long for a socket: then
    /// others wait.
    pub(crate) async fn open(daemon: &Daemon, root: &Path) -> Option<Self> {
        let path = place(root);
        let listener = match Listener::private(&path) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::debug!(error = %error, "other commands will wait for this one");
                return None;
            }
        };
        let router = daemon.services().await;
        let (ending, mut ended) = watch::channel(false);
        let ended = async move {
            ended.wait_for(|ended| *ended).await.ok();
        };
        let connections = Box::pin(listener.connections().take_until(Box::pin(ended)));
        let server = tokio::spawn(async move {
            if let Err(error) = kiln_wire::channel::serve_all(router, connections).await {
                tracing::debug!(error = %error, "the socket for other commands is closed");
            }
        });
        Some(Self { path, ending, server })
    }

    /// Takes no one in any more, and lets those finish who are quick.
    pub(crate) async fn close(self) {
        // While this process still holds the state directory, so that nobody's socket but its own goes.
        std::fs::remove_file(&self.path).ok();
        self.ending.send_replace(true);
        tokio::time::timeout(HANG_UP, self.server).await.ok();
    }
}
