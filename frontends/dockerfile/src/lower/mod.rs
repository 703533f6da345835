//! Stages into LLB: the last passes, pure as the first.
//!
//! Lowering asks, then lowers. A [`Lowering`] is made of a [`File`] and a [`Request`]; it says what
//! must be known ([`Question`]: image configs, named contexts, the time everything has), is given
//! the answers, and then lowers every stage that is needed, one instruction after the other. Nothing
//! here waits or talks to anybody; `frontend.rs` does.

mod add;
mod arguments;
mod bases;
mod config;
mod context;
mod copy;
mod declare;
mod env;
mod environment;
mod epoch;
mod expand;
mod expose;
mod failure;
mod file;
mod finish;
mod from;
mod gojson;
mod graph;
mod history;
mod image;
mod layered;
mod mounts;
mod names;
mod node;
mod onbuild;
mod outline;
mod paths;
mod run;
mod secrets;
mod stage;
mod steps;
mod variables;
mod workdir;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kiln_sdk::frontend::Settings;
use kiln_sdk::llb::{CapSet, Proxy, SourceMap};
use kiln_sdk::oci::Platform;

pub(crate) use bases::{Answer, Question};
pub(crate) use failure::Failure;
pub(crate) use file::File;
pub(crate) use finish::Lowered;

use arguments::{Globals, Platforms};
use context::BuildContext;
use graph::Graph;
use node::NodeId;
use outline::Argument;

use crate::instruction::Channel;
use crate::lint::Linter;
use crate::words::Expander;

/// The image with nothing in it.
pub(crate) const SCRATCH: &str = "scratch";

/// What is asked for besides the file.
#[derive(Clone, Debug)]
pub(crate) struct Request<'a> {
    /// What the options say.
    pub(crate) settings: &'a Settings,
    /// The platform that is asked for, if one is.
    pub(crate) platform: Option<Platform>,
    /// What the daemon can do.
    pub(crate) caps: &'a CapSet,
    /// The file, for the places of steps.
    pub(crate) source_map: SourceMap,
    /// Which instructions there are.
    pub(crate) channel: Channel,
    /// Every stage is lowered, not just those that the target needs.
    pub(crate) all_stages: bool,
}

/// A file on its way to LLB.
#[derive(Debug)]
pub(crate) struct Lowering<'a> {
    request: Request<'a>,
    platforms: Platforms,
    expander: Expander,
    /// Build arguments; the time everything has stands in it as a number.
    build_args: BTreeMap<String, String>,
    globals: Globals,
    arguments: Arc<BTreeMap<String, Argument>>,
    /// Seconds since 1970 that all times of the result are.
    epoch: Option<i64>,
    /// The same, as histories have it.
    time: Option<gojson::Time>,
    proxy: Option<Proxy>,
    lint: &'a mut Linter,
    graph: Graph,
    target: NodeId,
    reachable: BTreeSet<NodeId>,
    context: BuildContext,
    /// How many nodes the triggers of images brought in.
    triggered_nodes: usize,
    /// How many more ports may be exposed.
    ports_left: usize,
}

impl<'a> Lowering<'a> {
    /// Begins with the variables that hold for the whole file.
    ///
    /// # Errors
    ///
    /// If a global default cannot be expanded.
    pub(crate) fn new(
        file: &File,
        request: Request<'a>,
        lint: &'a mut Linter,
    ) -> Result<Self, Failure> {
        let settings = request.settings;
        let platforms = Platforms::new(request.platform.as_ref(), &settings.build_platform);
        let last = file.stages.last().and_then(|stage| stage.from.name.as_deref());
        let target = match settings.target.as_str() {
            "" => last.unwrap_or_default(),
            target => target,
        };
        let build_args = settings.build_args.clone();
        let predefined = platforms.variables(&build_args, target);
        from::report_defaults(file, &predefined, file.expander, lint);
        let globals =
            arguments::globals(&predefined, file.expander, &file.global_args, &build_args)?;
        Ok(Self {
            platforms,
            expander: file.expander,
            arguments: Arc::new(globals.arguments.clone()),
            globals,
            epoch: None,
            time: None,
            proxy: run::proxy(&build_args),
            build_args,
            lint,
            graph: Graph::default(),
            target: NodeId(0),
            reachable: BTreeSet::new(),
            context: BuildContext::default(),
            triggered_nodes: 0,
            ports_left: expose::MOST_PORTS,
            request,
        })
    }
}
