//! Calling git: an environment made from nothing, and messages without secrets.

use std::path::Path;
use std::sync::Arc;

use kiln_graph::GitSource;

use crate::command::{Command, HostCommand, Output};
use crate::git::GitError;
use crate::git::auth::Auth;
use crate::git::hint::Hints;

/// Git's configuration for every call: nothing of the machine's or the user's.
const CONFIG: &[(&str, &str)] = &[
    // The owner of a shared mirror may be mapped to another number here.
    ("safe.directory", "*"),
    ("init.defaultBranch", "master"),
    ("advice.detachedHead", "false"),
    ("core.hooksPath", "/dev/null"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
];

/// Shown of what a failed git wrote: the end.
const SHOWN: usize = 1500;

/// Calls git with what one source needs.
#[derive(Clone)]
pub(crate) struct Git {
    commands: Arc<dyn HostCommand>,
    shown: String,
    env: Vec<(String, String)>,
    config: Vec<(String, String)>,
    secrets: Vec<String>,
    hints: Hints,
}

impl Git {
    pub(crate) fn new(
        commands: Arc<dyn HostCommand>,
        source: &GitSource,
        shown: String,
        auth: &Auth,
    ) -> Self {
        let mut env: Vec<(String, String)> = [
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("HOME", "/dev/null"),
            ("LC_ALL", "C"),
            ("GIT_ALLOW_PROTOCOL", "http:https:ssh:git"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        env.push(("GIT_SSH_COMMAND".into(), ssh_command(auth)));
        if let Some(agent) = &auth.agent {
            env.push(("SSH_AUTH_SOCK".into(), agent.path.display().to_string()));
        }
        let fixed = CONFIG.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let config = fixed.chain(auth.config.iter().cloned()).collect();
        let secrets = auth.secrets.iter().filter(|secret| !secret.is_empty()).cloned().collect();
        Self { commands, shown, env, config, secrets, hints: Hints::new(source) }
    }

    /// The same with more to be let in by.
    pub(crate) fn with(&self, auth: &Auth) -> Self {
        let mut git = self.clone();
        git.config.extend(auth.config.iter().cloned());
        git.secrets.extend(auth.secrets.iter().filter(|secret| !secret.is_empty()).cloned());
        git
    }

    /// Runs git in a directory and gives what it wrote to standard output.
    pub(crate) async fn run(&self, cwd: &Path, args: &[&str]) -> Result<String, GitError> {
        self.run_with(cwd, &[], args).await
    }

    /// The same with more environment, which stands in front of the rest.
    pub(crate) async fn run_with(
        &self,
        cwd: &Path,
        env: &[(&str, &str)],
        args: &[&str],
    ) -> Result<String, GitError> {
        let bytes = self.run_bytes_with(cwd, env, args).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Runs git in a directory and gives the bytes it wrote to standard output.
    pub(crate) async fn run_bytes(&self, cwd: &Path, args: &[&str]) -> Result<Vec<u8>, GitError> {
        self.run_bytes_with(cwd, &[], args).await
    }

    async fn run_bytes_with(
        &self,
        cwd: &Path,
        env: &[(&str, &str)],
        args: &[&str],
    ) -> Result<Vec<u8>, GitError> {
        let own = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let rest = self.env.iter().filter(|(name, _)| env.iter().all(|(own, _)| own != name));
        let command = Command {
            argv: std::iter::once("git").chain(args.iter().copied()).map(str::to_owned).collect(),
            env: own.chain(rest.cloned()).chain(self.config_variables()).collect(),
            cwd: cwd.to_owned(),
        };
        let output = self.commands.run(command).await;
        let output =
            output.map_err(|source| GitError::Start { remote: self.shown.clone(), source })?;
        if output.status == Some(0) {
            return Ok(output.stdout);
        }
        Err(self.failed(args, &output))
    }

    fn config_variables(&self) -> impl Iterator<Item = (String, String)> {
        let count = ("GIT_CONFIG_COUNT".to_owned(), self.config.len().to_string());
        let entries = self.config.iter().enumerate().flat_map(|(index, (key, value))| {
            [
                (format!("GIT_CONFIG_KEY_{index}"), key.clone()),
                (format!("GIT_CONFIG_VALUE_{index}"), value.clone()),
            ]
        });
        std::iter::once(count).chain(entries)
    }

    fn failed(&self, args: &[&str], output: &Output) -> GitError {
        let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
        for secret in &self.secrets {
            said = said.replace(secret, "xxxxx");
        }
        let lines = said.lines().map(|line| line.rsplit('\r').next().unwrap_or_default().trim());
        let said: String = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
        let said: Vec<char> = said.chars().filter(|c| !c.is_control()).collect();
        let hint = self.hints.of(&said.iter().collect::<String>());
        GitError::Failed {
            hint,
            verb: args.iter().find(|arg| !arg.starts_with('-')).unwrap_or(&"").to_string(),
            remote: self.shown.clone(),
            status: match output.status {
                Some(status) => format!("exit status {status}"),
                None => "killed".to_owned(),
            },
            said: said[said.len().saturating_sub(SHOWN)..].iter().collect(),
        }
    }
}

/// How git calls ssh: no configuration of the machine, no questions, and strict about host keys if
/// the client says which are good.
fn ssh_command(auth: &Auth) -> String {
    let hosts = match &auth.known_hosts {
        // The path is ours and has no characters that a shell reads.
        Some(file) => format!("-o UserKnownHostsFile={}", file.path().display()),
        None => "-o UserKnownHostsFile=/dev/null".to_owned(),
    };
    let strict = if auth.known_hosts.is_some() { "yes" } else { "no" };
    format!("ssh -F /dev/null -o BatchMode=yes {hosts} -o StrictHostKeyChecking={strict}")
}
