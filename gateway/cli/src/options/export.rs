//! `--output`: what a result becomes, and where it goes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kiln_document::did_you_mean;

use super::fields::parse_bool;
use super::{Fields, OptionError};

const FLAG: &str = "--output";

/// What may stand behind `type=`; a daemon may know more.
const KINDS: &[&str] = &["image", "registry", "oci", "docker", "local", "tar"];

/// One output of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Export {
    /// What the result becomes.
    pub kind: ExportKind,
    /// What the daemon is told about it.
    pub attrs: BTreeMap<String, String>,
    /// Where this side puts it.
    pub dest: Dest,
}

/// The kinds of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ExportKind {
    /// An image in a store or registry.
    Image,
    /// An OCI layout.
    Oci,
    /// A tar as `docker load` takes it.
    Docker,
    /// A directory.
    Local,
    /// A tar of the files.
    Tar,
    /// A kind the daemon may know.
    Other(String),
}

/// Where this side puts what the daemon sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dest {
    /// Nothing is sent.
    Nothing,
    /// Into a directory, file by file.
    Directory(PathBuf),
    /// Into a file, as one stream.
    File(PathBuf),
    /// To standard output, as one stream.
    Stdout,
    /// Into Docker or Podman, as one stream.
    Load,
}

impl ExportKind {
    /// Its name on the wire.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Image => "image",
            Self::Oci => "oci",
            Self::Docker => "docker",
            Self::Local => "local",
            Self::Tar => "tar",
            Self::Other(name) => name,
        }
    }

    /// The kind of a name. `registry` is an image that is pushed, as it is for `docker build`.
    fn of(name: String, attrs: &mut BTreeMap<String, String>) -> Result<Self, String> {
        Ok(match name.as_str() {
            "image" => Self::Image,
            "registry" => {
                attrs.entry("push".to_owned()).or_insert_with(|| "true".to_owned());
                Self::Image
            }
            "oci" => Self::Oci,
            "docker" => Self::Docker,
            "local" => Self::Local,
            "tar" => Self::Tar,
            _ => match did_you_mean(&name, KINDS.iter().copied()) {
                Some(meant) => {
                    return Err(format!("there is no output type {name:?}, did you mean {meant}?"));
                }
                None => Self::Other(name),
            },
        })
    }

    /// Whether it has a name that the user chooses.
    pub(crate) fn is_image(&self) -> bool {
        matches!(self, Self::Image | Self::Oci | Self::Docker)
    }
}

impl Export {
    /// Reads one `--output`. A text without `=` is a directory, or `-` for a tar on standard output.
    ///
    /// # Errors
    ///
    /// If a field is missing or does not fit the kind, or a tar would be written to a terminal.
    pub(crate) fn parse(text: &str, stdout_terminal: bool) -> Result<Self, OptionError> {
        if text == "-" {
            refuse_terminal(text, "tar", stdout_terminal)?;
            return Ok(Self { kind: ExportKind::Tar, attrs: BTreeMap::new(), dest: Dest::Stdout });
        }
        if !text.is_empty() && !text.contains('=') {
            let dest = Dest::Directory(text.into());
            return Ok(Self { kind: ExportKind::Local, attrs: BTreeMap::new(), dest });
        }
        let mut fields = Fields::parse(FLAG, text)?;
        let Some(kind) = fields.take("type").filter(|kind| !kind.is_empty()) else {
            let reason = "--output requires type=<type>: image, oci, docker, local or tar";
            return Err(fields.error(reason.to_owned() + &fields.misspelt("type")));
        };
        let dest = fields.take("dest").unwrap_or_default();
        let mut attrs = fields.clone().rest();
        let kind = ExportKind::of(kind, &mut attrs).map_err(|reason| fields.error(reason))?;
        if let Some(output) = attrs.get("output") {
            let reason =
                format!("output={output} not supported for --output, you meant dest={output}?");
            return Err(fields.error(reason));
        }
        let dest = resolve(&kind, &dest, &attrs, stdout_terminal)
            .map_err(|reason| fields.error(reason + &fields.misspelt("dest")))?;
        Ok(Self { kind, attrs, dest })
    }

    /// Reads all outputs of a build.
    ///
    /// # Errors
    ///
    /// As [`Export::parse`], and if two would be written to the same place.
    pub(crate) fn parse_all(texts: &[String], terminal: bool) -> Result<Vec<Self>, OptionError> {
        let mut exports: Vec<Self> = Vec::new();
        for text in texts {
            let export = Self::parse(text, terminal)?;
            let shared = export.dest != Dest::Nothing
                && exports.iter().any(|other| other.dest == export.dest);
            if shared {
                return Err(OptionError::new(FLAG, text, "another output goes there already"));
            }
            exports.push(export);
        }
        Ok(exports)
    }
}

fn resolve(
    kind: &ExportKind,
    dest: &str,
    attrs: &BTreeMap<String, String>,
    stdout_terminal: bool,
) -> Result<Dest, String> {
    let tar = attrs.get("tar").and_then(|tar| parse_bool(tar)).unwrap_or(true);
    let name = kind.as_str();
    match kind {
        ExportKind::Local | ExportKind::Oci | ExportKind::Docker
            if *kind == ExportKind::Local || !tar =>
        {
            match dest {
                "" => {
                    Err(format!("output directory is required for {name} exporter: add dest=PATH"))
                }
                path => Ok(Dest::Directory(path.into())),
            }
        }
        ExportKind::Local | ExportKind::Oci | ExportKind::Docker | ExportKind::Tar => match dest {
            "" | "-" if stdout_terminal => Err(format!(
                "output file is required for {name} exporter. refusing to write to console"
            )),
            "" | "-" => Ok(Dest::Stdout),
            path => Ok(Dest::File(path.into())),
        },
        ExportKind::Image | ExportKind::Other(_) => match dest {
            "" => Ok(Dest::Nothing),
            path => Err(format!("output {path} is not supported by {name} exporter")),
        },
    }
}

fn refuse_terminal(text: &str, name: &str, terminal: bool) -> Result<(), OptionError> {
    let reason =
        format!("output file is required for {name} exporter. refusing to write to console");
    if terminal { Err(OptionError::new(FLAG, text, reason)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        match Export::parse(text, false) {
            Ok(Export { kind, attrs, dest }) => format!("{} {attrs:?} {dest:?}", kind.as_str()),
            Err(error) => error.reason,
        }
    }

    #[test]
    fn outputs_go_where_their_kind_allows() {
        for (text, expected) in [
            ("out", r#"local {} Directory("out")"#),
            ("-", "tar {} Stdout"),
            ("type=local,dest=a", r#"local {} Directory("a")"#),
            ("type=oci,dest=a.tar", r#"oci {} File("a.tar")"#),
            ("type=oci,tar=false,dest=a", r#"oci {"tar": "false"} Directory("a")"#),
            ("type=docker,name=x", r#"docker {"name": "x"} Stdout"#),
            ("type=image,name=x,push=true", r#"image {"name": "x", "push": "true"} Nothing"#),
            ("type=image,dest=x", "output x is not supported by image exporter"),
            ("type=local", "output directory is required for local exporter: add dest=PATH"),
            ("dest=x", "--output requires type=<type>: image, oci, docker, local or tar"),
            ("type=tar,output=x", "output=x not supported for --output, you meant dest=x?"),
            ("type=custom,a=b", r#"custom {"a": "b"} Nothing"#),
            ("type=registry,name=x", r#"image {"name": "x", "push": "true"} Nothing"#),
            ("type=lcoal,dest=x", r#"there is no output type "lcoal", did you mean local?"#),
            (
                "type=local,dset=x",
                r#"output directory is required for local exporter: add dest=PATH, did you mean dest by "dset"?"#,
            ),
            (
                "tpye=oci",
                r#"--output requires type=<type>: image, oci, docker, local or tar, did you mean type by "tpye"?"#,
            ),
        ] {
            assert_eq!(parsed(text), expected, "{text}");
        }
    }

    #[test]
    fn a_terminal_is_not_written_to() {
        for text in ["-", "type=tar", "type=oci,dest=-"] {
            let reason = Export::parse(text, true).unwrap_err().reason;
            assert!(reason.contains("refusing to write to console"), "{reason}");
        }
        assert!(Export::parse("type=image", true).is_ok());
    }

    #[test]
    fn two_outputs_cannot_share_a_place() {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(Export::parse_all(&texts(&["-", "type=oci"]), false).is_err());
        assert!(Export::parse_all(&texts(&["a", "b", "type=image", "type=image"]), false).is_ok());
    }
}
