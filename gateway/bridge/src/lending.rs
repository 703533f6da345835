//! Graphs of definitions, with the directories of other builds where a build has none itself.
//!
//! A client may have a definition from one build solved in another. What makes a directory in it unique
//! tells which build it is from. A build whose client has directories looks for it there, whoever
//! else has one of that name: a definition may be kept, and built for other directories at the same time.

use std::collections::BTreeMap;
use std::time::Duration;

use kiln_graph::{Graph, Identifier, LoadContext, LocalSource, Op};
use kiln_wire::pb;
use kiln_wire::status::RichStatus;

use crate::BuildBridge;
use crate::error::load_status;

/// How long the session of a build may take to appear.
const APPEARS: Duration = Duration::from_secs(5);

impl BuildBridge {
    /// The graph of a definition.
    pub(crate) async fn load(&self, definition: &pb::Definition) -> Result<Graph, RichStatus> {
        let load = self.load_context();
        let graph =
            Graph::load(definition, load).map_err(|error| load_status(&error, definition))?;
        let uniques: Vec<String> =
            directories(&graph).map(|directory| directory.unique.clone()).collect();
        if uniques.is_empty() {
            return Ok(graph);
        }
        let lenders = self.lenders(&uniques).await;
        for unique in uniques {
            let owner = lenders.get(&unique).unwrap_or(&load.session);
            self.resolved().lend(&unique, owner);
        }
        if lenders.is_empty() {
            return Ok(graph);
        }
        let load = LoadContext { lenders, ..load.clone() };
        Graph::load(definition, &load).map_err(|error| load_status(&error, definition))
    }

    /// The owners of those directories that other builds have, if the client of this one has none.
    async fn lenders(&self, uniques: &[String]) -> BTreeMap<String, String> {
        let all = self.resolved().lenders();
        let lent = uniques
            .iter()
            .filter_map(|unique| Some((unique, all.get(unique)?)))
            .filter(|(_, owner)| owner.as_str() != self.session_id());
        let lent: BTreeMap<_, _> =
            lent.map(|(unique, owner)| (unique.clone(), owner.clone())).collect();
        if lent.is_empty() || self.session_id().is_empty() {
            return lent;
        }
        match self.worker().sessions().get(self.session_id(), APPEARS).await {
            Ok(client) if client.has_directories() => BTreeMap::new(),
            _ => lent,
        }
    }
}

/// The unique directories of a graph that are of no session in particular.
fn directories(graph: &Graph) -> impl Iterator<Item = &LocalSource> {
    graph.vertices().filter_map(|vertex| match &vertex.op {
        Op::Source(source) => match source.as_ref() {
            Identifier::Local(local) if local.session.is_empty() && !local.unique.is_empty() => {
                Some(local)
            }
            _ => None,
        },
        _ => None,
    })
}
