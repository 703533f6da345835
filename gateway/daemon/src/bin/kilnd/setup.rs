//! What the process was started with: arguments, variables, sockets, and the file they name.
//!
//! Read once, before the process continues in a user namespace, in which everyone is root.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::Path;

use kiln_daemon::config::{CommandLine, Config, Environment, Layer, Program, variables};
use kiln_daemon::listen::PassedSockets;
use kiln_daemon::{CloudEnvironment, HOST_VARIABLES};

/// The largest configuration file, in bytes.
const LARGEST_FILE: u64 = 1 << 20;

/// What the daemon is to do, and what it was given for it.
#[derive(Debug)]
pub(crate) struct Setup {
    /// What it is to do.
    pub(crate) config: Config,
    /// Variables and identity.
    pub(crate) environment: Environment,
    /// Sockets it was started with.
    pub(crate) passed: PassedSockets,
    /// What the log should say about this.
    pub(crate) remarks: Vec<String>,
}

/// Why the daemon does not start, as a text for people.
#[derive(Debug)]
pub(crate) enum NoSetup {
    /// Its help or version is all that was asked for.
    Asked(String),
    /// Something is wrong.
    Failure(String),
}

impl Setup {
    /// Reads everything. The sockets that the process was started with are taken.
    ///
    /// # Errors
    ///
    /// What is wrong with it, or the help that was asked for.
    pub(crate) fn read(arguments: impl Iterator<Item = OsString>) -> Result<Self, NoSetup> {
        let environment = environment();
        let passed = PassedSockets::of_process(&environment, std::process::id());
        let mut texts = Vec::new();
        for argument in arguments {
            texts.push(argument.into_string().map_err(|argument| {
                NoSetup::Failure(format!("error: {} is not UTF-8\n", argument.display()))
            })?);
        }
        let program = Program::of(texts.first().map(String::as_str).unwrap_or_default());
        let line =
            CommandLine::parse(program, texts).map_err(|error| match error.use_stderr() {
                true => NoSetup::Failure(error.to_string()),
                false => NoSetup::Asked(error.to_string()),
            })?;
        let mut layers = vec![line.layer, variables(|name| environment.get(name))];
        let mut remarks = Vec::new();
        let default = program.defaults(&environment).config;
        let (path, named) = match line.config {
            Some(path) => (path, true),
            None => (default, false),
        };
        match file(&path) {
            Ok(bytes) => layers.push(layer(&path, &bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                missing(program, &path, named, &mut remarks)?;
            }
            Err(error) => {
                let text = format!("error: cannot read {}: {error}\n", path.display());
                return Err(NoSetup::Failure(text));
            }
        }
        let config = Config::of(program, &environment, layers);
        let config = config.map_err(|error| NoSetup::Failure(format!("{error}\n")))?;
        Ok(Self { config, environment, passed, remarks })
    }

    /// The variables that say how caches in clouds are reached.
    pub(crate) fn cloud_environment(&self) -> CloudEnvironment {
        CloudEnvironment::of(&self.environment.variables)
    }

    /// The variables that programs of the daemon get.
    pub(crate) fn host_env(&self) -> Vec<(String, String)> {
        let value =
            |name: &&str| Some(((*name).to_owned(), self.environment.get(name)?.to_owned()));
        HOST_VARIABLES.iter().filter_map(value).collect()
    }
}

fn environment() -> Environment {
    let utf8 = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    Environment {
        variables: std::env::vars_os().filter_map(utf8).collect(),
        root: rustix::process::geteuid().is_root(),
        user_namespace: kiln_executor::userns::inside(),
    }
}

fn file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One more than is allowed, so that the reader sees that there is too much.
    std::fs::File::open(path)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn layer(path: &Path, bytes: &[u8]) -> Result<Layer, NoSetup> {
    let layer = Layer::of_file(&path.display().to_string(), bytes);
    layer.map_err(|error| NoSetup::Failure(format!("{error}\n")))
}

/// A file that is named should be there; BuildKit does without.
fn missing(
    program: Program,
    path: &Path,
    named: bool,
    remarks: &mut Vec<String>,
) -> Result<(), NoSetup> {
    let path = path.display();
    match (named, program) {
        (false, _) => Ok(()),
        (true, Program::Buildkitd) => {
            remarks.push(format!("there is no {path}: going on without a configuration file"));
            Ok(())
        }
        (true, Program::Kilnd) => Err(NoSetup::Failure(format!(
            "error: there is no {path}; leave out --config to start without a configuration file\n"
        ))),
    }
}
