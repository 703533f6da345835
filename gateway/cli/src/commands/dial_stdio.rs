//! `dial-stdio`: standard input and output become a connection to the daemon, for use over SSH.

use anyhow::{Context as _, bail};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy};
use tokio::net::{TcpStream, UnixStream};

use super::Context;
use crate::endpoint::Endpoint;

/// Copies both ways until either end is done.
pub(crate) async fn run(context: &Context) -> anyhow::Result<()> {
    let Endpoint::Address(address) = &context.endpoint else {
        bail!("dial-stdio needs the address of a daemon: name one with --addr")
    };
    let failed = || format!("failed to connect to {}", address.url);
    if let Some(path) = address.url.strip_prefix("unix://") {
        return pipe(UnixStream::connect(path).await.with_context(failed)?).await;
    }
    if let Some(host) = address.url.strip_prefix("tcp://") {
        return pipe(TcpStream::connect(host).await.with_context(failed)?).await;
    }
    bail!("dial-stdio connects to unix:// and tcp:// addresses, not to {}", address.url)
}

async fn pipe(stream: impl AsyncRead + AsyncWrite) -> anyhow::Result<()> {
    let (mut from, mut to) = tokio::io::split(stream);
    let (mut stdin, mut stdout) = (tokio::io::stdin(), tokio::io::stdout());
    let upwards = async {
        copy(&mut stdin, &mut to).await?;
        to.shutdown().await?;
        // The daemon may have more to say.
        std::future::pending::<std::io::Result<()>>().await
    };
    let downwards = async {
        copy(&mut from, &mut stdout).await?;
        stdout.flush().await
    };
    tokio::select! {
        result = upwards => result?,
        result = downwards => result?,
    }
    Ok(())
}
