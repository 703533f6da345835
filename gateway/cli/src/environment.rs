//! What the process was given besides its arguments: its name, variables, identity, terminals.
//!
//! Read once, at the start, into a value; everything that decides takes the value.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;

use crate::args::Program;

/// The surroundings of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// The name this program was started under.
    pub program: Program,
    /// The variables that are UTF-8.
    pub variables: BTreeMap<String, String>,
    /// The effective user is root.
    pub root: bool,
    /// Standard input is a terminal.
    pub stdin_terminal: bool,
    /// Standard output is a terminal.
    pub stdout_terminal: bool,
    /// Standard error is a terminal.
    pub stderr_terminal: bool,
}

impl Environment {
    /// Reads the surroundings of this process.
    pub(crate) fn of_process() -> Self {
        let utf8 = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            program: std::env::args_os().next().map_or(Program::Kiln, |name| Program::of(&name)),
            variables: std::env::vars_os().filter_map(utf8).collect(),
            root: rustix::process::geteuid().is_root(),
            stdin_terminal: std::io::stdin().is_terminal(),
            stdout_terminal: std::io::stdout().is_terminal(),
            stderr_terminal: std::io::stderr().is_terminal(),
        }
    }

    /// A variable, if it is set, even to nothing.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// A variable that says something.
    pub(crate) fn get_nonempty(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Where state is kept unless the user says otherwise.
    pub(crate) fn default_root(&self) -> PathBuf {
        if self.root {
            return PathBuf::from("/var/lib/kiln");
        }
        let data = self.get_nonempty("XDG_DATA_HOME").map(PathBuf::from);
        let home =
            || self.get_nonempty("HOME").map(|home| PathBuf::from(home).join(".local/share"));
        data.or_else(home).unwrap_or_else(|| PathBuf::from("/var/tmp")).join("kiln")
    }

    /// Whether logs may have colours: standard error is a terminal, and nobody minds.
    pub(crate) fn log_colours(&self) -> bool {
        self.stderr_terminal && self.get_nonempty("NO_COLOR").is_none()
    }

    /// Directories with frontend plugins, and the one this program is in.
    pub(crate) fn plugin_path(&self) -> Vec<PathBuf> {
        let own =
            std::env::current_exe().ok().and_then(|program| Some(program.parent()?.to_owned()));
        let named = std::env::split_paths(self.get("KILN_PLUGIN_PATH").unwrap_or_default());
        named.filter(|path| !path.as_os_str().is_empty()).chain(own).collect()
    }

    /// Directories with programs: those with plugins, and the search path.
    pub(crate) fn programs(&self) -> impl Iterator<Item = PathBuf> {
        let path = self.get("PATH").unwrap_or_default();
        let path: Vec<PathBuf> = std::env::split_paths(path).collect();
        self.plugin_path().into_iter().chain(path)
    }

    /// What programs of the daemon get: the search path and proxies.
    pub(crate) fn host_env(&self) -> Vec<(String, String)> {
        kiln_daemon::HOST_VARIABLES
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), self.get(name)?.to_owned())))
            .collect()
    }

    /// Where a daemon of BuildKit's listens unless the user says otherwise.
    pub(crate) fn default_buildkit_address(&self) -> String {
        match self.get_nonempty("XDG_RUNTIME_DIR") {
            Some(directory) if !self.root => format!("unix://{directory}/buildkit/buildkitd.sock"),
            _ => "unix:///run/buildkit/buildkitd.sock".to_owned(),
        }
    }
}

#[cfg(test)]
impl Environment {
    /// Surroundings of a test.
    pub(crate) fn with(variables: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self { variables: variables.iter().map(owned).collect(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_have_colours_on_a_terminal_alone() {
        let terminal = Environment { stderr_terminal: true, ..Environment::default() };
        assert!(terminal.log_colours());
        assert!(!Environment::default().log_colours());
        let plain =
            Environment { stderr_terminal: true, ..Environment::with(&[("NO_COLOR", "1")]) };
        assert!(!plain.log_colours());
    }

    #[test]
    fn state_is_kept_where_the_user_may_write() {
        let of = |variables: &[(&str, &str)]| Environment::with(variables).default_root();
        assert_eq!(of(&[("XDG_DATA_HOME", "/d"), ("HOME", "/h")]), PathBuf::from("/d/kiln"));
        assert_eq!(of(&[("HOME", "/h")]), PathBuf::from("/h/.local/share/kiln"));
        let root = Environment { root: true, ..Environment::with(&[("HOME", "/root")]) };
        assert_eq!(root.default_root(), PathBuf::from("/var/lib/kiln"));
    }
}
