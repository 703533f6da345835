//! Statements into stages: what belongs to which `FROM`, and what stands before the first.

use crate::ast::Ast;
use crate::instruction::{Command, From, Instruction, Statement};
use crate::lint::Linter;
use crate::mistake::Mistake;

/// A Dockerfile, divided.
#[derive(Clone, Debug, Default)]
pub struct Stages {
    /// The `ARG`s before the first stage, in order; every one a [`Command::Arg`].
    pub global_args: Vec<Instruction>,
    /// The stages in order; none if the file has no `FROM`.
    pub stages: Vec<Stage>,
}

/// A `FROM` and the instructions behind it.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Where the stage starts from, and its name.
    pub from: From,
    /// Its instructions in order.
    pub instructions: Vec<Instruction>,
}

impl Stages {
    /// Understands all instructions of a file and divides them.
    ///
    /// # Errors
    ///
    /// The first mistake of the file, in the reference's words and with its place: an instruction
    /// that does not read, or one but `ARG` before the first stage.
    pub fn read(ast: &Ast<'_>, linter: &mut Linter) -> Result<Self, Mistake> {
        let mut file = Self::default();
        for node in &ast.instructions {
            let statement = Statement::read(node, linter).map_err(|mistake| {
                mistake.context(format_args!("dockerfile parse error on line {}", node.lines.first))
            })?;
            match statement {
                Statement::From(from) => {
                    file.stages.push(Stage { from, instructions: Vec::new() });
                }
                Statement::Instruction(instruction) => file.add(instruction)?,
            }
        }
        Ok(file)
    }

    fn add(&mut self, instruction: Instruction) -> Result<(), Mistake> {
        match (self.stages.last_mut(), &instruction.command) {
            (Some(stage), _) => stage.instructions.push(instruction),
            (None, Command::Arg(_)) => self.global_args.push(instruction),
            (None, _) => {
                return Err(Mistake::new("no build stage in current context").at(instruction.lines));
            }
        }
        Ok(())
    }
}
