//! The commands for makers of frontends.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Drawing, Format, LlbFormat};

/// A command of `frontend`.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum FrontendCommand {
    /// Write the project of a new frontend
    New(NewArgs),
    /// Run the tests of a frontend's project, and the conformance kit on what it builds
    Test(TestArgs),
    /// Make a gateway.v0 image out of a frontend
    Pack(PackArgs),
    /// Pack a frontend and push its image to a registry
    Push(PushArgs),
    /// Find out how a frontend behaves where many go wrong
    Conform(ConformArgs),
    /// Show what a frontend makes of a file, as LLB people can read; no daemon is needed
    Snapshot(SnapshotArgs),
    /// Draw what a frontend makes of a file; no daemon is needed
    Graph(GraphArgs),
    /// Run a frontend on a recorded case, and compare what it says with what is expected
    Replay(ReplayArgs),
    /// Show what a frontend makes of a file, and what changes whenever either is saved
    Dev(DevArgs),
}

/// Which frontend to begin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct NewArgs {
    /// Name of the frontend and of its crate; with toml or json in it, files are in that format
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Directory of the project; NAME here unless given
    #[arg(long, value_name = "DIRECTORY")]
    pub path: Option<PathBuf>,
    /// Where Kiln's SDK is: a checkout of Kiln, or a version; the checkout this kiln was built from
    /// unless given
    #[arg(long, value_name = "PATH|VERSION")]
    pub sdk: Option<String>,
}

/// How a project is built.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct ProjectArgs {
    /// Project of the frontend; the one around the current directory unless given
    #[arg(long, value_name = "DIRECTORY")]
    pub project: Option<PathBuf>,
    /// Program of the project, if it has several
    #[arg(long, value_name = "NAME")]
    pub bin: Option<String>,
    /// Build without asking the network for anything
    #[arg(long)]
    pub offline: bool,
}

/// What to test.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct TestArgs {
    /// How the project is built
    #[command(flatten)]
    pub project: ProjectArgs,
    /// Run the project's own tests only
    #[arg(long)]
    pub no_conform: bool,
    /// File the conformance kit gives the frontend; the project's sample unless given
    #[arg(long, short = 'f', value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Arguments of cargo test
    #[arg(last = true, value_name = "ARGUMENT")]
    pub arguments: Vec<String>,
}

/// Which executable, and where the image goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct PackArgs {
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
    /// Name of the image; localhost/PACKAGE:VERSION for a project unless given
    #[arg(long, short = 't', value_name = "REFERENCE")]
    pub name: Option<String>,
    /// What is packed
    #[command(flatten)]
    pub image: ImageArgs,
}

/// Which executable, and under which name it is pushed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct PushArgs {
    /// Name of the image
    #[arg(value_name = "IMAGE")]
    pub name: String,
    /// What is packed
    #[command(flatten)]
    pub image: ImageArgs,
}

/// What an image is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct ImageArgs {
    /// The frontend's executable; shared libraries it needs are packed with it. Without one, the
    /// project is built
    #[arg(value_name = "EXECUTABLE")]
    pub executable: Option<PathBuf>,
    /// How the project is built
    #[command(flatten)]
    pub project: ProjectArgs,
    /// Profile the project is built with
    #[arg(long, value_name = "NAME", default_value = "release")]
    pub profile: String,
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

/// Which frontend is examined, with what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct ConformArgs {
    /// Frontend: a name, the path of an executable or project, or an image
    #[arg(value_name = "NAME|PATH|IMAGE")]
    pub frontend: String,
    /// Directory with a build file for the frontend; what the kit brings along unless given
    #[arg(value_name = "DIRECTORY")]
    pub directory: Option<PathBuf>,
    /// Build file in the directory
    #[arg(long, short = 'f', value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How: table or json
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

/// What a frontend is asked, without a daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct AskArgs {
    /// Option of the frontend
    #[arg(long, value_name = "KEY=VALUE")]
    pub opt: Vec<String>,
    /// Config of a base image; images without one are made up
    #[arg(long, value_name = "REFERENCE=CONFIG.JSON")]
    pub image: Vec<String>,
    /// Platform of the worker, the default one first
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub platform: Vec<String>,
    /// Directory of the build context; the build file's unless given
    #[arg(long, value_name = "DIRECTORY")]
    pub context: Option<PathBuf>,
}

/// Which file is shown, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(allow_missing_positional = true)]
pub(crate) struct SnapshotArgs {
    /// Frontend: a name, or the path of an executable or project; chosen by the file's name unless
    /// given
    #[arg(value_name = "NAME|PATH")]
    pub frontend: Option<String>,
    /// Build file
    #[arg(value_name = "FILE", required = true)]
    pub file: PathBuf,
    /// What the frontend is asked
    #[command(flatten)]
    pub ask: AskArgs,
    /// How
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: LlbFormat,
}

/// Which file is drawn, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(allow_missing_positional = true)]
pub(crate) struct GraphArgs {
    /// Frontend: a name, or the path of an executable or project; chosen by the file's name unless
    /// given
    #[arg(value_name = "NAME|PATH")]
    pub frontend: Option<String>,
    /// Build file
    #[arg(value_name = "FILE", required = true)]
    pub file: PathBuf,
    /// What the frontend is asked
    #[command(flatten)]
    pub ask: AskArgs,
    /// How
    #[arg(long, value_name = "FORMAT", default_value = "dot")]
    pub format: Drawing,
}

/// Which case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct ReplayArgs {
    /// Frontend: a name, or the path of an executable
    #[arg(value_name = "NAME|PATH")]
    pub frontend: String,
    /// Directory with case.json, the files it names, and perhaps expected.json
    #[arg(value_name = "CASE")]
    pub directory: PathBuf,
}

/// Which file is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct DevArgs {
    /// Build file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Go on whenever the file or the frontend is saved
    #[arg(long, short = 'w')]
    pub watch: bool,
    /// Frontend: a name, or the path of an executable or project; the project around the current
    /// directory unless given
    #[arg(long, value_name = "NAME|PATH")]
    pub frontend: Option<String>,
    /// Build without asking the network for anything
    #[arg(long)]
    pub offline: bool,
    /// What the frontend is asked
    #[command(flatten)]
    pub ask: AskArgs,
}
