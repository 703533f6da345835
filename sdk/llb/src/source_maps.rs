//! Collects where ops come from while a graph is marshalled.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kiln_oci::Digest;
use kiln_pb::pb;

use crate::constraints::{SourceFile, SourceLocation, SourceMap};
use crate::marshal::{MarshalError, Target};
use crate::wire::range_to_message;

/// The files seen so far, and the locations of each op.
#[derive(Default)]
pub(crate) struct SourceMaps {
    files: Vec<Arc<SourceFile>>,
    /// Index of a file by address; `files` or the graph keep it alive.
    known: HashMap<usize, usize>,
    locations: BTreeMap<String, pb::Locations>,
}

impl SourceMaps {
    /// Adds the locations of an op; an op without any is listed too.
    pub(crate) fn add(&mut self, digest: &Digest, locations: &[SourceLocation]) {
        let located = locations.iter().map(|location| pb::Location {
            source_index: self.index(&location.map),
            ranges: location.ranges.iter().copied().map(range_to_message).collect(),
        });
        let located: Vec<pb::Location> = located.collect();
        self.locations.entry(digest.to_string()).or_default().locations.extend(located);
    }

    /// The index of a file; equal files have one index.
    fn index(&mut self, map: &SourceMap) -> i32 {
        let address = Arc::as_ptr(&map.0).addr();
        let index = self.known.get(&address).copied().unwrap_or_else(|| {
            let same = |file: &Arc<SourceFile>| {
                file.filename == map.0.filename
                    && file.language == map.0.language
                    && file.data == map.0.data
            };
            self.files.iter().position(same).unwrap_or_else(|| {
                self.files.push(Arc::clone(&map.0));
                self.files.len() - 1
            })
        });
        self.known.insert(address, index);
        i32::try_from(index).unwrap_or(i32::MAX)
    }

    /// The message. States of files are marshalled with the same defaults.
    pub(crate) fn finish(self, target: Target<'_>) -> Result<pb::Source, MarshalError> {
        let mut infos = Vec::with_capacity(self.files.len());
        for file in &self.files {
            let definition = match &file.state {
                Some(state) => Some(state.marshal_for(target)?.into_message()),
                None => None,
            };
            infos.push(pb::SourceInfo {
                filename: file.filename.clone(),
                data: file.data.clone().into(),
                definition,
                language: file.language.clone(),
            });
        }
        Ok(pb::Source { locations: self.locations, infos })
    }
}
