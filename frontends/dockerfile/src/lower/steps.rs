//! One instruction: its words expanded, then done.

use std::collections::BTreeMap;

use kiln_sdk::frontend::FollowPaths;
use kiln_sdk::llb::{SourceLocation, SourceMap, SourcePosition, SourceRange, State, Values};

use super::Lowering;
use super::failure::Failure;
use super::node::{Node, NodeId, Step};
use crate::dockerignore::Dockerignore;
use crate::instruction::Command;
use crate::lines::Lines;
use crate::lint::Linter;
use crate::words::Expander;

/// What one instruction may look at besides its stage.
pub(super) struct Scope<'s> {
    pub(super) expander: Expander,
    pub(super) lint: &'s mut Linter,
    pub(super) ignored: Option<&'s Dockerignore>,
    /// What the step takes files from.
    pub(super) sources: Vec<Taken>,
    /// The build context, and the paths that are used of it.
    pub(super) context: &'s State,
    pub(super) context_paths: &'s FollowPaths,
    pub(super) request: &'s super::Request<'s>,
    pub(super) time: Option<&'s super::gojson::Time>,
    pub(super) epoch: Option<i64>,
    pub(super) build_args: &'s BTreeMap<String, String>,
    pub(super) globals: &'s super::variables::Variables,
    pub(super) proxy: Option<&'s kiln_sdk::llb::Proxy>,
    /// How many more ports the file may expose.
    pub(super) ports_left: &'s mut usize,
    pub(super) step: &'s Step,
    pub(super) id: NodeId,
}

/// A node that a step takes files from.
pub(super) struct Taken {
    pub(super) state: State,
    pub(super) lowered: bool,
    pub(super) paths: FollowPaths,
}

impl Lowering<'_> {
    /// Lowers one step of a stage.
    pub(super) fn lower_step(
        &mut self,
        id: NodeId,
        step: &Step,
        ignored: Option<&Dockerignore>,
    ) -> Result<(), Failure> {
        let taken = |source: &NodeId| {
            let node = self.graph.node(*source);
            Taken {
                state: node.state.clone(),
                lowered: node.progress.lowered,
                paths: node.used_paths.clone(),
            }
        };
        let mut scope = Scope {
            expander: self.expander,
            sources: step.sources.iter().map(taken).collect(),
            lint: self.lint,
            ignored,
            context: self.context.state(),
            context_paths: &self.context.paths,
            request: &self.request,
            time: self.time.as_ref(),
            epoch: self.epoch,
            build_args: &self.build_args,
            globals: &self.globals.variables,
            proxy: self.proxy.as_ref(),
            ports_left: &mut self.ports_left,
            step,
            id,
        };
        let node = self.graph.node_mut(id);
        node.in_trigger = step.trigger;
        scope.lower(node)
    }
}

impl Scope<'_> {
    fn lower(&mut self, node: &mut Node) -> Result<(), Failure> {
        let step = self.step;
        match &step.instruction.command {
            Command::Add(add) => self.add(node, add),
            Command::Arg(definitions) => self.arg(node, definitions),
            Command::Cmd(line) => {
                self.command(node, line);
                Ok(())
            }
            Command::Copy(copy) => self.copy(node, copy),
            Command::Entrypoint(line) => {
                self.entrypoint(node, line);
                Ok(())
            }
            Command::Env(pairs) => self.env(node, pairs),
            Command::Expose(ports) => self.expose(node, ports),
            Command::Healthcheck(check) => {
                self.healthcheck(node, check);
                Ok(())
            }
            Command::Label(pairs) => self.label(node, pairs),
            Command::Maintainer(author) => {
                self.maintainer(node, author);
                Ok(())
            }
            Command::Onbuild(text) => {
                node.image.config.on_build.push(text.clone());
                Ok(())
            }
            Command::Run(run) => self.run(node, run),
            Command::Shell(shell) => {
                self.shell(node, shell);
                Ok(())
            }
            Command::StopSignal(signal) => self.stop_signal(node, signal),
            Command::User(user) => self.user(node, user),
            Command::Volume(volumes) => self.volume(node, volumes),
            Command::Workdir(path) => self.workdir(node, path),
        }
    }

    /// Where the instruction stands.
    pub(super) fn lines(&self) -> Lines {
        self.step.instruction.lines
    }

    /// The name of the instruction as it was written.
    pub(super) fn name(&self) -> String {
        self.step.instruction.name.clone()
    }

    /// The place of the instruction, for the op it becomes.
    pub(super) fn location(&self) -> Vec<SourceLocation> {
        location(&self.request.source_map, self.lines())
    }

    /// The platform to show in names of steps.
    pub(super) fn shown_platform(&self, node: &Node) -> Option<kiln_sdk::oci::Platform> {
        self.request.settings.multi_platform.then(|| node.runs_on())
    }
}

/// What commands on a state inherit. Every state of a stage knows it.
pub(super) fn values(state: &State) -> Result<&Values, Failure> {
    state
        .values()
        .ok_or_else(|| Failure::new("the environment of a base is not known before it is built"))
}

/// The place of a step in the file.
pub(super) fn location(map: &SourceMap, lines: Lines) -> Vec<SourceLocation> {
    let position =
        |line: u32| SourcePosition { line: i32::try_from(line).unwrap_or(i32::MAX), character: 0 };
    let ranges =
        lines.each().map(|line| SourceRange { start: position(line), end: position(line) });
    vec![map.location(ranges)]
}

/// The text of an instruction, as tools look for it.
pub(super) fn description(code: &str) -> BTreeMap<String, String> {
    [("com.docker.dockerfile.v1.command".to_owned(), code.to_owned())].into()
}
