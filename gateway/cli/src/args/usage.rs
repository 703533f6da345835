//! The flags of `du` and `prune`.

use clap::Args;

/// What of the cache to show, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct DuArgs {
    /// Show all that is known of each record
    #[arg(long, short = 'v')]
    pub verbose: bool,
    /// Show only records that match, such as type==regular
    #[arg(long, short = 'f', value_name = "FILTER")]
    pub filter: Vec<String>,
    /// How: table or json
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

/// What of the cache to remove.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct PruneArgs {
    /// Remove images that have a name, and what frontends and internal steps keep, too
    #[arg(long)]
    pub all: bool,
    /// Remove only records that match, such as type==regular
    #[arg(long, short = 'f', value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Keep what was used within this time, such as 48h
    #[arg(long, value_name = "DURATION")]
    pub keep_duration: Option<String>,
    /// Keep at most this much, in MB (or with a unit)
    #[arg(long, value_name = "SIZE")]
    pub keep_storage: Option<String>,
    /// Keep at least this much, in MB (or with a unit)
    #[arg(long, value_name = "SIZE")]
    pub keep_storage_min: Option<String>,
    /// Remove until this much of the disk is free, in MB (or with a unit)
    #[arg(long, value_name = "SIZE")]
    pub free_storage: Option<String>,
    /// Show all that is known of each record
    #[arg(long, short = 'v')]
    pub verbose: bool,
    /// How: table or json
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

/// How records are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON document.
    Json,
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "table" | "" => Ok(Self::Table),
            // The one template of BuildKit's that scripts use.
            "json" | "{{json .}}" => Ok(Self::Json),
            other => Err(format!("unknown format {other:?}: use table or json")),
        }
    }
}
