//! One call of one plugin: variables and a configuration in, a result out.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::config::{kind, plugin_error};
use crate::networks::NetworkError;

/// How long a plugin may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The most that is read of what a plugin says.
const MAX_OUTPUT_BYTES: u64 = 1 << 20;
/// The name that containers know their link by.
const INTERFACE: &str = "eth0";
/// Where plugins find programs such as iptables, if the daemon does not know.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a plugin is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Add,
    Delete,
}

/// To which namespace.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) verb: Verb,
    pub(crate) id: &'a str,
    /// Nothing, if it is gone.
    pub(crate) namespace: Option<&'a Path>,
}

/// Calls the plugin that `config` is for; nothing comes back if it has nothing to say.
pub(crate) async fn call(
    call: &Call<'_>,
    config: &Value,
    hostname: &str,
    (binaries, environment): (&Path, &[(String, String)]),
) -> Result<Option<Value>, NetworkError> {
    let name = config.as_object().map(kind).unwrap_or_default();
    let mut command = Command::new(binaries.join(name));
    command.env_clear().current_dir("/").kill_on_drop(true);
    command.envs(variables(call, hostname, binaries, environment));
    let said = tokio::time::timeout(TIMEOUT, run(command, config.to_string()));
    let said = said
        .await
        .map_err(|_| plugin_error(format!("{name} did not end within {} s", TIMEOUT.as_secs())))?;
    let (code, stdout, stderr) =
        said.map_err(|error| plugin_error(format!("{name} cannot be run: {error}")))?;
    match code {
        Some(0) => Ok(serde_json::from_slice(&stdout).ok()),
        code => Err(plugin_error(complaint(name, code, &stdout, &stderr))),
    }
}

fn variables(
    call: &Call<'_>,
    hostname: &str,
    binaries: &Path,
    environment: &[(String, String)],
) -> Vec<(String, String)> {
    let verb = match call.verb {
        Verb::Add => "ADD",
        Verb::Delete => "DEL",
    };
    let namespace = call.namespace.unwrap_or(Path::new(""));
    let mut variables = vec![("PATH".to_owned(), DEFAULT_PATH.to_owned())];
    variables.extend(environment.iter().cloned());
    let own = [
        ("CNI_COMMAND", verb.to_owned()),
        ("CNI_CONTAINERID", call.id.to_owned()),
        ("CNI_NETNS", namespace.display().to_string()),
        ("CNI_IFNAME", INTERFACE.to_owned()),
        ("CNI_PATH", binaries.display().to_string()),
    ];
    variables.extend(own.map(|(name, value)| (name.to_owned(), value)));
    // It separates arguments, and is in no host name.
    if !hostname.is_empty() && !hostname.contains([';', '=']) {
        let arguments = format!("IgnoreUnknown=1;K8S_POD_NAME={hostname}");
        variables.push(("CNI_ARGS".to_owned(), arguments));
    }
    variables
}

/// Runs a plugin in the process namespace of the daemon: plugins look themselves up in `/proc`, and
/// some leave servers behind.
async fn run(
    mut command: Command,
    input: String,
) -> std::io::Result<(Option<i32>, Vec<u8>, Vec<u8>)> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn()?;
    let (stdin, stdout, stderr) =
        (running.stdin.take(), running.stdout.take(), running.stderr.take());
    let write = async move {
        if let Some(mut stdin) = stdin {
            // One that does not read it is free not to.
            stdin.write_all(input.as_bytes()).await.ok();
        }
    };
    let ((), stdout, stderr, status) =
        tokio::join!(write, read(stdout), read(stderr), running.wait());
    Ok((status?.code(), stdout?, stderr?))
}

async fn read(from: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut output = Vec::new();
    let Some(from) = from else { return Ok(output) };
    from.take(MAX_OUTPUT_BYTES).read_to_end(&mut output).await?;
    Ok(output)
}

/// What a plugin says about its failure.
fn complaint(name: &str, code: Option<i32>, stdout: &[u8], stderr: &[u8]) -> String {
    let said: Value = serde_json::from_slice(stdout).unwrap_or_default();
    let words = ["msg", "details"].map(|key| said[key].as_str().unwrap_or_default().trim());
    let words: Vec<&str> = words.into_iter().filter(|words| !words.is_empty()).collect();
    if !words.is_empty() {
        return format!("{name}: {}", words.join("; "));
    }
    let last = String::from_utf8_lossy(stderr);
    let last = last.trim().lines().next_back().unwrap_or_default().to_owned();
    match code {
        Some(code) => format!("{name} ended with code {code}: {last}"),
        None => format!("{name} was killed: {last}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_knows_what_to_do_where() {
        let call = Call { verb: Verb::Add, id: "a", namespace: Some(Path::new("/proc/1/fd/3")) };
        let own = [("PATH".to_owned(), "/bin".to_owned())];
        let variables = variables(&call, "box", Path::new("/opt/cni/bin"), &own);
        for expected in [
            ("PATH", "/bin"),
            ("CNI_COMMAND", "ADD"),
            ("CNI_NETNS", "/proc/1/fd/3"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=box"),
        ] {
            let last = variables.iter().rev().find(|(name, _)| name == expected.0);
            assert_eq!(last.unwrap().1, expected.1, "{variables:?}");
        }
    }

    #[test]
    fn a_host_name_cannot_be_more_than_one_argument() {
        let call = Call { verb: Verb::Delete, id: "a", namespace: None };
        let variables = variables(&call, "box;IP=10.0.0.1", Path::new("/opt/cni/bin"), &[]);
        assert!(!variables.iter().any(|(name, _)| name == "CNI_ARGS"), "{variables:?}");
    }

    #[test]
    fn a_complaint_is_what_the_plugin_says() {
        let json = br#"{"code": 11, "msg": "no addresses", "details": "range is full"}"#;
        assert_eq!(complaint("bridge", Some(1), json, b""), "bridge: no addresses; range is full");
        let error = complaint("bridge", Some(2), b"", b"panic\nno such file\n");
        assert_eq!(error, "bridge ended with code 2: no such file");
    }
}
