//! Where the daemon is: at an address, or in this process.
//!
//! The global flags and the environment come in, an [`Endpoint`] goes out; `connect` goes there.

use std::path::PathBuf;
use std::time::Duration;

use kiln_daemon::{CloudEnvironment, PluginDirectory, Privileges};

use crate::args::{ExecutorChoice, Global, Program};
use crate::environment::Environment;

/// Where builds are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// To a daemon that runs.
    Address(Address),
    /// To a daemon in this process.
    Embedded(Embedded),
}

/// A daemon that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// Such as `unix:///run/buildkit/buildkitd.sock`.
    pub url: String,
    /// How it is spoken to, unless in the clear.
    pub tls: Option<Tls>,
    /// How long one attempt to connect may take.
    pub timeout: Duration,
    /// Try again until the daemon is there.
    pub wait: bool,
}

/// The TLS of a daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    /// The name its certificate must have.
    pub server_name: Option<String>,
    /// Its certificate authority.
    pub ca: Option<PathBuf>,
    /// This client's certificate and key.
    pub keypair: Option<(PathBuf, PathBuf)>,
}

/// A daemon in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Embedded {
    /// Where it keeps its state.
    pub root: PathBuf,
    /// What runs processes.
    pub executor: ExecutorChoice,
    /// Directories with frontend plugins, looked at before the process is in a user namespace.
    pub plugins: Vec<PluginDirectory>,
    /// Run plugins as plain processes.
    pub unconfined_plugins: bool,
    /// Pull frontends that one which is linked in stands for.
    pub pull_frontends: bool,
    /// What the kernel grants this process, once it was asked.
    pub privileges: Privileges,
    /// PATH and the proxy variables, for programs of the daemon.
    pub host_env: Vec<(String, String)>,
    /// Variables that say how caches in clouds are reached.
    pub cloud_environment: CloudEnvironment,
}

/// The flags contradict each other.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EndpointError {
    /// Half a pair.
    #[error("--tlscert and --tlskey come together")]
    HalfKeypair,
}

impl Endpoint {
    /// Decides where builds are sent.
    ///
    /// # Errors
    ///
    /// If a certificate has no key, or the other way round.
    pub(crate) fn decide(
        global: &Global,
        environment: &Environment,
    ) -> Result<Self, EndpointError> {
        let address = global.addr.as_deref().filter(|address| !address.is_empty());
        let address = address.or_else(|| environment.get_nonempty("BUILDKIT_HOST"));
        let url = match (address, environment.program) {
            (Some(address), _) => address.to_owned(),
            // Scripts of BuildKit's expect its daemon, and none of ours to come up behind it.
            (None, Program::Buildctl) => environment.default_buildkit_address(),
            (None, Program::Kiln) => return Ok(Self::here(global, environment)),
        };
        let timeout = Duration::from_secs(global.timeout);
        Ok(Self::Address(Address { url, tls: tls(global)?, timeout, wait: global.wait }))
    }

    /// This process.
    pub(crate) fn here(global: &Global, environment: &Environment) -> Self {
        Self::Embedded(Embedded {
            root: global.root.clone().unwrap_or_else(|| environment.default_root()),
            executor: global.executor(),
            plugins: plugins(environment),
            unconfined_plugins: global.unconfined_plugins,
            pull_frontends: global.pull_frontends,
            privileges: Privileges::default(),
            host_env: environment.host_env(),
            cloud_environment: CloudEnvironment::of(&environment.variables),
        })
    }
}

fn plugins(environment: &Environment) -> Vec<PluginDirectory> {
    environment.plugin_path().into_iter().map(PluginDirectory::inspect).collect()
}

fn tls(global: &Global) -> Result<Option<Tls>, EndpointError> {
    let server_name = global.tlsservername.clone();
    if let Some(directory) = &global.tlsdir {
        let keypair = Some((directory.join("cert.pem"), directory.join("key.pem")));
        return Ok(Some(Tls { server_name, ca: Some(directory.join("ca.pem")), keypair }));
    }
    let keypair = match (&global.tlscert, &global.tlskey) {
        (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
        (None, None) => None,
        _ => return Err(EndpointError::HalfKeypair),
    };
    let tls = Tls { server_name, ca: global.tlscacert.clone(), keypair };
    Ok((tls != Tls::default()).then_some(tls))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(program: Program, global: &Global, variables: &[(&str, &str)]) -> Endpoint {
        let environment = Environment { program, ..Environment::with(variables) };
        Endpoint::decide(global, &environment).unwrap()
    }

    fn url(endpoint: Endpoint) -> String {
        match endpoint {
            Endpoint::Address(address) => address.url,
            Endpoint::Embedded(embedded) => format!("embedded {}", embedded.root.display()),
        }
    }

    #[test]
    fn an_address_beats_the_environment_beats_the_embedded_daemon() {
        let flag = Global { addr: Some("tcp://a:1".into()), ..Global::default() };
        let host = [("BUILDKIT_HOST", "unix:///b"), ("HOME", "/h")];
        assert_eq!(url(decide(Program::Kiln, &flag, &host)), "tcp://a:1");
        assert_eq!(url(decide(Program::Kiln, &Global::default(), &host)), "unix:///b");
        let none = decide(Program::Kiln, &Global::default(), &host[1..]);
        assert_eq!(url(none), "embedded /h/.local/share/kiln");
        let buildctl = decide(Program::Buildctl, &Global::default(), &[("XDG_RUNTIME_DIR", "/r")]);
        assert_eq!(url(buildctl), "unix:///r/buildkit/buildkitd.sock");
    }

    #[test]
    fn half_a_keypair_is_an_error() {
        let half = Global {
            addr: Some("tcp://a:1".into()),
            tlscert: Some("c".into()),
            ..Global::default()
        };
        let decided = Endpoint::decide(&half, &Environment::default());
        assert_eq!(decided, Err(EndpointError::HalfKeypair));
    }
}
