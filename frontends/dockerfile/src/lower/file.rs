//! The text of a Dockerfile as stages, shared by everything that is made of it.

use std::sync::Arc;

use crate::ast;
use crate::instruction::{From, Instruction};
use crate::lines::Lines;
use crate::lint::{Linter, Violation, checks};
use crate::mistake::Mistake;
use crate::stages::Stages;
use crate::words::Expander;

/// A Dockerfile, understood as far as that is possible without variables.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// How its words are read.
    pub(crate) expander: Expander,
    /// The `ARG`s before the first stage.
    pub(crate) global_args: Vec<Instruction>,
    /// The stages.
    pub(crate) stages: Vec<Stage>,
}

/// A `FROM` and the instructions behind it.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) from: From,
    pub(crate) instructions: Vec<Arc<Instruction>>,
}

impl File {
    /// Reads a Dockerfile and tells the linter what can be told of the text alone.
    ///
    /// # Errors
    ///
    /// The first mistake of the file.
    pub(crate) fn read(text: &str, lint: &mut Linter) -> Result<Self, Mistake> {
        if text.is_empty() {
            return Err(Mistake::new("the Dockerfile cannot be empty"));
        }
        let ast = ast::parse(text).checked()?;
        for warning in &ast.warnings {
            lint.report(&[""; 0], Lines::one(warning.line), &Violation::NoEmptyContinuation);
        }
        let stages = Stages::read(&ast, lint)?;
        if stages.stages.is_empty() {
            return Err(Mistake::new("dockerfile contains no stages to build"));
        }
        checks::stage_names(&stages, lint);
        checks::instruction_casing(&stages, lint);
        let share = |stage: crate::stages::Stage| Stage {
            from: stage.from,
            instructions: stage.instructions.into_iter().map(Arc::new).collect(),
        };
        Ok(Self {
            expander: Expander::new(ast.escape),
            global_args: stages.global_args,
            stages: stages.stages.into_iter().map(share).collect(),
        })
    }
}
