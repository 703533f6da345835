//! Words of an instruction, expanded with the environment of its stage.

use super::failure::Failure;
use super::node::Node;
use super::stage::{SCAN_CONTEXT, SCAN_STAGE};
use super::steps::Scope;
use super::variables::Names as _;
use crate::lint::Violation;
use crate::suggest;
use crate::words::Expander;

impl Scope<'_> {
    /// A word with its variables. Variables that nothing defines are told.
    pub(super) fn word(&mut self, node: &Node, word: &str) -> Result<String, Failure> {
        self.expand(node, word, self.expander)
    }

    /// Several words, each on its own.
    pub(super) fn words(&mut self, node: &Node, words: &[String]) -> Result<Vec<String>, Failure> {
        words.iter().map(|word| self.word(node, word)).collect()
    }

    /// The content of a file that stands in the Dockerfile: quotes are nothing special in it.
    pub(super) fn content(&mut self, node: &Node, content: &str) -> Result<String, Failure> {
        self.expand(node, content, Expander { skip_quotes: true, ..Expander::new('\\') })
    }

    fn expand(&mut self, node: &Node, word: &str, expander: Expander) -> Result<String, Failure> {
        // Most words have nothing to expand.
        match expander.word(word, &node.variables()) {
            Ok(expanded) => {
                self.report_undefined(node, &expanded.unmatched);
                Ok(expanded.text.into_owned())
            }
            Err(error) => {
                self.report_undefined(node, &error.unmatched);
                Err(error.into())
            }
        }
    }

    /// Tells of variables that neither the environment nor an `ARG` defines.
    fn report_undefined(&mut self, node: &Node, unmatched: &[impl AsRef<str>]) {
        for variable in unmatched.iter().map(AsRef::as_ref) {
            if variable == SCAN_CONTEXT
                || variable == SCAN_STAGE
                || node.declared.contains(variable)
            {
                continue;
            }
            let variables = node.variables();
            let names = variables.names();
            let violation = Violation::UndefinedVar {
                variable: variable.to_owned(),
                suggestion: suggest::search(variable, names, true),
            };
            let lines = self.lines();
            self.lint.report(&self.step.instruction.comments, lines, &violation);
        }
    }

    /// Tells the linter of a violation in this instruction.
    pub(super) fn report(&mut self, violation: &Violation) {
        let lines = self.lines();
        self.lint.report(&self.step.instruction.comments, lines, violation);
    }
}
