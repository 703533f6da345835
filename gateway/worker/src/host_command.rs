//! Programs of the host for sources, started by the executor's spawner.

use std::io;

use async_trait::async_trait;
use kiln_executor::{HostProcess, Spawner, Stdio, spawn_host};
use kiln_sources::{Command, HostCommand, OUTPUT_LIMIT, Output};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Runs programs through the spawner.
pub(crate) struct SpawnedCommand {
    pub(crate) spawner: Spawner,
    /// PATH and the proxy variables of the host.
    pub(crate) env: Vec<(String, String)>,
}

#[async_trait]
impl HostCommand for SpawnedCommand {
    async fn run(&self, command: Command) -> io::Result<Output> {
        let variables = self.env.iter().chain(&command.env);
        let process = HostProcess {
            args: command.argv,
            env: variables.map(|(name, value)| format!("{name}={value}")).collect(),
            cwd: command.cwd.to_string_lossy().into_owned(),
        };
        let (stdio, pipes) = Stdio::piped()?;
        let mut running =
            spawn_host(&self.spawner, process, stdio).await.map_err(io::Error::other)?;
        drop(pipes.stdin);
        let (stdout, stderr, status) =
            tokio::join!(read(pipes.stdout), read(pipes.stderr), running.wait());
        let status = status.map_err(io::Error::other)?;
        // Beyond 128 a signal ended it.
        let status = i32::try_from(status.code).ok().filter(|code| *code <= 128);
        Ok(Output { status, stdout: stdout?, stderr: stderr? })
    }
}

/// Reads to the end, and keeps the beginning.
async fn read(mut from: impl AsyncRead + Unpin) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer).await? {
            0 => return Ok(kept),
            read if kept.len() < OUTPUT_LIMIT => kept.extend_from_slice(&buffer[..read]),
            _ => {}
        }
    }
}
