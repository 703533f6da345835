//! `RUN`: a command, what it sees besides the file system, and under which limits it runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kiln_sdk::llb::{
    Action, Constraints, Device, Exec, FileActions, Mkfile, Mount, MountKind, NetMode, Proxy,
    SecurityMode, State, caps,
};

use super::config::with_shell;
use super::failure::Failure;
use super::history::Leaves;
use super::names;
use super::node::{Node, use_path};
use super::secrets::secret_names;
use super::steps::{Scope, description, values};
use super::variables::Masked;
use crate::heredoc::{chomp, parse_word};
use crate::instruction::{Channel, Network, Run, Security};
use crate::words::{Environment as _, Expander};

/// Where the script of a heredoc is seen.
const SCRIPTS: &str = "/dev/pipes/";

impl Scope<'_> {
    pub(super) fn run(&mut self, node: &mut Node, run: &Run) -> Result<(), Failure> {
        let parsed = self.read_mounts(node, run)?;
        // A command may read anything.
        use_path(&node.used_paths, "/");
        let mut exec = Exec::default();
        let (args, note) = self.arguments(node, run, &mut exec)?;
        self.mount(node, &parsed, &mut exec)?;
        self.limit(run, &mut exec)?;
        let state = node.state_for_commands();
        let secret = secret_names(&parsed);
        let masked = Masked { environment: &node.variables(), secret: &secret };
        let expander = Expander { raw_quotes: true, skip_unset: true, ..self.expander };
        let code = &self.step.instruction.code;
        let shown = names::shown(&format!("{code}{note}"), expander, &masked);
        // Commands are named by the platform of their state, which may be another than the stage's.
        let platform = values(&state)?.platform.clone();
        let platform = platform.filter(|_| self.request.settings.multi_platform);
        let name = names::step(node, &shown, platform.as_ref());
        exec.constraints = Constraints::default()
            .with_custom_name(Some(name))
            .with_description(description(code))
            .with_ignore_cache(node.ignore_cache)
            .with_linux_resources(
                self.capable(caps::EXEC_META_LINUX_RESOURCES)
                    .then(|| self.request.settings.linux_resources.clone())
                    .flatten(),
            )
            .with_locations(self.location());
        let text = history(&args, node);
        exec.args = args;
        node.state = state.run(exec).root();
        node.image.remember(text, Leaves::Step, self.time);
        Ok(())
    }

    /// The words of the command, and what its name says of a script.
    fn arguments(
        &self,
        node: &Node,
        run: &Run,
        exec: &mut Exec,
    ) -> Result<(Vec<String>, String), Failure> {
        let line = &run.command;
        let mut args = line.args.clone();
        let mut note = String::new();
        if let Some(first) = line.heredocs.first() {
            let ([only], true) = (line.args.as_slice(), line.shell) else {
                let words = line.args.join(" ");
                let message = format!("parsing produced an invalid run command: [{words}]");
                return Err(Failure::new(message));
            };
            if parse_word(only).is_ok_and(|heredoc| heredoc.is_some()) {
                let script = match first.chomp {
                    true => chomp(&first.content).into_owned(),
                    false => first.content.clone(),
                };
                note = format!(" ({})", summary(&first.content));
                args = if node.image.os != "windows" && script.starts_with("#!") {
                    exec.mounts.push(script_mount(node, &first.name, script));
                    vec![super::paths::join(&[SCRIPTS, &first.name])]
                } else {
                    vec![script]
                };
            } else {
                // The shell reads the heredocs itself.
                let mut text = only.clone();
                for heredoc in &line.heredocs {
                    text.extend(["\n", heredoc.content.as_str(), heredoc.name.as_str()]);
                }
                args = vec![text];
            }
        }
        if line.shell {
            args = with_shell(node, &args);
        }
        Ok((args, note))
    }

    /// What the instruction and the options say about how the command runs.
    fn limit(&self, run: &Run, exec: &mut Exec) -> Result<(), Failure> {
        let settings = self.request.settings;
        exec.proxy = self.proxy.cloned();
        exec.security = Some(match run.security {
            Security::Sandbox => SecurityMode::Sandbox,
            Security::Insecure => SecurityMode::Insecure,
        });
        exec.network = match run.network {
            Network::Default => None,
            Network::None => Some(NetMode::None),
            Network::Host => Some(NetMode::Host),
        };
        exec.extra_hosts.clone_from(&settings.extra_hosts);
        // An old daemon would refuse what it does not know; the build is better off without.
        if self.capable(caps::EXEC_META_ULIMIT) {
            exec.ulimits.clone_from(&settings.ulimits);
        }
        if self.capable(caps::EXEC_META_CDI) {
            if !run.devices.is_empty() && self.request.channel == Channel::Mainline {
                return Err(Failure::new(
                    "device feature is only supported in Dockerfile frontend 1.14.0-labs or later",
                ));
            }
            let device = |device: &crate::instruction::Device| {
                Device::default().with_name(device.name.clone()).with_optional(!device.required)
            };
            exec.devices = run.devices.iter().map(device).collect();
        }
        if self.capable(caps::EXEC_MOUNT_TMPFS_SIZE) && settings.shm_size_bytes > 0 {
            exec.mounts.push(
                Mount::tmpfs("/dev/shm")
                    .with_kind(MountKind::Tmpfs { size_bytes: settings.shm_size_bytes }),
            );
        }
        if self.capable(caps::EXEC_META_CGROUP_PARENT) {
            exec.cgroup_parent.clone_from(&settings.cgroup_parent);
        }
        Ok(())
    }

    pub(super) fn capable(&self, cap: &str) -> bool {
        self.request.caps.supports(cap)
    }
}

/// A script as a file that the command can start.
fn script_mount(node: &Node, name: &str, script: String) -> Mount {
    let options = Mkfile::default().with_mode(0o755);
    let file = State::scratch().with_dir("/").file(
        FileActions::from(vec![Action::mkfile(name, script, options)]).with_constraints(
            Constraints::named(INLINE_DOCUMENT).with_platform(Some(node.runs_on())),
        ),
    );
    Mount::bind(SCRIPTS, &file).path("/").readonly()
}

/// The name of the vertex that writes a heredoc into a file.
pub(super) const INLINE_DOCUMENT: &str = "[internal] preparing inline document";

/// The first line of a script, and dots if there are more.
fn summary(script: &str) -> String {
    let script = script.trim();
    match script.split_once('\n') {
        Some((first, _)) => format!("{}...", first.strip_suffix('\r').unwrap_or(first)),
        None => script.to_owned(),
    }
}

/// The command as histories have it: with the variables that `ARG` declared in front.
fn history(args: &[String], node: &Node) -> String {
    let mut text = String::from("RUN");
    let declared = node.declared.in_order();
    if !declared.is_empty() {
        // Writing to a string cannot fail.
        let _ = write!(text, " |{}", declared.len());
    }
    let variables = node.variables();
    for (key, value) in &declared {
        let value = variables.get(key).or(value.as_deref()).unwrap_or_default();
        text.extend([" ", key, "=", value]);
    }
    for word in args {
        text.push(' ');
        text.push_str(word);
    }
    if declared.is_empty() && args.is_empty() {
        text.push(' ');
    }
    text
}

/// The proxies that build arguments name, in any case; the last of a kind counts.
pub(super) fn proxy(build_args: &BTreeMap<String, String>) -> Option<Proxy> {
    let mut proxy = Proxy::default();
    let mut named = false;
    for (name, value) in build_args {
        let field = match name.to_ascii_lowercase().as_str() {
            "http_proxy" => &mut proxy.http,
            "https_proxy" => &mut proxy.https,
            "ftp_proxy" => &mut proxy.ftp,
            "no_proxy" => &mut proxy.no_proxy,
            "all_proxy" => &mut proxy.all,
            _ => continue,
        };
        field.clone_from(value);
        named = true;
    }
    named.then_some(proxy)
}
