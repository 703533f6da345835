//! How LLB is shown.

use clap::ValueEnum;

/// How LLB is written to standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LlbFormat {
    /// Steps that people can read and compare, without digests.
    #[default]
    Text,
    /// The answer of the frontend, in the form of a recorded case's.
    Json,
    /// The definition itself, ready for kiln build.
    Binary,
    /// A graph in the DOT language.
    Dot,
    /// A picture.
    Svg,
}

/// How LLB is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Drawing {
    /// A graph in the DOT language.
    #[default]
    Dot,
    /// A picture.
    Svg,
}
