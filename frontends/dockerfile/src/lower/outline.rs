//! What a stage may be given: variables, secrets and agents, remembered while it is lowered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Lowering;
use super::node::NodeId;
use crate::lines::Lines;
use crate::requests;

/// What a stage may be given. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outline {
    /// Every variable that was declared, by name.
    pub(crate) arguments: Arc<BTreeMap<String, Argument>>,
    /// The variables that are used.
    pub(crate) used: Arc<BTreeSet<String>>,
    /// Secrets by id.
    pub(crate) secrets: Arc<BTreeMap<String, Needed>>,
    /// Agents by id.
    pub(crate) agents: Arc<BTreeMap<String, Needed>>,
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
    /// Remembers a variable.
    pub(crate) fn declare(&mut self, argument: Argument) {
        Arc::make_mut(&mut self.arguments).insert(argument.name.clone(), argument);
    }

    /// Remembers that a variable is used.
    pub(crate) fn use_argument(&mut self, name: &str) {
        if !self.used.contains(name) {
            Arc::make_mut(&mut self.used).insert(name.to_owned());
        }
    }

    /// Remembers a secret; its first use counts.
    pub(crate) fn need_secret(&mut self, id: &str, needed: Needed) {
        if !self.secrets.contains_key(id) {
            Arc::make_mut(&mut self.secrets).insert(id.to_owned(), needed);
        }
    }

    /// Remembers an agent; its first use counts.
    pub(crate) fn need_agent(&mut self, id: &str, needed: Needed) {
        if !self.agents.contains_key(id) {
            Arc::make_mut(&mut self.agents).insert(id.to_owned(), needed);
        }
    }

    /// The variables that are used, and what those are made of.
    pub(crate) fn all_used(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut open: Vec<&String> = self.used.iter().collect();
        while let Some(name) = open.pop() {
            if all.insert(name.clone())
                && let Some(argument) = self.arguments.get(name)
            {
                open.extend(&argument.made_of);
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
                if let Some(argument) = own.arguments.get(&name)
                    && seen.arguments.insert(name)
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
