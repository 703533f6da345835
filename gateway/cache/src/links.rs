//! The link graph: records, the links that lead from one to the next, and their results.
//!
//! A record is found by walking: every input of an operation has records that stand for it; a link
//! leads from each to the records of operations that read it; the records that all inputs lead to
//! are those that were asked for. A record is not written anywhere: it *is* the links and results
//! that name it, so a piece that is lost loses nothing else.

use std::collections::BTreeSet;

use crate::encode;
use crate::export::{ExportGraph, walk};
use crate::key_value::{Batch, Entry, KeyValue, KeyValueError};
use crate::lookup::{Answer, FoundRecord, KnownInput, Lookup, SavedResult};
use crate::source::{Answering, CacheSource, CacheStore, Saving};
use crate::{CacheKey, InputKey, Link};

/// How many entries are read at once.
const PAGE: usize = 64;

/// How many records one input may lead to before more are not looked at.
const MOST_TARGETS: usize = 4096;

/// A link graph in a database.
#[derive(Debug)]
pub struct LinkStore<K>(K);

impl<K: KeyValue> LinkStore<K> {
    /// The link graph that is in a database, or will be.
    pub fn new(database: K) -> Self {
        Self(database)
    }

    /// Everything that leads to these records, by all known ways, with the results on the way.
    ///
    /// # Errors
    ///
    /// If the database cannot be read.
    pub fn export(&self, records: &[CacheKey]) -> Result<ExportGraph, KeyValueError> {
        walk(&self.0, records)
    }

    /// The operations that there are records of, by [`CacheKey::operation`], without their inputs.
    /// Looks at everything: meant for what is in memory.
    ///
    /// # Errors
    ///
    /// If the database cannot be read.
    pub fn operations(&self) -> Result<BTreeSet<CacheKey>, KeyValueError> {
        let mut operations = BTreeSet::new();
        for kind in [encode::LINKS, encode::RESULTS] {
            each(&self.0, kind, |entry, _| {
                let link = encode::read_link(entry).filter(|_| kind == encode::LINKS);
                operations.extend(link.map(|link| link.operation));
                // A record of an operation without inputs is named after the operation.
                operations.extend(encode::first_key(entry).filter(|key| key.is_digest()));
                true
            })?;
        }
        Ok(operations)
    }

    fn find(&self, lookup: &Lookup) -> Result<Answer, KeyValueError> {
        let mut answer = Answer::default();
        if lookup.whole {
            answer.records = self.records(lookup)?;
        }
        let found = !answer.records.is_empty();
        for input in lookup.inputs.iter().filter(|input| input.is_open) {
            if found || self.leads_anywhere(lookup.operation, input)? {
                answer.linked.push(input.number);
            }
        }
        Ok(answer)
    }

    fn records(&self, lookup: &Lookup) -> Result<Vec<FoundRecord>, KeyValueError> {
        let candidates = match lookup.inputs.is_empty() {
            true if self.exists(lookup.operation)? => BTreeSet::from([lookup.operation]),
            true => BTreeSet::new(),
            false => self.candidates(lookup)?,
        };
        let mut records = Vec::new();
        for key in candidates {
            if let Some(unlinked) = self.unlinked(lookup, key)? {
                let results = results(&self.0, key)?;
                records.push(FoundRecord { key, results, unlinked });
            }
            if records.len() == Answer::MOST_RECORDS {
                break;
            }
        }
        Ok(records)
    }

    /// The records that one input leads to: an input that leads to few, if there is one. A base image
    /// leads to every step that was ever built on it, the files of that step to one.
    fn candidates(&self, lookup: &Lookup) -> Result<BTreeSet<CacheKey>, KeyValueError> {
        for input in &lookup.inputs {
            let targets = self.targets(lookup.operation, input, PAGE)?;
            if targets.len() < PAGE {
                return Ok(targets);
            }
        }
        let first = lookup.inputs.first();
        first.map_or(Ok(BTreeSet::new()), |input| {
            self.targets(lookup.operation, input, MOST_TARGETS)
        })
    }

    fn targets(
        &self,
        operation: CacheKey,
        input: &KnownInput,
        most: usize,
    ) -> Result<BTreeSet<CacheKey>, KeyValueError> {
        let mut targets = BTreeSet::new();
        for key in &input.keys {
            let prefix = encode::links_along(operation, input.number, *key);
            each(&self.0, &prefix, |entry, _| {
                targets.extend(encode::last_key(entry));
                targets.len() < most
            })?;
        }
        Ok(targets)
    }

    fn leads_anywhere(
        &self,
        operation: CacheKey,
        input: &KnownInput,
    ) -> Result<bool, KeyValueError> {
        for key in &input.keys {
            let prefix = encode::links_along(operation, input.number, *key);
            if !self.0.scan(&prefix, None, 1)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The keys that do not lead to a record; `None` if an input does not lead there at all.
    fn unlinked(
        &self,
        lookup: &Lookup,
        record: CacheKey,
    ) -> Result<Option<Vec<(u32, InputKey)>>, KeyValueError> {
        let mut unlinked = Vec::new();
        for input in &lookup.inputs {
            let before = unlinked.len();
            for key in &input.keys {
                let (input, operation) = (input.number, lookup.operation);
                let link = Link { input, operation, selector: key.selector };
                if self.0.get(&encode::link(key.record, &link, record))?.is_none() {
                    unlinked.push((input, *key));
                }
            }
            if unlinked.len() - before == input.keys.len() {
                return Ok(None);
            }
        }
        unlinked.retain(|(_, key)| key.record != record);
        Ok(Some(unlinked))
    }

    fn exists(&self, record: CacheKey) -> Result<bool, KeyValueError> {
        Ok(!self.0.scan(&encode::results_of(record), None, 1)?.is_empty()
            || !self.0.scan(&encode::links_from(record), None, 1)?.is_empty())
    }

    fn try_forget(&self, result: &str) -> Result<(), KeyValueError> {
        let mut removal = Removal { database: &self.0, deleted: BTreeSet::new() };
        let mut records = Vec::new();
        each(&self.0, &encode::uses_of(result), |entry, _| {
            records.extend(encode::last_key(entry));
            removal.deleted.insert(entry.to_vec());
            true
        })?;
        for record in &records {
            removal.deleted.insert(encode::result(*record, result));
        }
        removal.prune(records)?;
        let deletes = removal.deleted.into_iter().collect();
        self.0.write(Batch { puts: Vec::new(), deletes })
    }

    fn all_results(&self) -> Result<BTreeSet<String>, KeyValueError> {
        let mut results = BTreeSet::new();
        each(&self.0, encode::USES, |entry, _| {
            results.extend(encode::used_result(entry));
            true
        })?;
        Ok(results)
    }
}

impl<K: KeyValue> CacheSource for LinkStore<K> {
    fn look_up<'a>(&'a self, lookup: &'a Lookup) -> Answering<'a, Answer> {
        let answer = self.find(lookup).unwrap_or_else(|error| {
            tracing::warn!(error, "cache look-up failed; treated as a miss");
            Answer::default()
        });
        Box::pin(std::future::ready(answer))
    }
}

impl<K: KeyValue> CacheStore for LinkStore<K> {
    fn save(&self, saving: &Saving) {
        let batch = entries(saving);
        if batch.is_empty() {
            return;
        }
        if let Err(error) = self.0.write(batch) {
            tracing::warn!(
                error,
                "a result could not be recorded in the cache; it will be built again"
            );
        }
    }

    fn forget(&self, result: &str) {
        if let Err(error) = self.try_forget(result) {
            tracing::warn!(error, result, "a result could not be removed from the cache index");
        }
    }

    fn forget_missing(&self, is_there: &dyn Fn(&str) -> bool) {
        match self.all_results() {
            Ok(results) => {
                results.iter().filter(|id| !is_there(id)).for_each(|id| self.forget(id));
            }
            Err(error) => tracing::warn!(error, "the cache index could not be looked through"),
        }
    }

    fn export_graph(&self, records: &[CacheKey]) -> ExportGraph {
        self.export(records).unwrap_or_else(|error| {
            tracing::warn!(error, "the cache index could not be read for an export");
            ExportGraph::default()
        })
    }

    fn flush(&self) {
        if let Err(error) = self.0.flush() {
            tracing::warn!(error, "the cache index could not be flushed");
        }
    }
}

/// What is saved, as entries of the database. A record with an input that means nothing beyond
/// a session is left out with its results: without that input it would be another record.
fn entries(saving: &Saving) -> Batch {
    let mut puts: Vec<Entry> = Vec::new();
    let mut left_out = BTreeSet::new();
    for record in &saving.records {
        let Some(inputs) = lasting(&record.inputs) else {
            left_out.insert(record.key);
            continue;
        };
        let (operation, to) = (record.operation, record.key);
        for (input, key) in inputs.into_iter().filter(|(_, key)| key.record != to) {
            let link = Link { input, operation, selector: key.selector };
            puts.push((encode::link(key.record, &link, to), Vec::new()));
            puts.push((encode::backlink(key.record, &link, to), Vec::new()));
        }
    }
    for (record, result) in &saving.results {
        if !record.is_session_scoped() && !left_out.contains(record) {
            puts.push((encode::result(*record, &result.id), encode::created(result)));
            puts.push((encode::used(&result.id, *record), Vec::new()));
        }
    }
    Batch { puts, deletes: Vec::new() }
}

/// The keys that mean something beyond a session; `None` if an input has no other.
fn lasting(inputs: &[(u32, InputKey)]) -> Option<Vec<(u32, InputKey)>> {
    let lasting = inputs.iter().filter(|(_, key)| !key.record.is_session_scoped());
    let lasting: Vec<_> = lasting.copied().collect();
    let numbers: BTreeSet<u32> = lasting.iter().map(|(input, _)| *input).collect();
    inputs.iter().all(|(input, _)| numbers.contains(input)).then_some(lasting)
}

/// Calls `with` for every entry whose key begins with `prefix`, in order, until it answers false.
pub(crate) fn each(
    database: &impl KeyValue,
    prefix: &[u8],
    mut with: impl FnMut(&[u8], &[u8]) -> bool,
) -> Result<(), KeyValueError> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = database.scan(prefix, after.as_deref(), PAGE)?;
        let is_last = page.len() < PAGE;
        for (key, value) in page {
            if !with(&key, &value) {
                return Ok(());
            }
            after = Some(key);
        }
        if is_last {
            return Ok(());
        }
    }
}

/// The results of a record.
pub(crate) fn results(
    database: &impl KeyValue,
    record: CacheKey,
) -> Result<Vec<SavedResult>, KeyValueError> {
    let mut results = Vec::new();
    each(database, &encode::results_of(record), |key, value| {
        results.extend(encode::read_result(key, value));
        true
    })?;
    Ok(results)
}

/// Takes records out that have no results and lead nowhere, and then those that only led to them.
struct Removal<'a, K> {
    database: &'a K,
    /// Keys that are to be deleted, hence count as such.
    deleted: BTreeSet<Vec<u8>>,
}

impl<K: KeyValue> Removal<'_, K> {
    fn prune(&mut self, mut open: Vec<CacheKey>) -> Result<(), KeyValueError> {
        while let Some(record) = open.pop() {
            if self.holds_any(&encode::results_of(record))?
                || self.holds_any(&encode::links_from(record))?
            {
                continue;
            }
            each(self.database, &encode::links_to(record), |entry, _| {
                let (link, from) = (encode::read_link(entry), encode::last_key(entry));
                if let (Some(link), Some(from)) = (link, from) {
                    self.deleted.insert(encode::link(from, &link, record));
                    open.push(from);
                }
                self.deleted.insert(entry.to_vec());
                true
            })?;
        }
        Ok(())
    }

    fn holds_any(&self, prefix: &[u8]) -> Result<bool, KeyValueError> {
        let mut any = false;
        each(self.database, prefix, |entry, _| {
            any = !self.deleted.contains(entry);
            !any
        })?;
        Ok(any)
    }
}
