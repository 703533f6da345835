//! Files of the user's, as errors, warnings and answers carry them.

use bytes::Bytes;
use kiln_llb::SourceRange;
use kiln_wire::pb;

/// A file of the user's. Cheap to clone but for the graph that loads it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourceInfo(pub(crate) pb::SourceInfo);

impl SourceInfo {
    /// A file with its text, of which nobody knows how it is loaded.
    pub fn new(filename: impl Into<String>, data: impl Into<Bytes>) -> Self {
        let (filename, data) = (filename.into(), data.into());
        Self(pb::SourceInfo { filename, data, ..pb::SourceInfo::default() })
    }

    /// The same in a language.
    #[must_use]
    pub fn language(mut self, language: impl Into<String>) -> Self {
        self.0.language = language.into();
        self
    }

    /// The same with the graph that loads it.
    #[must_use]
    pub fn definition(mut self, definition: kiln_llb::Definition) -> Self {
        self.0.definition = Some(kiln_llb::wire::to_message(definition));
        self
    }

    /// Its name, as the user knows it.
    pub fn filename(&self) -> &str {
        &self.0.filename
    }

    /// Its bytes.
    pub fn data(&self) -> &Bytes {
        &self.0.data
    }
}

#[cfg(feature = "pb")]
impl From<pb::SourceInfo> for SourceInfo {
    fn from(info: pb::SourceInfo) -> Self {
        Self(info)
    }
}

#[cfg(feature = "pb")]
impl From<SourceInfo> for pb::SourceInfo {
    fn from(info: SourceInfo) -> Self {
        info.0
    }
}

/// A place in one of the files of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Location {
    /// Which file, by its place in the list of the answer, from 0.
    pub source_index: usize,
    /// Where in it.
    pub ranges: Vec<SourceRange>,
}

impl Location {
    /// Places in the first file.
    pub fn new(ranges: impl IntoIterator<Item = SourceRange>) -> Self {
        Self { source_index: 0, ranges: ranges.into_iter().collect() }
    }

    /// Whole lines of the first file, counted from one.
    pub fn lines(first: u32, last: u32) -> Self {
        Self::new([SourceRange::lines(first, last)])
    }

    /// The same in another file.
    #[must_use]
    pub fn of_source(mut self, index: usize) -> Self {
        self.source_index = index;
        self
    }

    pub(crate) fn to_message(&self) -> pb::Location {
        pb::Location {
            source_index: i32::try_from(self.source_index).unwrap_or(i32::MAX),
            ranges: self.ranges.iter().copied().map(kiln_llb::wire::range_to_message).collect(),
        }
    }
}
