//! Which requests made graphs that are handed to others: those of all running builds.
//!
//! A client may get a graph from one build and give it to another. As long as the first one runs, what
//! the second one says about itself names the request that the graph came of.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use kiln_provenance::Requested;
use kiln_wire::pb;
use prost::Message as _;

/// The requests behind graphs; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Producers(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// By the digest of what the graph resolves to.
    made: BTreeMap<String, BTreeMap<u64, Requested>>,
}

/// A request that is known as long as this lives.
#[derive(Debug)]
pub(crate) struct Known {
    producers: Producers,
    digest: String,
    number: u64,
}

impl Producers {
    /// Notes the request that a graph, of these ops, was made for; nothing for the empty graph.
    pub(crate) fn note(&self, graph: &[Bytes], requested: Requested) -> Option<Known> {
        let digest = head(graph)?;
        let mut table = self.table();
        table.next += 1;
        let number = table.next;
        table.made.entry(digest.clone()).or_default().insert(number, requested);
        Some(Known { producers: self.clone(), digest, number })
    }

    /// The request that a graph was made for, if there is only one.
    pub(crate) fn of(&self, graph: &[Bytes]) -> Option<Requested> {
        let table = self.table();
        let mut requests = table.made.get(&head(graph)?)?.values().map(without_root);
        let first = requests.next()?;
        requests.all(|other| other == first).then_some(first)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        let mut table = self.producers.table();
        if let Some(made) = table.made.get_mut(&self.digest) {
            made.remove(&self.number);
            if made.is_empty() {
                table.made.remove(&self.digest);
            }
        }
    }
}

fn without_root(requested: &Requested) -> Requested {
    let mut requested = requested.clone();
    requested.request.root = None;
    requested
}

/// The digest of the op that a graph resolves to.
fn head(graph: &[Bytes]) -> Option<String> {
    let last = pb::Op::decode(graph.last()?.clone()).ok()?;
    Some(last.inputs.first()?.digest.clone())
}

#[cfg(test)]
mod tests {
    use kiln_provenance::{Request, Used};

    use super::*;

    fn graph(digest: &str) -> Vec<Bytes> {
        let input = pb::Input { digest: digest.into(), index: 0 };
        let last = pb::Op { inputs: vec![input], ..Default::default() };
        vec![last.encode_to_vec().into()]
    }

    fn request(frontend: &str) -> Requested {
        Request::new(frontend, []).requested(&Used::default())
    }

    #[test]
    fn a_request_is_known_as_long_as_its_build_runs_and_while_it_is_the_only_one() {
        let producers = Producers::default();
        let first = producers.note(&graph("a"), request("x"));
        assert_eq!(producers.of(&graph("a")), Some(request("x")));
        assert_eq!(producers.of(&graph("b")), None);
        let same = producers.note(&graph("a"), request("x"));
        assert!(producers.of(&graph("a")).is_some());
        let other = producers.note(&graph("a"), request("y"));
        assert_eq!(producers.of(&graph("a")), None);
        drop((first, same));
        assert_eq!(producers.of(&graph("a")), Some(request("y")));
        drop(other);
        assert!(producers.table().made.is_empty());
        assert!(producers.note(&[], request("x")).is_none());
    }
}
