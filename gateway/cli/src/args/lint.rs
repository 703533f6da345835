//! The flags of `lint` and `lsp`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// What is checked, and what comes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct LintArgs {
    /// Build files
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Put right what needs nobody's judgement
    #[arg(long)]
    pub fix: bool,
    /// How: text, json or sarif
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: LintFormat,
    /// Frontend: a name, or the path of an executable or project; chosen by the file's name unless
    /// given
    #[arg(long, value_name = "NAME|PATH")]
    pub frontend: Option<String>,
    /// Option of the frontend
    #[arg(long, value_name = "KEY=VALUE")]
    pub opt: Vec<String>,
}

/// How findings are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LintFormat {
    /// For people.
    #[default]
    Text,
    /// A list.
    Json,
    /// SARIF 2.1.0, for code hosts and editors.
    Sarif,
}

/// Which languages are known besides those that are built in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct LspArgs {
    /// JSON Schema of the files of a name, such as image.yaml=schema.json
    #[arg(long, value_name = "FILE=SCHEMA")]
    pub schema: Vec<String>,
}
