//! The command line: every flag of `buildkitd`, and Kiln's own.
//!
//! A flag says what a key of the configuration file says, so flags become a [`Layer`] over it, and
//! what becomes of their values is decided where it is for the file's. Both `--flag=value` and
//! `--flag value` are taken, and `-flag` under BuildKit's name.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};
use kiln_document::{Node, Source, Span, Value};

use super::keys::{self, Treatment};
use super::layers::{Layer, put};
use super::program::Program;

/// A flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Its name, without dashes.
    pub name: &'static str,
    /// How its value is read, and which key it sets.
    pub sets: Sets,
    /// What it is for.
    pub help: &'static str,
}

/// How the value of a flag is read, and the key it sets.
#[derive(Clone, Copy, Debug)]
pub enum Sets {
    /// Text.
    Text(&'static [&'static str]),
    /// A list, of which the flag is given once per item.
    List(&'static [&'static str]),
    /// A whole number.
    Number(&'static [&'static str]),
    /// `true` or `false`; nothing is `true`.
    Switch(&'static [&'static str]),
    /// `true`, `false` or `auto`, which stands for this.
    Auto(&'static [&'static str], bool),
    /// `NAME=VALUE`, once per label.
    Label(&'static [&'static str]),
    /// `RESERVED[,FREE[,MAXIMUM]]` in megabytes, below this key.
    Storage(&'static [&'static str]),
    /// A level of the log, if it is switched on.
    Level(&'static str),
    /// Nothing: it is refused, for this reason.
    Nothing(&'static str),
}

use Sets::{Auto, Label, Level, List, Nothing, Number, Storage, Switch, Text};

macro_rules! flags {
    ($($name:literal $sets:expr, $help:literal;)*) => {
        &[$(Flag { name: $name, sets: $sets, help: $help }),*]
    };
}

const OCI: &str = "oci";
const CONTAINERD: &str = "containerd";

/// Every flag but `--config`, `--help` and `--version`. Of two that set the same key the later
/// counts.
pub const FLAGS: &[Flag] = flags! {
    "root" Text(&["root"]), "Directory of everything that is stored";
    "addr" List(&["grpc", "address"]), "Where to listen: unix://PATH, tcp://HOST:PORT, fd://";
    "group" Text(&["grpc", "gid"]), "Group, by name or number, that may use the Unix sockets";
    "debugaddr" Text(&["grpc", "debugAddress"]),
        "Where metrics and the state of the daemon are shown: HOST:PORT or unix://PATH [env: BUILDKITD_DEBUGADDR]";
    "tlscert" Text(&["grpc", "tls", "cert"]), "Certificate for TCP sockets, a PEM file";
    "tlskey" Text(&["grpc", "tls", "key"]), "Its private key";
    "tlscacert" Text(&["grpc", "tls", "ca"]), "Authorities whose certificates clients must show";
    "allow-plain-tcp" Switch(&["kiln", "allowPlainTCP"]), "Listen on TCP without TLS, to whoever connects";
    "debug" Level("debug"), "Log in detail; --debug=trace logs HTTP/2, too";
    "trace" Level("trace"), "Log everything";
    "log-level" Text(&["log", "level"]),
        "Log this and what matters more: error, warn, info, debug, trace [env: BUILDKITD_LOG_LEVEL]";
    "log-format" Text(&["log", "format"]), "How log lines are written: text, json";
    "allow-insecure-entitlement" List(&["insecure-entitlements"]),
        "Let builds ask for network.host, security.insecure or device";
    "plugin-path" List(&["kiln", "pluginPath"]), "Directory with frontend plugins";
    "unconfined-plugins" Switch(&["kiln", "unconfinedPlugins"]),
        "Run plugins as plain processes of this machine, with all that this daemon may do";
    "emulator" List(&["kiln", "emulators"]),
        "Emulator for programs of another architecture, or directory of some: qemu-ARCH-static";
    "pull-frontends" Switch(&["kiln", "pullFrontends"]),
        "Pull images of frontends, also where one that is linked in stands for them";
    "stop-timeout" Text(&["kiln", "stopTimeout"]),
        "How long running builds may go on once the daemon is to stop [default: 5s]";
    "step-stop-timeout" Text(&["kiln", "stepStopTimeout"]),
        "How long a cancelled step may take to end after SIGTERM, before SIGKILL [default: 3s]";
    "interrupted-caches" Text(&["kiln", "interruptedCaches"]),
        "What becomes of a cache mount whose step was killed: keep, discard [default: keep]";
    "proxy-network" Switch(&["proxyNetwork"]), "Let steps reach the network through a recording proxy";
    "otel-socket-path" Text(&["otel", "socketPath"]), "Socket that steps send traces to";
    "cdi-disabled" Switch(&["cdi", "disabled"]), "Give no devices to steps";
    "cdi-spec-dir" List(&["cdi", "specDirs"]), "Directory with specifications of devices";
    "save-cache-debug" Nothing("there is no record of cache keys to save; leave it out"),
        "Save how cache keys came about";
    "rootless" Switch(&["worker", OCI, "rootless"]), "Expect to run in a user namespace";
    "oci-worker" Auto(&["worker", OCI, "enabled"], true), "Whether there is a worker: true, false, auto";
    "oci-worker-labels" Label(&["worker", OCI, "labels"]), "Label of the worker, NAME=VALUE";
    "oci-worker-snapshotter" Text(&["worker", OCI, "snapshotter"]), "How layers are laid over one another";
    "oci-worker-proxy-snapshotter-path" Text(&["worker", OCI, "proxySnapshotterPath"]),
        "Socket of a snapshotter elsewhere";
    "oci-worker-platform" List(&["worker", OCI, "platforms"]), "Platform that the worker says it runs";
    "oci-worker-net" Text(&["worker", OCI, "networkMode"]), "How steps are connected: auto, host, bridge, cni, none";
    "oci-cni-config-path" Text(&["worker", OCI, "cniConfigPath"]), "File that says which CNI plugins make a network";
    "oci-cni-binary-dir" Text(&["worker", OCI, "cniBinaryPath"]), "Directory of CNI plugins";
    "oci-cni-pool-size" Number(&["worker", OCI, "cniPoolSize"]), "How many networks are made ahead";
    "oci-worker-binary" Text(&["worker", OCI, "binary"]), "OCI runtime that runs steps, instead of Kiln";
    "oci-worker-apparmor-profile" Text(&["worker", OCI, "apparmor-profile"]), "AppArmor profile of steps";
    "oci-worker-selinux" Switch(&["worker", OCI, "selinux"]), "Label steps for SELinux";
    "oci-max-parallelism" Number(&["worker", OCI, "max-parallelism"]), "Steps at the same time";
    "oci-worker-rootless" Switch(&["worker", OCI, "rootless"]), "Expect to run in a user namespace";
    "oci-worker-no-process-sandbox" Switch(&["worker", OCI, "noProcessSandbox"]),
        "Run steps among the processes of the daemon";
    "oci-worker-gc" Switch(&["worker", OCI, "gc"]), "Collect what is not used";
    "oci-worker-gc-keepstorage" Storage(&["worker", OCI]),
        "What collecting leaves, RESERVED[,FREE[,MAXIMUM]] in megabytes";
    "containerd-worker" Auto(&["worker", CONTAINERD, "enabled"], false), "Use containerd: true, false, auto";
    "containerd-worker-addr" Text(&["worker", CONTAINERD, "address"]), "Socket of containerd";
    "containerd-worker-labels" Label(&["worker", CONTAINERD, "labels"]), "Label of the worker, NAME=VALUE";
    "containerd-worker-platform" List(&["worker", CONTAINERD, "platforms"]), "Platform of the worker";
    "containerd-worker-namespace" Text(&["worker", CONTAINERD, "namespace"]), "Namespace in containerd";
    "containerd-worker-runtime" Text(&["worker", CONTAINERD, "runtime", "name"]), "Runtime in containerd";
    "containerd-worker-net" Text(&["worker", CONTAINERD, "networkMode"]), "How steps are connected";
    "containerd-cni-config-path" Text(&["worker", CONTAINERD, "cniConfigPath"]), "File for CNI plugins";
    "containerd-cni-binary-dir" Text(&["worker", CONTAINERD, "cniBinaryPath"]), "Directory of CNI plugins";
    "containerd-cni-pool-size" Number(&["worker", CONTAINERD, "cniPoolSize"]), "How many networks are made ahead";
    "containerd-worker-snapshotter" Text(&["worker", CONTAINERD, "snapshotter"]), "Snapshotter in containerd";
    "containerd-worker-apparmor-profile" Text(&["worker", CONTAINERD, "apparmor-profile"]), "AppArmor profile of steps";
    "containerd-worker-selinux" Switch(&["worker", CONTAINERD, "selinux"]), "Label steps for SELinux";
    "containerd-max-parallelism" Number(&["worker", CONTAINERD, "max-parallelism"]), "Steps at the same time";
    "containerd-worker-rootless" Switch(&["worker", CONTAINERD, "rootless"]), "Expect containerd in a user namespace";
    "containerd-worker-gc" Switch(&["worker", CONTAINERD, "gc"]), "Collect what is not used";
    "containerd-worker-gc-keepstorage" Storage(&["worker", CONTAINERD]), "What collecting leaves, in megabytes";
};

/// What the values of keys are, by the last part of the key.
const VALUE_NAMES: &[(&[&str], &str)] = &[
    (&["root", "pluginPath", "specDirs", "cniBinaryPath"], "DIRECTORY"),
    (&["address", "debugAddress"], "ADDRESS"),
    (&["gid"], "GROUP"),
    (&["cert", "key", "ca", "cniConfigPath"], "FILE"),
    (&["emulators"], "PATH"),
    (&["level"], "LEVEL"),
    (&["format"], "FORMAT"),
    (&["insecure-entitlements"], "ENTITLEMENT"),
    (&["stopTimeout", "stepStopTimeout"], "DURATION"),
    (&["interruptedCaches"], "keep|discard"),
    (&["socketPath", "proxySnapshotterPath"], "SOCKET"),
    (&["snapshotter", "namespace", "name"], "NAME"),
    (&["platforms"], "PLATFORM"),
    (&["networkMode"], "MODE"),
    (&["binary"], "PROGRAM"),
    (&["apparmor-profile"], "PROFILE"),
];

/// Variables that say what a flag says, where there is no such flag.
pub const VARIABLES: &[(&str, &[&str])] = &[
    ("BUILDKITD_LOG_LEVEL", &["log", "level"]),
    ("BUILDKITD_DEBUGADDR", &["grpc", "debugAddress"]),
];

/// A command line that has been read.
#[derive(Debug)]
pub struct CommandLine {
    /// The configuration file it names.
    pub config: Option<PathBuf>,
    /// The values of its flags.
    pub layer: Layer,
}

impl Flag {
    /// The key it sets.
    fn path(&self) -> Option<Vec<&'static str>> {
        match self.sets {
            Text(path) | List(path) | Number(path) | Switch(path) | Auto(path, _) => {
                Some(path.to_vec())
            }
            Label(path) => Some([path, &["*"]].concat()),
            Storage(path) => Some([path, &["reservedSpace"]].concat()),
            Level(_) => Some(vec!["log", "level"]),
            Nothing(_) => None,
        }
    }

    /// Whether it is of no use here, and known all the same.
    fn is_hidden(&self) -> bool {
        let key = self.path().and_then(|path| keys::find(&path));
        key.is_none_or(|key| matches!(key.treatment, Treatment::Idle(_) | Treatment::Refused(_)))
    }
}

impl CommandLine {
    /// Reads the arguments of a process, its name first.
    ///
    /// # Errors
    ///
    /// clap's: what is no flag, with the one that is nearest, or a text for `--help` and
    /// `--version`. What is wrong with values is said by the layer.
    pub fn parse(program: Program, arguments: Vec<String>) -> Result<Self, clap::Error> {
        let arguments = arguments.into_iter().map(|text| program.respell(text));
        let matches = command(program).try_get_matches_from(arguments)?;
        let config = last(&matches, "config").map(PathBuf::from);
        let mut lines = Lines::default();
        for flag in FLAGS {
            let values = matches.get_many::<String>(flag.name).into_iter().flatten();
            let values: Vec<(&str, Span)> = values
                .map(|value| (value.as_str(), lines.add(&format!("--{}=", flag.name), value)))
                .collect();
            lines.set(flag.sets, &values);
        }
        Ok(Self { config, layer: lines.into_layer("command line") })
    }
}

/// The variables that stand for flags, as a layer.
pub fn variables<'a>(variable: impl Fn(&str) -> Option<&'a str>) -> Layer {
    let mut lines = Lines::default();
    for (name, path) in VARIABLES {
        if let Some(value) = variable(name).filter(|value| !value.is_empty()) {
            let span = lines.add(&format!("{name}="), value);
            lines.put(path, text(value, span));
        }
    }
    lines.into_layer("environment")
}

/// Every flag, as clap sees them: for parsing, and for pages and completions made of them.
pub fn command(program: Program) -> Command {
    let flags = FLAGS.iter().map(|flag| {
        let arg = Arg::new(flag.name).long(flag.name).help(flag.help).action(ArgAction::Append);
        match flag.sets {
            Switch(_) | Level(_) | Nothing(_) => {
                arg.num_args(0..=1).require_equals(true).default_missing_value("true")
            }
            Number(_) => arg.allow_negative_numbers(true),
            _ => arg,
        }
        .value_name(value_name(flag.sets))
        .hide(flag.is_hidden())
    });
    Command::new(program.name())
        .about("A build daemon that speaks BuildKit's Control API")
        .version(concat!("kiln ", env!("CARGO_PKG_VERSION")))
        .disable_version_flag(true)
        .max_term_width(100)
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .action(ArgAction::Append)
                .help("Configuration file, in TOML; its keys are those of buildkitd.toml"),
        )
        .args(flags)
        .arg(Arg::new("version").long("version").short('v').action(ArgAction::Version).help("Print version"))
        .after_help(
            "Every flag of buildkitd is known: those that are not shown have no effect here and say so in \
             the log, or are refused with what to do instead.",
        )
}

fn value_name(sets: Sets) -> &'static str {
    match sets {
        Number(_) => "NUMBER",
        Switch(_) | Nothing(_) => "BOOL",
        Level(_) => "LEVEL",
        Auto(..) => "BOOL|auto",
        Label(_) => "NAME=VALUE",
        Storage(_) => "MEGABYTES",
        Text(path) | List(path) => {
            let last = path.last().copied().unwrap_or_default();
            let known = VALUE_NAMES.iter().find(|(keys, _)| keys.contains(&last));
            known.map_or("VALUE", |(_, name)| name)
        }
    }
}

fn last<'a>(matches: &'a ArgMatches, name: &str) -> Option<&'a str> {
    matches.get_many::<String>(name)?.next_back().map(String::as_str)
}

/// A text with a line per value, and the tree of the values.
#[derive(Default)]
struct Lines {
    text: String,
    tree: Option<Node>,
    mistakes: Vec<kiln_document::Diagnostic>,
}

impl Lines {
    /// Adds a line, and says where its value stands.
    fn add(&mut self, before: &str, value: &str) -> Span {
        self.text += before;
        let start = self.text.len();
        self.text += value;
        let span = Span::new(start, self.text.len());
        self.text += "\n";
        span
    }

    fn set(&mut self, sets: Sets, values: &[(&str, Span)]) {
        let Some((value, span)) = values.last().copied() else { return };
        match sets {
            Text(path) => self.put(path, text(value, span)),
            List(path) => {
                let items = values.iter().map(|(value, span)| text(value, *span)).collect();
                self.put(path, Node { span, value: Value::List(items) });
            }
            Number(path) => self.put(path, number(value, span)),
            Switch(path) => self.put(path, switch(value, span)),
            Auto(path, auto) => {
                let is_auto = value.is_empty() || value.eq_ignore_ascii_case("auto");
                let given = Node { span, value: Value::Bool(auto) };
                self.put(path, if is_auto { given } else { switch(value, span) });
            }
            Level(level) => self.level(level, value, span),
            Label(path) => values.iter().for_each(|(value, span)| self.label(path, value, *span)),
            Storage(path) => self.storage(path, value, span),
            Nothing(reason) => {
                if !matches!(switch(value, span).value, Value::Bool(false)) {
                    self.refuse(span, reason.to_owned());
                }
            }
        }
    }

    /// `--debug` and `--trace`, which a level by name overrules; without them, the file decides.
    fn level(&mut self, level: &str, value: &str, span: Span) {
        match switch(value, span).value {
            Value::Bool(true) => self.put(&["log", "level"], text(level, span)),
            Value::Bool(false) => self.put(&[level], switch(value, span)),
            _ if matches!(value, "debug" | "trace") => {
                self.put(&["log", "level"], text(value, span));
            }
            _ => self.refuse(
                span,
                format!("expected `true`, `false`, `debug` or `trace`, found `{value}`"),
            ),
        }
    }

    fn label(&mut self, path: &[&str], value: &str, span: Span) {
        match value.split_once('=') {
            Some((name, label)) if !name.is_empty() => {
                self.put(&[path, &[name]].concat(), text(label, span));
            }
            _ => self.refuse(span, format!("a label is NAME=VALUE, and `{value}` is not")),
        }
    }

    fn storage(&mut self, path: &[&str], value: &str, span: Span) {
        const PARTS: [&str; 3] = ["reservedSpace", "minFreeSpace", "maxUsedSpace"];
        let megabytes = |text: &str| text.trim().parse::<i64>().ok().filter(|number| *number >= 0);
        let parts: Option<Vec<i64>> =
            value.split(',').map(|part| megabytes(part)?.checked_mul(1_000_000)).collect();
        match parts.filter(|parts| parts.len() <= PARTS.len()) {
            Some(parts) => PARTS.iter().zip(parts).for_each(|(name, bytes)| {
                let value = Value::Number(bytes.into());
                self.put(&[path, &[*name]].concat(), Node { span, value });
            }),
            None => self.refuse(
                span,
                format!("`{value}` is not RESERVED[,FREE[,MAXIMUM]], whole numbers of megabytes"),
            ),
        }
    }

    fn refuse(&mut self, span: Span, message: String) {
        self.mistakes.push(kiln_document::Diagnostic::error(message).at(span));
    }

    fn put(&mut self, path: &[&str], value: Node) {
        let span = value.span;
        let tree = self.tree.get_or_insert(Node { span, value: Value::Map(Vec::new()) });
        put(tree, path, value);
    }

    fn into_layer(self, name: &str) -> Layer {
        let empty = || Node { span: Span::default(), value: Value::Map(Vec::new()) };
        Layer {
            source: Source::new(name, &self.text),
            tree: self.tree.unwrap_or_else(empty),
            mistakes: self.mistakes,
        }
    }
}

fn text(value: &str, span: Span) -> Node {
    Node { span, value: Value::Text(value.to_owned()) }
}

/// A whole number, or the text that is none.
fn number(value: &str, span: Span) -> Node {
    match value.parse::<i64>() {
        Ok(number) => Node { span, value: Value::Number(number.into()) },
        Err(_) => text(value, span),
    }
}

/// What Go reads as true or false, or the text that is neither.
fn switch(value: &str, span: Span) -> Node {
    let value = match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Value::Bool(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Value::Bool(false),
        _ => return text(value, span),
    };
    Node { span, value }
}
