//! The flags of `why`.

use clap::Args;

use super::Format;

/// Which steps of which build, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct WhyArgs {
    /// The build; without one, the last that has ended. What is no build is a step of that
    #[arg(value_name = "BUILD")]
    pub build: Option<String>,
    /// Only steps whose name has this in it, or fits it as a pattern such as 'RUN apt*'
    #[arg(value_name = "STEP")]
    pub step: Option<String>,
    /// How: table (for people) or json
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}
