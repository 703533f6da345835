//! The flags of `doctor`.

use clap::Args;

use super::usage::Format;

/// How to say what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct DoctorArgs {
    /// How: table or json
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}
