//! What leads to some records, as a list: the form that exported caches have.

use std::collections::BTreeMap;

use crate::encode;
use crate::key_value::{KeyValue, KeyValueError};
use crate::links::{each, results};
use crate::{CacheKey, Link, SavedResult, Sum};

/// Records, each after those that lead to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportGraph {
    /// The records.
    pub records: Vec<ExportRecord>,
}

/// A record with all known ways to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportRecord {
    /// Its key in the cache it comes from.
    pub key: CacheKey,
    /// The operation and its output: what a record is named after in exported caches.
    pub operation: CacheKey,
    /// For every input, the ways to it; none of the lists is empty.
    pub inputs: Vec<Vec<ExportLink>>,
    /// Its results.
    pub results: Vec<SavedResult>,
}

/// One way to an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExportLink {
    /// The number of the record in the list.
    pub record: usize,
    /// What is read of it.
    pub selector: Option<Sum>,
}

/// A record on the way, with the links to it that were not followed yet.
struct Visit {
    key: CacheKey,
    links: Vec<(Link, CacheKey)>,
    next: usize,
}

enum Seen {
    /// On the way to itself.
    Open,
    /// In the list, or not worth being there.
    Done(Option<usize>),
}

/// Collects everything that leads to `records`.
///
/// Left out are keys that mean nothing beyond a session, records that cannot be reached without
/// them, and links that lead in a circle: a step that changes nothing leads to itself by content.
pub(crate) fn walk(
    database: &impl KeyValue,
    records: &[CacheKey],
) -> Result<ExportGraph, KeyValueError> {
    let mut walk = Walk { database, seen: BTreeMap::new(), graph: ExportGraph::default() };
    for record in records {
        walk.from(*record)?;
    }
    Ok(walk.graph)
}

struct Walk<'a, K> {
    database: &'a K,
    seen: BTreeMap<CacheKey, Seen>,
    graph: ExportGraph,
}

impl<K: KeyValue> Walk<'_, K> {
    fn from(&mut self, record: CacheKey) -> Result<(), KeyValueError> {
        let mut way = Vec::from_iter(self.enter(record)?);
        while let Some(visit) = way.last_mut() {
            match visit.links.get(visit.next) {
                Some((_, from)) => {
                    visit.next += 1;
                    let from = *from;
                    way.extend(self.enter(from)?);
                }
                None => {
                    if let Some(visit) = way.pop() {
                        self.leave(&visit)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn enter(&mut self, key: CacheKey) -> Result<Option<Visit>, KeyValueError> {
        if self.seen.contains_key(&key) {
            return Ok(None);
        }
        self.seen.insert(key, Seen::Open);
        let mut links = Vec::new();
        each(self.database, &encode::links_to(key), |entry, _| {
            links.extend(encode::read_link(entry).zip(encode::last_key(entry)));
            true
        })?;
        Ok(Some(Visit { key, links, next: 0 }))
    }

    fn leave(&mut self, visit: &Visit) -> Result<(), KeyValueError> {
        let number = match self.record(visit)? {
            Some(record) => {
                self.graph.records.push(record);
                Some(self.graph.records.len() - 1)
            }
            None => None,
        };
        self.seen.insert(visit.key, Seen::Done(number));
        Ok(())
    }

    fn record(&self, visit: &Visit) -> Result<Option<ExportRecord>, KeyValueError> {
        let key = visit.key;
        let mut operation = key;
        let mut inputs: Vec<Vec<ExportLink>> = Vec::new();
        for (link, from) in &visit.links {
            operation = link.operation;
            let input = link.input as usize;
            inputs.resize_with(inputs.len().max(input + 1), Vec::new);
            if let Some(Seen::Done(Some(record))) = self.seen.get(from) {
                inputs[input].push(ExportLink { record: *record, selector: link.selector });
            }
        }
        let is_whole = inputs.iter().all(|ways| !ways.is_empty());
        let is_named = operation.is_digest();
        if !is_whole || !is_named {
            return Ok(None);
        }
        Ok(Some(ExportRecord { key, operation, inputs, results: results(self.database, key)? }))
    }
}
