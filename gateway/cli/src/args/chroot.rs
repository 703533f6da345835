//! What becomes of this process when it is to be a program in another root.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

/// Which root and which program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct ChrootArgs {
    /// The directory that becomes the root
    #[arg(value_name = "ROOT")]
    pub root: PathBuf,
    /// Where the program starts, in there
    #[arg(value_name = "DIRECTORY")]
    pub directory: PathBuf,
    /// The program and its arguments
    #[arg(
        value_name = "COMMAND",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub command: Vec<OsString>,
}
