//! What a stage may be given: variables, secrets and agents, remembered while it is lowered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Lowering;
use super::layered::Layered;
use super::node::NodeId;
use crate::lines::Lines;
use crate::requests;

/// What a stage may be given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outline {
    /// The variables of the whole file, by name.
    pub(crate) globals: Arc<BTreeMap<String, Argument>>,
    /// Those that the stage declares.
    arguments: BTreeMap<String, Argument>,
    /// The variables that are used.
    used: Layered<()>,
    /// Secrets by id.
    secrets: BTreeMap<String, Needed>,
    /// Agents by id.
    agents: BTreeMap<String, Needed>,
}

/// A variable that may be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Argument {
    /// Its name.
    pub(crate) name: String,
    /// Its value if nothing is given; may be empty.
    pub(crate) value: String,
    /// What the comments say of it.
    pub(crate) description: String,
    /// The variables its default is made of.
    pub(crate) made_of: BTreeSet<String>,
    /// Where it is declared.
    pub(crate) lines: Lines,
}

/// A secret or an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Needed {
    /// The build fails without it.
    pub(crate) required: bool,
    /// Where it is used.
    pub(crate) lines: Lines,
}

impl Outline {
    /// What a stage on top begins with: what its base was given in its own `FROM`.
    pub(crate) fn heir(&mut self) -> Self {
        Self { globals: Arc::clone(&self.globals), used: self.used.share(), ..Self::default() }
    }

    /// Remembers a variable.
    pub(crate) fn declare(&mut self, argument: Argument) {
        self.arguments.insert(argument.name.clone(), argument);
    }

    /// Remembers that a variable is used.
    pub(crate) fn use_argument(&mut self, name: &str) {
        if !self.used.contains(name) {
            self.used.push(name, ());
        }
    }

    /// Remembers a secret; its first use counts.
    pub(crate) fn need_secret(&mut self, id: &str, needed: Needed) {
        self.secrets.entry(id.to_owned()).or_insert(needed);
    }

    /// Remembers an agent; its first use counts.
    pub(crate) fn need_agent(&mut self, id: &str, needed: Needed) {
        self.agents.entry(id.to_owned()).or_insert(needed);
    }

    /// What is known of a variable.
    fn argument(&self, name: &str) -> Option<&Argument> {
        self.arguments.get(name).or_else(|| self.globals.get(name))
    }

    /// The variables that are used, and what those are made of.
    fn all_used(&self) -> BTreeSet<&str> {
        let mut all = BTreeSet::new();
        let mut open: Vec<&str> = self.used.in_order().into_iter().map(|(name, ())| name).collect();
        while let Some(name) = open.pop() {
            if all.insert(name)
                && let Some(argument) = self.argument(name)
            {
                open.extend(argument.made_of.iter().map(String::as_str));
            }
        }
        all
    }
}

impl Lowering<'_> {
    /// What the target may be given.
    pub(crate) fn outline(&self) -> requests::Outline {
        let mut all = requests::Outline::default();
        let mut seen = Seen::default();
        self.describe(self.target, &mut all, &mut seen);
        let target = self.graph.node(self.target);
        all.name = target.origin.name.clone().unwrap_or_default();
        all.description.clone_from(&target.origin.description);
        all
    }

    /// Adds what a node may be given, then what it stands on.
    fn describe(&self, id: NodeId, all: &mut requests::Outline, seen: &mut Seen) {
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            if !seen.nodes.insert(id) {
                continue;
            }
            let node = self.graph.node(id);
            let own = &node.outline;
            for name in own.all_used() {
                if let Some(argument) = own.argument(name)
                    && seen.arguments.insert(name.to_owned())
                {
                    all.args.push(requests::Arg {
                        name: argument.name.clone(),
                        value: argument.value.clone(),
                        description: argument.description.clone(),
                        lines: Some(argument.lines),
                    });
                }
            }
            let need = |(name, needed): (&String, &Needed)| requests::Needed {
                name: name.clone(),
                required: needed.required,
                lines: Some(needed.lines),
            };
            let new = |set: &mut BTreeSet<String>, name: &String| set.insert(name.clone());
            all.secrets
                .extend(own.secrets.iter().filter(|(id, _)| new(&mut seen.secrets, id)).map(need));
            all.ssh.extend(own.agents.iter().filter(|(id, _)| new(&mut seen.agents, id)).map(need));
            // The base first: what it says of a name counts more than what others say.
            open.extend(node.dependencies.iter().rev().map(|(id, _)| *id));
            open.extend(node.base);
        }
    }
}

/// What an outline has already.
#[derive(Debug, Default)]
struct Seen {
    nodes: BTreeSet<NodeId>,
    arguments: BTreeSet<String>,
    secrets: BTreeSet<String>,
    agents: BTreeSet<String>,
}
