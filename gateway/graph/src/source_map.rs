//! Where vertices come from in the user's files.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_pb::pb;

/// A place in a user's file.
#[derive(Clone, Debug, PartialEq)]
pub struct Location {
    /// The file.
    pub file: Arc<SourceFile>,
    /// Ranges in it.
    pub ranges: Vec<SourceRange>,
}

/// A user's file, as the frontend passed it on.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceFile {
    /// Its name.
    pub filename: String,
    /// Its text.
    pub data: Vec<u8>,
    /// Its language, for people.
    pub language: String,
    /// The graph that the file was read from, if it was. A message, because it is only handed back
    /// to clients.
    pub definition: Option<pb::Definition>,
}

/// A range of lines (from 1) and characters (from 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceRange {
    /// First line.
    pub start_line: i32,
    /// First character in it.
    pub start_character: i32,
    /// Last line.
    pub end_line: i32,
    /// Character after the last in it.
    pub end_character: i32,
}

/// The locations of a definition, by the digests that its client knows.
#[derive(Debug, Default)]
pub(crate) struct SourceMap<'a> {
    files: Vec<Arc<SourceFile>>,
    locations: Option<&'a BTreeMap<String, pb::Locations>>,
}

impl<'a> SourceMap<'a> {
    pub(crate) fn new(source: Option<&'a pb::Source>) -> Self {
        let Some(source) = source else { return Self::default() };
        let files = source.infos.iter().map(|info| Arc::new(SourceFile::from(info))).collect();
        Self { files, locations: Some(&source.locations) }
    }

    /// Where a vertex comes from. Locations in files that the definition does not carry are left out.
    pub(crate) fn of(&self, digest: &str) -> Vec<Location> {
        let found = self.locations.and_then(|locations| locations.get(digest));
        let locations = found.map(|found| found.locations.as_slice()).unwrap_or_default();
        locations.iter().filter_map(|location| self.location(location)).collect()
    }

    fn location(&self, location: &pb::Location) -> Option<Location> {
        let index = usize::try_from(location.source_index).ok()?;
        let file = Arc::clone(self.files.get(index)?);
        Some(Location { file, ranges: location.ranges.iter().map(SourceRange::from).collect() })
    }
}

impl From<&pb::SourceInfo> for SourceFile {
    fn from(info: &pb::SourceInfo) -> Self {
        Self {
            filename: info.filename.clone(),
            data: info.data.to_vec(),
            language: info.language.clone(),
            definition: info.definition.clone(),
        }
    }
}

impl From<&pb::Range> for SourceRange {
    fn from(range: &pb::Range) -> Self {
        let start = range.start.unwrap_or_default();
        let end = range.end.or(range.start).unwrap_or_default();
        Self {
            start_line: start.line,
            start_character: start.character,
            end_line: end.line,
            end_character: end.character,
        }
    }
}
