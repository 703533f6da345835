//! `RUN` and the command lines it shares with `CMD` and `ENTRYPOINT`.

/// A command in shell form or exec form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// Shell form: one element, the whole line (none if the line is empty). Exec form: the list.
    pub args: Vec<String>,
    /// The heredocs of the line, in order.
    pub heredocs: Vec<Heredoc>,
    /// Shell form: the stage's `SHELL` goes in front.
    pub shell: bool,
}

/// A heredoc of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter.
    pub name: String,
    /// The body as written, with its line ends.
    pub content: String,
    /// `<<-`: leading tabs are to be removed.
    pub chomp: bool,
}

/// `RUN`: a command of the build.
#[derive(Clone, Debug)]
pub struct Run {
    /// The command.
    pub command: CommandLine,
    /// The values of `--mount` in order, as written. [`Mount::parse`](super::Mount::parse) reads
    /// them when variables are known; what can be wrong without variables was checked already.
    pub mounts: Vec<String>,
    /// `--network`.
    pub network: Network,
    /// `--security`.
    pub security: Security,
    /// `--device`, in order.
    pub devices: Vec<Device>,
    /// Which flags were given, each once, in the order of their first use.
    pub flags: Vec<&'static str>,
}

/// The network of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// That of the build.
    #[default]
    Default,
    /// None.
    None,
    /// The host's.
    Host,
}

/// How a command is confined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// As any command.
    #[default]
    Sandbox,
    /// Not at all.
    Insecure,
}

/// A device a command asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// The qualified name, such as `vendor.com/class=name`; may be empty.
    pub name: String,
    /// The build fails without it.
    pub required: bool,
}
