//! `ONBUILD`: instructions that a stage takes over from what it starts from.

use std::sync::Arc;

use super::Lowering;
use super::failure::Failure;
use super::image::Words;
use super::node::{NodeId, Step};
use crate::ast;
use crate::instruction::{Command, Instruction};

/// How many images the triggers of images may bring in. One that names its own image would bring in
/// another without end; BuildKit waits for ever there.
const MAX_TRIGGERED_NODES: usize = 256;

impl Lowering<'_> {
    /// Gives every stage the triggers of its base, and says whether that needs more to be known.
    ///
    /// # Errors
    ///
    /// If a trigger is no instruction, takes files from a stage there is not or waits for its own, or if triggers bring in
    /// more images than any build needs.
    pub(crate) fn take_triggers(&mut self) -> Result<bool, Failure> {
        let mut asks = false;
        for id in self.reachable.clone() {
            self.inherit(id);
            let node = self.graph.node(id);
            let mut texts = node.image.config.on_build.to_vec();
            if let Some(base) = node.base.filter(|_| !node.progress.triggered) {
                texts.extend(self.graph.node(base).steps.iter().filter_map(|step| {
                    match &step.instruction.command {
                        Command::Onbuild(text) => Some(text.clone()),
                        _ => None,
                    }
                }));
                self.graph.node_mut(id).progress.triggered = true;
            }
            if texts.is_empty() {
                continue;
            }
            let lines = self.graph.node(id).origin.lines;
            asks |= self.add_triggers(id, &texts).map_err(|failure| failure.only_at(lines))?;
            self.graph.node_mut(id).image.config.on_build = Words::default();
        }
        if asks {
            self.graph.refuse_circles()?;
        }
        Ok(asks)
    }

    /// Makes a stage what its base is so far.
    pub(crate) fn inherit(&mut self, id: NodeId) {
        let Some(base) = self.graph.node(id).base else { return };
        let base = self.graph.node_mut(base).heritage();
        self.graph.node_mut(id).inherit(base);
    }

    /// Puts triggers in front of the steps of a stage.
    fn add_triggers(&mut self, id: NodeId, texts: &[String]) -> Result<bool, Failure> {
        let mut steps = Vec::with_capacity(texts.len());
        let mut asks = false;
        for text in texts {
            let instruction = self.trigger(id, text)?;
            let sources = self.sources(&instruction.command, instruction.lines)?;
            let before = self.graph.len();
            let sources = self.take_over(id, sources, instruction.lines);
            self.triggered_nodes += self.graph.len() - before;
            if self.triggered_nodes > MAX_TRIGGERED_NODES {
                let base = &self.graph.node(id).origin.base_name;
                return Err(Failure::new(format!(
                    "ONBUILD triggers of {base} bring in more than {MAX_TRIGGERED_NODES} images: does `{text}` name an image that has this trigger itself?"
                )));
            }
            asks |= !sources.is_empty();
            steps.push(Step { instruction: Arc::new(instruction), sources, trigger: true });
        }
        let node = self.graph.node_mut(id);
        node.steps_total += steps.len();
        node.steps.splice(0..0, steps);
        Ok(asks)
    }

    /// The one instruction of a trigger, which stands where the stage begins.
    fn trigger(&self, id: NodeId, text: &str) -> Result<Instruction, Failure> {
        let mut ast = ast::parse(text).checked()?;
        let [node] = ast.instructions.as_mut_slice() else {
            return Err(Failure::new("onbuild trigger should be a single expression"));
        };
        node.lines = self.graph.node(id).origin.lines;
        Ok(Instruction::read_trigger(node)?)
    }
}
