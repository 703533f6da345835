//! `FROM`: stages become nodes, their bases and platforms with all variables known.

use kiln_sdk::oci::{Platform, Reference};

use super::arguments::Globals;
use super::failure::Failure;
use super::file::File;
use super::node::{Node, NodeId, Origin, Replacement, Step};
use super::variables::{Names as _, Variables};
use super::{Lowering, SCRATCH};
use crate::instruction::{Command, From as FromLine};
use crate::lines::Lines;
use crate::lint::{Linter, Violation};
use crate::suggest;
use crate::words::{Environment as _, Expanded, Expander};

/// Whether a named context stands in the place of a stage, by the stage's name and platform.
pub(crate) type IsContext<'c> = dyn Fn(&str, Option<&Platform>) -> Result<bool, kiln_sdk::frontend::FrontendError>
    + Send
    + Sync
    + 'c;

impl Lowering<'_> {
    /// Adds every stage to the graph, and finds the one that is asked for.
    ///
    /// # Errors
    ///
    /// If a base or a platform cannot be expanded, a platform is none, or there is no such target.
    pub(crate) fn add_stages(
        &mut self,
        file: &File,
        is_context: &IsContext<'_>,
    ) -> Result<(), Failure> {
        for (index, stage) in file.stages.iter().enumerate() {
            let (mut node, used) = self.stage(&stage.from)?;
            node.steps = stage
                .instructions
                .iter()
                .map(|instruction| Step {
                    instruction: std::sync::Arc::clone(instruction),
                    sources: Vec::new(),
                    trigger: false,
                })
                .collect();
            let name = node.origin.name.clone().unwrap_or_default();
            let platform = node.platform.clone().or_else(|| self.request.platform.clone());
            if !name.is_empty() && is_context(&name, platform.as_ref())? {
                node.origin.replaced = Some(Replacement { name: name.clone(), platform });
                node.label = name;
                let id = self.graph.add(node);
                // The context stands in place of the base as well.
                self.graph.node_mut(id).base = None;
                continue;
            }
            node.label = if name.is_empty() { format!("stage-{index}") } else { name.clone() };
            node.ignore_cache = self.request.settings.no_cache.covers(&name);
            let id = self.graph.add(node);
            let node = self.graph.node_mut(id);
            used.iter().for_each(|name| node.outline.use_argument(name));
            let from_image = node.origin.base_name != SCRATCH && node.base.is_none();
            let steps = node.steps.iter().filter(|step| is_step(&step.instruction.command));
            node.steps_total = usize::from(from_image) + steps.count();
        }
        self.target = self.graph.target(&self.request.settings.target)?;
        Ok(())
    }

    /// A stage as a node, and the variables that its `FROM` uses.
    fn stage(&mut self, from: &FromLine) -> Result<(Node, Vec<String>), Failure> {
        let lines = from.lines;
        let variables = &self.globals.variables;
        let expanded = self.expander.word(&from.base, variables);
        match &expanded {
            Ok(done) => report_undeclared(&done.unmatched, from, &self.globals, self.lint),
            Err(error) => report_undeclared(&error.unmatched, from, &self.globals, self.lint),
        }
        let base = expanded.map_err(|error| Failure::from(error).at(lines))?;
        let mut used: Vec<String> = owned(&base.matched);
        if base.text.is_empty() {
            let message = format!("base name ({}) should not be blank", from.base);
            return Err(Failure::new(message).at(lines));
        }
        let mut node = Node::new(Origin {
            name: from.name.clone(),
            base_name: base.text.into_owned(),
            code: from.code.clone(),
            lines,
            description: from.description.clone(),
            ..Origin::default()
        });
        node.outline.globals = std::sync::Arc::clone(&self.arguments);
        if !from.platform.is_empty() {
            let (platform, more) = self.platform(from)?;
            node.platform = Some(platform);
            used.extend(more);
        }
        Ok((node, used))
    }

    /// The value of `--platform`, and the variables it uses.
    fn platform(&mut self, from: &FromLine) -> Result<(Platform, Vec<String>), Failure> {
        let lines = from.lines;
        let variables = &self.globals.variables;
        let expanded = match self.expander.word(&from.platform, variables) {
            Ok(expanded) => expanded,
            Err(error) => {
                report_undeclared(&error.unmatched, from, &self.globals, self.lint);
                // As at the reference, the words behind "platform" are missing: nothing was made.
                let context = "failed to process arguments for platform ";
                return Err(Failure::from(error).context(context).at(lines));
            }
        };
        report_undeclared(&expanded.unmatched, from, &self.globals, self.lint);
        report_platform(from, &expanded, variables, self.lint);
        let guess = |failure: Failure| match expanded.unmatched.first() {
            Some(name) => failure.hint(name, variables.names()),
            None => failure,
        };
        if expanded.text.is_empty() {
            let message = format!("empty platform value from expression {}", from.platform);
            return Err(guess(Failure::new(message).at(lines)));
        }
        match Platform::parse(&expanded.text) {
            Ok(platform) => Ok((platform, owned(&expanded.matched))),
            Err(error) => {
                let failure = guess(Failure::new(error.to_string()).at(lines));
                let context = format!("failed to parse platform {}", from.platform);
                Err(failure.context(context).at(lines))
            }
        }
    }

    /// The nodes that a step takes files from.
    ///
    /// # Errors
    ///
    /// If a copy names a stage by variables or by a number there is not.
    pub(crate) fn sources(
        &mut self,
        command: &Command,
        lines: Lines,
    ) -> Result<Vec<Source>, Failure> {
        match command {
            Command::Copy(copy) if !copy.from.is_empty() => {
                let from = &copy.from;
                let expanded = self.expander.word(from, &crate::words::NoVariables)?;
                if expanded.text != from.as_str() {
                    return Err(Failure::new(
                        "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround",
                    ));
                }
                let source = match from.parse::<i64>() {
                    Ok(index) => Source::Known(self.graph.nth(index)?),
                    Err(_) => self.source(from, lines),
                };
                Ok(vec![source])
            }
            Command::Run(run) => Ok(run
                .mounts
                .iter()
                .map(|mount| if mount.from.is_empty() { SCRATCH } else { &mount.from })
                .map(|from| self.source(from, Lines::NOWHERE))
                .collect()),
            _ => Ok(Vec::new()),
        }
    }

    fn source(&self, name: &str, lines: Lines) -> Source {
        match self.graph.find(name) {
            Some(id) => Source::Known(id),
            None => Source::New(Box::new(Node::outside(name, lines))),
        }
    }

    /// Finds out what every step takes files from.
    ///
    /// # Errors
    ///
    /// As [`Lowering::sources`], or if stages wait for each other.
    pub(crate) fn connect(&mut self) -> Result<(), Failure> {
        // Images that are added here have no steps.
        let stages: Vec<NodeId> = self.graph.ids().collect();
        for &id in &stages {
            for index in 0..self.graph.node(id).steps.len() {
                let Some(step) = self.graph.node(id).steps.get(index).cloned() else { continue };
                let instruction = &step.instruction;
                let sources = self.sources(&instruction.command, instruction.lines)?;
                let sources = self.take_over(id, sources, instruction.lines);
                if let Some(step) = self.graph.node_mut(id).steps.get_mut(index) {
                    step.sources = sources;
                }
            }
        }
        self.graph.refuse_circles()?;
        if self.graph.len() == 1
            && let Some(only) = self.graph.last()
        {
            self.graph.node_mut(only).label.clear();
        }
        Ok(())
    }

    /// Makes a node depend on sources, which become nodes if they are none yet.
    pub(crate) fn take_over(
        &mut self,
        id: NodeId,
        sources: Vec<Source>,
        lines: Lines,
    ) -> Vec<NodeId> {
        let mut ids = Vec::with_capacity(sources.len());
        for source in sources {
            let source = match source {
                Source::Known(known) => known,
                Source::New(node) => self.graph.add(*node),
            };
            self.graph.node_mut(id).depend(source, lines);
            ids.push(source);
        }
        ids
    }
}

/// What a step takes files from.
#[derive(Debug)]
pub(crate) enum Source {
    /// A node of the graph.
    Known(NodeId),
    /// An image that is none yet.
    New(Box<Node>),
}

/// Whether an instruction is a step of its own in names.
fn is_step(command: &Command) -> bool {
    matches!(command, Command::Add(_) | Command::Copy(_) | Command::Run(_) | Command::Workdir(_))
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn report_undeclared(
    unmatched: &[impl AsRef<str>],
    from: &FromLine,
    globals: &Globals,
    lint: &mut Linter,
) {
    if unmatched.is_empty() {
        return;
    }
    let mut known: Vec<&str> = globals.variables.names();
    known.extend(globals.arguments.keys().map(String::as_str));
    for variable in unmatched.iter().map(AsRef::as_ref) {
        if known.contains(&variable) {
            continue;
        }
        let violation = Violation::UndefinedArgInFrom {
            variable: variable.to_owned(),
            suggestion: suggest::search(variable, known.iter().copied(), true),
        };
        lint.report(&from.comments, from.lines, &violation);
    }
}

fn report_platform(
    from: &FromLine,
    expanded: &Expanded<'_>,
    variables: &Variables,
    lint: &mut Linter,
) {
    match (expanded.matched.as_slice(), expanded.unmatched.as_slice()) {
        (["TARGETPLATFORM"], []) if variables.get("TARGETPLATFORM") == Some(&expanded.text) => {
            let violation = Violation::RedundantTargetPlatform { platform: from.platform.clone() };
            lint.report(&from.comments, from.lines, &violation);
        }
        ([], []) => {
            let Ok(platform) = Platform::parse(&expanded.text) else { return };
            let name = from.name.as_deref().unwrap_or_default();
            if !name.contains(&platform.os) && !name.contains(&platform.architecture) {
                let platform = expanded.text.to_string();
                let violation = Violation::FromPlatformFlagConstDisallowed { platform };
                lint.report(&from.comments, from.lines, &violation);
            }
        }
        _ => {}
    }
}

/// Tells of bases that are no image names if no build argument is given.
pub(crate) fn report_defaults(
    file: &File,
    predefined: &Variables,
    expander: Expander,
    lint: &mut Linter,
) {
    let nothing = std::collections::BTreeMap::new();
    // What cannot be expanded is an error later on, no warning.
    let Ok(globals) = super::arguments::globals(predefined, expander, &file.global_args, &nothing)
    else {
        return;
    };
    for stage in &file.stages {
        let from = &stage.from;
        let Ok(expanded) = expander.word(&from.base, &globals.variables) else { return };
        if Reference::parse_untagged(&expanded.text).is_err() {
            let violation = Violation::InvalidDefaultArgInFrom { base: from.base.clone() };
            lint.report(&[""; 0], from.lines, &violation);
        }
    }
}
