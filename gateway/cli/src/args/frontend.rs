//! The commands for makers of frontends.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// A command of `frontend`.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum FrontendCommand {
    /// Make a gateway.v0 image out of a frontend's executable
    Pack(PackArgs),
}

/// Which executable, and where the image goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct PackArgs {
    /// The frontend's executable; shared libraries it needs are packed with it
    #[arg(value_name = "EXECUTABLE")]
    pub executable: PathBuf,
    /// Where the image goes: store (kiln's own), registry, type=oci,dest=FILE (a tar; - for
    /// standard output) or dir=LAYOUT
    #[arg(
        long,
        short = 'o',
        value_name = "OUTPUT",
        default_value = "store",
        allow_hyphen_values = true
    )]
    pub output: String,
    /// Name of the image
    #[arg(long, short = 't', value_name = "REFERENCE")]
    pub name: Option<String>,
    /// Platform of the image; the executable's unless given
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// Label of the image
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Vec<String>,
    /// Capabilities the frontend has, such as moby.buildkit.frontend.inputs
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',')]
    pub cap: Vec<String>,
    /// Run the frontend without a network (the default)
    #[arg(long, overrides_with = "network")]
    pub network_none: bool,
    /// Let the frontend use the network
    #[arg(long)]
    pub network: bool,
    /// Further file to pack: SOURCE=PATH-IN-IMAGE
    #[arg(long, value_name = "SOURCE=PATH")]
    pub file: Vec<String>,
}
