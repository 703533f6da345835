//! One stage while it is lowered, or an image that other stages take files from.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_sdk::frontend::FollowPaths;
use kiln_sdk::llb::State;
use kiln_sdk::oci::Platform;

use super::environment::{Environment, Visible};
use super::image::Image;
use super::layered::Layered;
use super::outline::Outline;
use crate::instruction::Instruction;
use crate::lines::Lines;

/// The index of a node in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(pub(crate) usize);

/// A stage, or an image that other stages take files from.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// What it is and where it comes from.
    pub(crate) origin: Origin,
    /// The name in names of steps; may be empty.
    pub(crate) label: String,
    /// The stage it starts from, if it is one of the file.
    pub(crate) base: Option<NodeId>,
    /// Nodes it takes files from, each with the last instruction that does.
    pub(crate) dependencies: Vec<(NodeId, Lines)>,
    /// What it does.
    pub(crate) steps: Vec<Step>,
    /// How far it is.
    pub(crate) progress: Progress,
    /// What its commands run on; the platform of its base if absent.
    pub(crate) platform: Option<Platform>,
    /// The file system so far.
    pub(crate) state: State,
    /// The image config so far.
    pub(crate) image: Image,
    /// The config of the image it starts from, in the end.
    pub(crate) base_image: Option<Arc<Image>>,
    /// What commands see of variables besides those of the config.
    pub(crate) environment: Environment,
    /// The state has the variables that commands see now.
    pub(crate) is_environment_set: bool,
    /// Variables that `ARG` declared so far, and their values if they have one.
    pub(crate) declared: Layered<Option<Arc<str>>>,
    /// What the file says of scans, by variable.
    pub(crate) scans: BTreeMap<&'static str, String>,
    /// Paths of its own that are used, shared with the stages that start from it.
    pub(crate) used_paths: FollowPaths,
    /// Results of the cache are not taken.
    pub(crate) ignore_cache: bool,
    /// How many steps have been named.
    pub(crate) steps_named: usize,
    /// How many steps there are to name.
    pub(crate) steps_total: usize,
    /// The step being lowered comes from an `ONBUILD` of the base.
    pub(crate) in_trigger: bool,
    /// A working directory was set in the file.
    pub(crate) workdir_set: bool,
    /// Where the instructions stand that count only once.
    pub(crate) entrypoint: Option<Lines>,
    pub(crate) command: Option<Lines>,
    pub(crate) healthcheck: Option<Lines>,
    /// What an outline says of it.
    pub(crate) outline: Outline,
    /// The stage is scanned for what it is made of.
    pub(crate) scan_stage: bool,
    /// The build context is scanned, too.
    pub(crate) scan_context: bool,
}

/// What a node is and where it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The name in the file, in lower case.
    pub(crate) name: Option<String>,
    /// The base as it was written, variables expanded; the full reference once it is resolved.
    pub(crate) base_name: String,
    /// The same before it was resolved.
    pub(crate) written_base: String,
    /// The text of the `FROM`; empty for images that other stages take files from.
    pub(crate) code: String,
    /// Where it stands.
    pub(crate) lines: Lines,
    /// What the comments say of it.
    pub(crate) description: String,
    /// It is no stage of the file.
    pub(crate) unregistered: bool,
    /// The named context that stands in its place.
    pub(crate) replaced: Option<Replacement>,
}

/// A named context in the place of a stage, as it was found when the stages were read: what becomes
/// of the stage afterwards says nothing of the context.
#[derive(Clone, Debug)]
pub(crate) struct Replacement {
    /// Its name, which is the stage's.
    pub(crate) name: String,
    /// The platform it is for: the stage's, else the one that is asked for, if one is.
    pub(crate) platform: Option<Platform>,
}

/// How far a node is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// Its base is known.
    pub(crate) resolved: bool,
    /// Its steps were lowered, or it has none.
    pub(crate) lowered: bool,
    /// The triggers of its base were taken over.
    pub(crate) triggered: bool,
}

/// An instruction of a node.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The instruction.
    pub(crate) instruction: Arc<Instruction>,
    /// The nodes it takes files from: of a copy its `--from`, of a run one per mount.
    pub(crate) sources: Vec<NodeId>,
    /// It comes from an `ONBUILD` of the base.
    pub(crate) trigger: bool,
}

/// Notes that a path of a file system is used.
pub(crate) fn use_path(paths: &FollowPaths, path: &str) {
    paths.extend([relative(path)]);
}

/// A path as clients are asked for it: `/` means everything.
fn relative(path: &str) -> String {
    match path {
        "/" => "/".to_owned(),
        path => super::paths::clean(path.trim_start_matches('/')),
    }
}

impl Default for Origin {
    fn default() -> Self {
        Self {
            name: None,
            base_name: String::new(),
            written_base: String::new(),
            code: String::new(),
            lines: Lines::NOWHERE,
            description: String::new(),
            unregistered: false,
            replaced: None,
        }
    }
}

impl Node {
    /// A node about which nothing else is known.
    pub(crate) fn new(origin: Origin) -> Self {
        Self {
            origin,
            label: String::new(),
            base: None,
            dependencies: Vec::new(),
            steps: Vec::new(),
            progress: Progress::default(),
            platform: None,
            state: State::scratch(),
            image: Image::default(),
            base_image: None,
            environment: Environment::default(),
            is_environment_set: false,
            declared: Layered::default(),
            scans: BTreeMap::new(),
            used_paths: FollowPaths::default(),
            ignore_cache: false,
            steps_named: 0,
            steps_total: 0,
            in_trigger: false,
            workdir_set: false,
            entrypoint: None,
            command: None,
            healthcheck: None,
            outline: Outline::default(),
            scan_stage: false,
            scan_context: false,
        }
    }

    /// An image that a step takes files from.
    pub(crate) fn outside(base_name: &str, lines: Lines) -> Self {
        Self::new(Origin {
            base_name: base_name.to_owned(),
            lines,
            unregistered: true,
            ..Origin::default()
        })
    }

    /// The platform of its commands; nothing in particular if nobody said.
    pub(crate) fn runs_on(&self) -> Platform {
        self.platform.clone().unwrap_or_default()
    }

    /// The operating system of its commands.
    pub(crate) fn os(&self) -> &str {
        self.platform.as_ref().map_or("", |platform| platform.os.as_str())
    }

    /// The variables that commands see.
    pub(crate) fn variables(&self) -> Visible<'_> {
        Visible { config: &self.image.config.env, environment: &self.environment }
    }

    /// Sets a variable of commands.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        self.environment.set(name, value);
        self.is_environment_set = false;
    }

    /// The state for a command: with all variables, which it gets only now. Most stages set more
    /// variables than they run commands.
    pub(crate) fn state_for_commands(&mut self) -> State {
        if !self.is_environment_set {
            let variables = self.variables().list().into_iter();
            let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
            self.state = self.state.with_environment(variables.collect());
            self.is_environment_set = true;
        }
        self.state.clone()
    }

    /// Adds a dependency, or another instruction to one.
    pub(crate) fn depend(&mut self, on: NodeId, lines: Lines) {
        match self.dependencies.iter_mut().find(|(node, _)| *node == on) {
            Some((_, last)) => *last = lines,
            None => self.dependencies.push((on, lines)),
        }
    }

    /// What stages take over that start from this one.
    pub(crate) fn heritage(&mut self) -> Heritage {
        Heritage {
            state: self.state.clone(),
            platform: self.platform.clone(),
            environment: self.environment.heir(&self.image.config.env),
            image: self.image.heir(),
            base_image: self.base_image.clone(),
            used_paths: self.used_paths.clone(),
            workdir_set: self.workdir_set,
            declared: self.declared.share(),
            scans: self.scans.clone(),
        }
    }

    /// Takes over what the base has.
    pub(crate) fn inherit(&mut self, base: Heritage) {
        self.state = base.state;
        self.platform = base.platform;
        self.environment = base.environment;
        self.is_environment_set = false;
        self.image = base.image;
        self.base_image = base.base_image;
        // What this stage reads, its base must have.
        self.used_paths = base.used_paths;
        self.workdir_set = base.workdir_set;
        self.declared = base.declared;
        self.scans.extend(base.scans);
    }
}

/// What a stage takes over from the stage it starts from.
#[derive(Debug)]
pub(crate) struct Heritage {
    state: State,
    platform: Option<Platform>,
    environment: Environment,
    image: Image,
    base_image: Option<Arc<Image>>,
    used_paths: FollowPaths,
    workdir_set: bool,
    declared: Layered<Option<Arc<str>>>,
    scans: BTreeMap<&'static str, String>,
}
