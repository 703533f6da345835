//! One operation as data.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Exec, FileOp, Identifier};

/// One operation. Numbers of inputs are positions in [`crate::Vertex::inputs`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Op {
    /// Gets something from outside.
    Source(Box<Identifier>),
    /// Runs a process.
    Exec(Box<Exec>),
    /// Changes files.
    File(FileOp),
    /// Solves a definition that an input holds as a file.
    Build(BuildOp),
    /// Lays file systems over each other, the first at the bottom.
    Merge(Vec<Option<usize>>),
    /// What has changed between two file systems; `None` is the empty one.
    Diff {
        /// Before.
        lower: Option<usize>,
        /// After.
        upper: Option<usize>,
    },
    /// Hands inputs on as they are.
    Passthrough {
        /// Its name.
        id: String,
        /// The inputs handed on, in the order of the outputs.
        outputs: Vec<usize>,
    },
}

/// Solves a definition that an input holds as a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BuildOp {
    /// The input with the definition.
    pub input: usize,
    /// Further inputs by name.
    pub inputs: BTreeMap<String, usize>,
    /// The file that is the definition.
    pub filename: String,
}

impl Op {
    /// How many outputs the operation has.
    pub fn outputs(&self) -> usize {
        let after =
            |outputs: &mut dyn Iterator<Item = usize>| outputs.max().map_or(0, |last| last + 1);
        match self {
            Self::Source(_) | Self::Build(_) | Self::Merge(_) | Self::Diff { .. } => 1,
            Self::Exec(exec) => after(&mut exec.mounts.iter().filter_map(|mount| mount.output)),
            Self::File(file) => after(&mut file.steps.iter().filter_map(|step| step.output)),
            Self::Passthrough { outputs, .. } => outputs.len(),
        }
    }
}
