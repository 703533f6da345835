//! Where a packed image goes: `--output` of `frontend pack`.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::PathBuf;

use async_trait::async_trait;
use kiln_oci::Reference;

use super::image::FrontendImage;
use super::layout;
use crate::options::{Fields, OptionError};

const FLAG: &str = "--output";

/// Takes images: a registry, or the daemon's store.
#[async_trait]
pub(crate) trait ImageSink: Send + Sync {
    /// Keeps `image` under `name`.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from being kept.
    async fn put(&self, image: &FrontendImage, name: &Reference) -> anyhow::Result<()>;
}

/// Where an image goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PackTarget {
    /// Into an OCI layout.
    Layout(PathBuf),
    /// Into a tar of an OCI layout.
    Tar(PathBuf),
    /// To standard output, as a tar of an OCI layout.
    Stdout,
    /// To the registry its name says.
    Registry,
    /// Into the store of kiln's own daemon.
    Store,
}

impl PackTarget {
    /// Reads `--output`.
    ///
    /// # Errors
    ///
    /// If it is of another form, or a tar would be written to a terminal.
    pub(crate) fn parse(text: &str, stdout_terminal: bool) -> Result<Self, OptionError> {
        let target = match text {
            "store" => Self::Store,
            "registry" => Self::Registry,
            "-" => Self::Stdout,
            text if !text.is_empty() && !text.contains('=') => Self::Layout(text.into()),
            text => Self::parse_fields(text)?,
        };
        if target == Self::Stdout && stdout_terminal {
            let reason = "output file is required for oci exporter. refusing to write to console";
            return Err(OptionError::new(FLAG, text, reason));
        }
        Ok(target)
    }

    fn parse_fields(text: &str) -> Result<Self, OptionError> {
        let mut fields = Fields::parse(FLAG, text)?;
        let kind = fields.take("type");
        let directory = fields.take("dir");
        let dest = fields.take("dest");
        let tar = fields.take_bool("tar")?.unwrap_or(true);
        fields.done()?;
        match (kind.as_deref(), directory, dest, tar) {
            (None | Some("oci"), Some(directory), None, _) => Ok(Self::Layout(directory.into())),
            (Some("oci"), None, Some(directory), false) => Ok(Self::Layout(directory.into())),
            (Some("oci"), None, None, true) => Ok(Self::Stdout),
            (Some("oci"), None, Some(dest), true) if dest == "-" => Ok(Self::Stdout),
            (Some("oci"), None, Some(dest), true) => Ok(Self::Tar(dest.into())),
            (Some("registry"), None, None, true) => Ok(Self::Registry),
            (Some("store"), None, None, true) => Ok(Self::Store),
            _ => Err(fields
                .error("should be type=oci,dest=FILE, dir=LAYOUT, type=registry or type=store")),
        }
    }

    /// Whether an image without a name can go there.
    pub(crate) fn needs_name(&self) -> bool {
        matches!(self, Self::Registry | Self::Store)
    }

    /// Writes an image to a place on this machine's disk; returns whether this is one.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub(crate) fn write(
        &self,
        image: &FrontendImage,
        name: Option<&Reference>,
    ) -> io::Result<bool> {
        match self {
            Self::Layout(directory) => layout::write_directory(directory, image, name)?,
            Self::Tar(path) => {
                layout::write_tar(BufWriter::new(File::create(path)?), image, name)?;
            }
            Self::Stdout => {
                layout::write_tar(BufWriter::new(io::stdout().lock()), image, name)?;
            }
            Self::Registry | Self::Store => return Ok(false),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_go_to_layouts_tars_registries_and_the_store() {
        let parse = |text| PackTarget::parse(text, false);
        assert_eq!(parse("dir=out"), Ok(PackTarget::Layout("out".into())));
        assert_eq!(parse("out"), Ok(PackTarget::Layout("out".into())));
        assert_eq!(parse("type=oci,tar=false,dest=out"), Ok(PackTarget::Layout("out".into())));
        assert_eq!(parse("type=oci,dest=f.tar"), Ok(PackTarget::Tar("f.tar".into())));
        assert_eq!(parse("type=oci,dest=-"), Ok(PackTarget::Stdout));
        assert_eq!(parse("type=registry"), Ok(PackTarget::Registry));
        assert_eq!(parse("store"), Ok(PackTarget::Store));
        assert!(parse("type=docker").is_err());
        assert!(parse("").is_err());
        assert!(PackTarget::parse("-", true).is_err());
    }
}
