//! `RUN` and the command lines it shares with `CMD` and `ENTRYPOINT`.

use kiln_sdk::frontend;

use super::mount::MountFlag;
use super::read::Request;
use crate::flags::{Flags, Takes};
use crate::quoting::quote;
use crate::suggest;

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
    /// `--mount`, in order, to be read when variables are known.
    pub mounts: Vec<MountFlag>,
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

/// What `RUN` takes. Devices are read in every channel of the language; the lowering refuses them.
pub(crate) const FLAGS: &[(&str, Takes)] = &[
    ("device", Takes::Texts),
    ("mount", Takes::Texts),
    ("network", Takes::Text),
    ("security", Takes::Text),
];

impl Run {
    /// Reads a `RUN`. Flags are checked in the order device, mount, network, security.
    pub(super) fn read(request: &Request<'_, '_>) -> Result<Self, String> {
        let mut flags = Flags::read(&request.node.flags, FLAGS)?;
        let names = flags.names();
        let devices = flags
            .texts("device")
            .iter()
            .map(|text| Device::parse(text))
            .collect::<Result<_, _>>()?;
        let mounts =
            flags.texts("mount").into_iter().map(MountFlag::check).collect::<Result<_, _>>()?;
        let network = match flags.has("network").then(|| flags.text("network")) {
            None => Network::Default,
            Some(mode) => Network::parse(&mode)?,
        };
        let security = match flags.has("security").then(|| flags.text("security")) {
            None => Security::Sandbox,
            Some(mode) => Security::parse(&mode)?,
        };
        Ok(Self {
            command: CommandLine::read(request),
            mounts,
            network,
            security,
            devices,
            flags: names,
        })
    }
}

impl CommandLine {
    /// Takes the command line of an instruction as it is.
    pub(super) fn read(request: &Request<'_, '_>) -> Self {
        let heredocs = request.node.heredocs.iter().map(|heredoc| Heredoc {
            name: heredoc.name.to_string(),
            content: heredoc.content.to_string(),
            chomp: heredoc.chomp,
        });
        Self {
            args: request.strings(),
            heredocs: heredocs.collect(),
            shell: !request.node.arguments.is_json(),
        }
    }
}

impl Network {
    fn parse(mode: &str) -> Result<Self, String> {
        match mode {
            "default" => Ok(Self::Default),
            "none" => Ok(Self::None),
            "host" => Ok(Self::Host),
            _ => Err(format!("invalid network mode {}", quote(mode))),
        }
    }
}

impl Security {
    fn parse(mode: &str) -> Result<Self, String> {
        match mode {
            "sandbox" => Ok(Self::Sandbox),
            "insecure" => Ok(Self::Insecure),
            _ => Err(format!("security {} is not valid", quote(mode))),
        }
    }
}

impl Device {
    /// Reads a device: fields with commas between them, of which one without a known key is the name.
    fn parse(text: &str) -> Result<Self, String> {
        let fields = frontend::fields(text)
            .map_err(|error| format!("failed to parse csv devices: {error}"))?;
        let mut device = Self::default();
        for field in fields {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_lowercase(), Some(value)),
                None => (field.to_lowercase(), None),
            };
            match (key.as_str(), value) {
                ("required", None) => device.required = true,
                ("required", Some(value)) => {
                    device.required = frontend::boolean(value)
                        .ok_or_else(|| format!("invalid value for {key}: {value}"))?;
                }
                ("name", Some(value)) if device.name.is_empty() => device.name = value.to_owned(),
                ("name", Some(_)) => {
                    return Err(format!("device name already set to {}", device.name));
                }
                _ if device.name.is_empty() => device.name = field,
                (_, None) => {
                    return Err(format!("invalid field '{field}' must be a key=value pair"));
                }
                (_, Some(_)) => {
                    let message = format!("unexpected key '{key}' in '{field}'");
                    return Err(suggest::hint(message, &key, ["name", "required"], true));
                }
            }
        }
        Ok(device)
    }
}
