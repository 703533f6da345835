//! Instructions with meaning: what each line of a Dockerfile asks for, before any variable is known.
//!
//! An [`ast::Instruction`](crate::ast::Instruction) comes in, a [`Statement`] goes out: flags are read, arguments
//! counted, heredocs attached, and every word that needs no variable is checked. Words stay as they
//! were written; who lowers a stage expands them. Nothing here knows of images or stages.

mod files;
mod mount;
mod read;
mod run;
mod words;

pub use files::{Add, Copy, InlineFile, Sources};
pub use mount::{Mount, MountFlag, MountKind, Sharing};
pub(crate) use run::FLAGS as RUN_FLAGS;
pub use run::{CommandLine, Device, Heredoc, Network, Run, Security};
pub use words::{ArgDefinition, From, Healthcheck, Pair};

use crate::lines::Lines;

/// Which language is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channel {
    /// The stable language.
    #[default]
    Mainline,
    /// The stable language and what is tried out: `RUN --device`.
    Labs,
}

/// One line of a Dockerfile (with its continuations and heredocs), understood.
#[derive(Clone, Debug)]
pub enum Statement {
    /// A stage begins.
    From(From),
    /// An instruction of a stage, or a global `ARG`.
    Instruction(Instruction),
}

/// An instruction of a stage.
#[derive(Clone, Debug)]
pub struct Instruction {
    /// The instruction's name as it was written (`RUN`, `run`, `Run`).
    pub name: String,
    /// The text of the instruction, continuations joined, surrounding whitespace removed; heredoc
    /// bodies are not part of it.
    pub code: String,
    /// Where it stands.
    pub lines: Lines,
    /// The comment lines directly above it, without `#` and surrounding whitespace.
    pub comments: Vec<String>,
    /// What it asks for.
    pub command: Command,
}

/// What an instruction asks for.
#[derive(Clone, Debug)]
pub enum Command {
    /// `ADD`: files of the context, of repositories and of the web.
    Add(Add),
    /// `ARG`: variables that a build may set.
    Arg(Vec<ArgDefinition>),
    /// `CMD`: the default command of the image.
    Cmd(CommandLine),
    /// `COPY`: files of the context, of stages and of images.
    Copy(Copy),
    /// `ENTRYPOINT`: the program of the image.
    Entrypoint(CommandLine),
    /// `ENV`: variables of the image.
    Env(Vec<Pair>),
    /// `EXPOSE`: ports, sorted by their text.
    Expose(Vec<String>),
    /// `HEALTHCHECK`: how to tell that a container is well.
    Healthcheck(Healthcheck),
    /// `LABEL`: labels of the image.
    Label(Vec<Pair>),
    /// `MAINTAINER`: the author of the image.
    Maintainer(String),
    /// `ONBUILD`: the text of an instruction for builds on top of the image, heredocs included.
    Onbuild(String),
    /// `RUN`: a command of the build.
    Run(Box<Run>),
    /// `SHELL`: the shell of shell forms.
    Shell(Vec<String>),
    /// `STOPSIGNAL`: the signal that stops a container.
    StopSignal(String),
    /// `USER`: who runs commands.
    User(String),
    /// `VOLUME`: directories that are mounts at run time.
    Volume(Vec<String>),
    /// `WORKDIR`: the working directory.
    Workdir(String),
}
