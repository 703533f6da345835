//! Which worker an operation may run on: filters over its id and labels, in containerd's grammar.
//!
//! There is one worker. An operation that requires another is refused rather than run on this one.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kiln_filter::{Fields, Filter, FilterError};
use kiln_graph::{Graph, UNPACK_ZIP};
use kiln_wire::status::RichStatus;
use tonic::Code;

/// A worker, as filters see it.
struct Described<'a> {
    id: &'a str,
    labels: &'a BTreeMap<String, String>,
}

impl Fields for Described<'_> {
    fn field(&self, path: &[String]) -> Option<Cow<'_, str>> {
        match path {
            [name] if name == "id" => Some(self.id.into()),
            [name, label @ ..] if name == "labels" => {
                self.labels.get(&label.join(".")).map(|value| value.as_str().into())
            }
            _ => None,
        }
    }
}

/// Whether a worker is one of those that filters are for; none are for every worker.
///
/// # Errors
///
/// If a text is no filter.
pub fn fits_worker(
    filters: &[String],
    id: &str,
    labels: &BTreeMap<String, String>,
) -> Result<bool, FilterError> {
    Ok(Filter::parse(filters)?.matches(&Described { id, labels }))
}

/// Refuses a graph with an operation that is for another worker.
pub(crate) fn check(
    graph: &Graph,
    id: &str,
    labels: &BTreeMap<String, String>,
) -> Result<(), RichStatus> {
    for vertex in graph.vertices() {
        // It says how files are to be read, not where.
        let filters = vertex.constraints.filter.iter().filter(|filter| *filter != UNPACK_ZIP);
        let filters: Vec<String> = filters.cloned().collect();
        let what = || format!("op {} ({})", vertex.digest, vertex.name);
        check_filters(&filters, id, labels, what)?;
    }
    Ok(())
}

/// Refuses what is for another worker.
pub(crate) fn check_filters(
    filters: &[String],
    id: &str,
    labels: &BTreeMap<String, String>,
    what: impl FnOnce() -> String,
) -> Result<(), RichStatus> {
    let reason = match fits_worker(filters, id, labels) {
        Ok(true) => return Ok(()),
        Ok(false) => {
            format!("requires a worker with {}, which this one is not", filters.join(" or "))
        }
        Err(error) => format!("constraint: {error}"),
    };
    Err(RichStatus::new(Code::InvalidArgument, format!("{} {reason}", what())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_told_apart_by_id_and_labels() {
        let labels = [("org.example.disk".to_owned(), "fast".to_owned())].into();
        let fits = |filters: &[&str]| {
            let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
            fits_worker(&filters, "w1", &labels).unwrap()
        };
        assert!(fits(&[]) && fits(&["id==w1"]) && fits(&["id==w2", "labels.org.example.disk"]));
        assert!(fits(&["labels.\"org.example.disk\"==fast"]));
        assert!(!fits(&["id==w2"]) && !fits(&["gpu==yes"]));
        assert!(!fits(&["labels.\"org.example.disk\"==slow"]));
    }
}
