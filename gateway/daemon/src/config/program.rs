//! The name the daemon was started under, and what follows from it.
//!
//! As `buildkitd` it takes BuildKit's files and sockets, so that what is written for
//! BuildKit finds it. Variables and identity come in, paths go out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The name the program was started under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Its own.
    Kilnd,
    /// BuildKit's daemon.
    Buildkitd,
}

/// What the process was given besides its arguments. Read once, before the process continues in a
/// user namespace, in which everyone is root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The variables that are UTF-8.
    pub variables: BTreeMap<String, String>,
    /// The effective user is root.
    pub root: bool,
    /// The process is in a user namespace.
    pub user_namespace: bool,
}

/// Where things are unless something else is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// The configuration file.
    pub config: PathBuf,
    /// What is stored.
    pub root: PathBuf,
    /// Where the daemon listens.
    pub address: String,
    /// Where steps send traces.
    pub otel_socket: PathBuf,
    /// Which CNI plugins make a network.
    pub cni_config: PathBuf,
    /// Where specifications of devices are.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// What becomes part of provenance.
    pub provenance_env_dir: PathBuf,
    /// The bridge that the daemon makes.
    pub bridge: &'static str,
    /// Whether it makes one if nothing is said about networks. BuildKit uses the machine's then, unless
    /// `BUILDKIT_NETWORK_BRIDGE_AUTO` is set.
    pub auto_bridge: bool,
    /// Where daemons with the same bridge find one another.
    pub network_run: PathBuf,
}

impl Program {
    /// Reads the name from the first argument of the process.
    pub fn of(argument: &str) -> Self {
        match Path::new(argument).file_stem().and_then(|stem| stem.to_str()) {
            Some("buildkitd") => Self::Buildkitd,
            _ => Self::Kilnd,
        }
    }

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kilnd => "kilnd",
            Self::Buildkitd => "buildkitd",
        }
    }

    /// Gives a long flag both its dashes; Go's programs need but one.
    pub(super) fn respell(self, argument: String) -> String {
        let mut letters = argument.chars();
        let long = (letters.next(), letters.next(), letters.next());
        match (self, long) {
            (Self::Buildkitd, (Some('-'), Some(first), Some(second)))
                if first.is_alphabetic() && second != '=' =>
            {
                format!("-{argument}")
            }
            _ => argument,
        }
    }

    /// Where things are under this name.
    pub fn defaults(self, environment: &Environment) -> Defaults {
        let name = match self {
            Self::Kilnd => "kiln",
            Self::Buildkitd => "buildkit",
        };
        let file = |extension: &str| format!("{}.{extension}", self.name());
        let etc = Path::new("/etc").join(name);
        let (config, root, run) = match environment.is_rootless() {
            false => (etc.clone(), Path::new("/var/lib").join(name), Path::new("/run").join(name)),
            true => environment.user_directories(self, name),
        };
        Defaults {
            config: config.join(file("toml")),
            root,
            address: format!("unix://{}", run.join(file("sock")).display()),
            otel_socket: run.join("otel-grpc.sock"),
            cni_config: config.join("cni.json"),
            cdi_spec_dirs: vec!["/etc/cdi".into(), "/var/run/cdi".into(), etc.join("cdi")],
            provenance_env_dir: etc.join("provenance.d"),
            bridge: match self {
                Self::Kilnd => "kiln0",
                Self::Buildkitd => "buildkit0",
            },
            auto_bridge: match self {
                Self::Kilnd => true,
                Self::Buildkitd => environment
                    .get("BUILDKIT_NETWORK_BRIDGE_AUTO")
                    .is_some_and(|value| ["1", "t", "true"].contains(&&*value.to_lowercase())),
            },
            network_run: run.join("network"),
        }
    }
}

impl Environment {
    /// A variable that says something.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether files are the user's rather than the machine's: root in a user namespace counts as
    /// the user that it was, whose name is still in the variables.
    pub fn is_rootless(&self) -> bool {
        let root = self.get("USER").is_none_or(|name| name == "root");
        !self.root || (self.user_namespace && !root)
    }

    /// The user's directories for configuration, state and sockets.
    fn user_directories(&self, program: Program, name: &str) -> (PathBuf, PathBuf, PathBuf) {
        let first = |variable: &str| {
            let value = self.get(variable)?;
            value.split(':').next().filter(|path| !path.is_empty()).map(PathBuf::from)
        };
        let home = PathBuf::from(self.get("HOME").unwrap_or("/"));
        let config = first("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        let data = first("XDG_DATA_HOME").unwrap_or_else(|| home.join(".local/share"));
        let run = first("XDG_RUNTIME_DIR").unwrap_or_else(|| match program {
            Program::Kilnd => data.join(name),
            Program::Buildkitd => "/run".into(),
        });
        (config.join(name), data.join(name), run.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(root: bool, variables: &[(&str, &str)]) -> Environment {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Environment { variables: variables.collect(), root, user_namespace: false }
    }

    #[test]
    fn the_name_of_the_program_is_the_last_part_of_its_path() {
        assert_eq!(Program::of("/usr/bin/buildkitd"), Program::Buildkitd);
        assert_eq!(Program::of("/opt/buildkitd/kilnd"), Program::Kilnd);
    }

    #[test]
    fn root_has_the_machines_directories() {
        let kiln = Program::Kilnd.defaults(&environment(true, &[]));
        assert_eq!(kiln.config, Path::new("/etc/kiln/kilnd.toml"));
        assert_eq!(kiln.root, Path::new("/var/lib/kiln"));
        assert_eq!(kiln.address, "unix:///run/kiln/kilnd.sock");
        let buildkit = Program::Buildkitd.defaults(&environment(true, &[("USER", "ann")]));
        assert_eq!(buildkit.config, Path::new("/etc/buildkit/buildkitd.toml"));
        assert_eq!(buildkit.root, Path::new("/var/lib/buildkit"));
        assert_eq!(buildkit.address, "unix:///run/buildkit/buildkitd.sock");
        assert_eq!(buildkit.cni_config, Path::new("/etc/buildkit/cni.json"));
    }

    #[test]
    fn a_user_has_directories_of_her_own() {
        let xdg = [
            ("HOME", "/home/ann"),
            ("XDG_RUNTIME_DIR", "/run/user/7:/other"),
            ("XDG_DATA_HOME", "/data"),
        ];
        let buildkit = Program::Buildkitd.defaults(&environment(false, &xdg));
        assert_eq!(buildkit.config, Path::new("/home/ann/.config/buildkit/buildkitd.toml"));
        assert_eq!(buildkit.root, Path::new("/data/buildkit"));
        assert_eq!(buildkit.address, "unix:///run/user/7/buildkit/buildkitd.sock");
        let kiln = Program::Kilnd.defaults(&environment(false, &xdg[..1]));
        assert_eq!(kiln.root, Path::new("/home/ann/.local/share/kiln"));
        assert_eq!(kiln.address, "unix:///home/ann/.local/share/kiln/kiln/kilnd.sock");
    }

    #[test]
    fn root_of_a_user_namespace_is_the_user_it_was() {
        let mapped = |user| Environment { user_namespace: true, ..environment(true, user) };
        assert!(mapped(&[("USER", "ann")]).is_rootless());
        assert!(!mapped(&[("USER", "root")]).is_rootless());
        assert!(!mapped(&[]).is_rootless());
    }
}
