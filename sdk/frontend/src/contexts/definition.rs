//! The user's file: its text, and all that is needed to point into it.

use bytes::Bytes;
use kiln_document::{Diagnostic, Source, Span};
use kiln_llb::{
    Constraints, Definition, SourceFile, SourceLocation, SourceMap, SourceRange, State,
};

use crate::error::range;
use crate::{FrontendError, SourceInfo, Warning};

/// The user's file.
#[derive(Clone, Debug)]
pub struct DefinitionFile {
    /// Its name.
    pub name: String,
    /// Its language.
    pub language: String,
    /// Its bytes.
    pub data: Bytes,
    /// The file as LLB points at it, with the graph that loads it.
    pub source_map: SourceMap,
    /// The digest of the vertex that loads it, to which warnings belong.
    pub vertex: String,
    definition: Definition,
}

impl DefinitionFile {
    /// A file that a graph loads.
    pub(super) fn new(
        name: String,
        language: &str,
        data: Bytes,
        definition: Definition,
    ) -> Result<Self, FrontendError> {
        let unfit = |error: &dyn std::fmt::Display| FrontendError::internal(error.to_string());
        let head = definition.head().map_err(|error| unfit(&error))?;
        let vertex = head.map(|(digest, _)| digest).unwrap_or_default();
        // The state is made of the definition, so that the file refers to the load as it was done,
        // whatever is assumed where the file is pointed at.
        let state = match definition.is_empty() {
            true => None,
            false => Some(State::from_definition(&definition).map_err(|error| unfit(&error))?),
        };
        let source_map = SourceMap::from(
            SourceFile::default()
                .with_filename(name.clone())
                .with_language(language.to_owned())
                .with_data(data.to_vec())
                .with_state(state),
        );
        Ok(Self { name, language: language.to_owned(), data, source_map, vertex, definition })
    }

    /// The file as a text to parse.
    ///
    /// # Errors
    ///
    /// If it is not UTF-8.
    pub fn source(&self) -> Result<Source, FrontendError> {
        Source::from_bytes(self.name.as_str(), &self.data).map_err(|diagnostic| {
            FrontendError::invalid(format!("{}: {}", self.name, diagnostic.message))
        })
    }

    /// The file as errors and warnings carry it.
    pub fn info(&self) -> SourceInfo {
        SourceInfo::new(self.name.clone(), self.data.clone())
            .language(self.language.clone())
            .definition(self.definition.clone())
    }

    /// Where a span of the file's text is, for the ops that come from it.
    pub fn location(&self, source: &Source, span: Span) -> SourceLocation {
        self.source_map.location([range(source, span)])
    }

    /// What is said about an op that comes from a span of the file: its name and its place.
    ///
    /// ```
    /// # use kiln_frontend::DefinitionFile;
    /// use kiln_document::{Source, Span};
    /// use kiln_llb::{Exec, State};
    ///
    /// # fn example(file: &DefinitionFile, source: &Source, span: Span) -> State {
    /// let constraints = file.step(source, "[1/1] make", span);
    /// State::image("alpine").run(Exec::sh("make").with_constraints(constraints)).root()
    /// # }
    /// ```
    pub fn step(&self, source: &Source, name: impl Into<String>, span: Span) -> Constraints {
        let locations = vec![self.location(source, span)];
        Constraints::named(name).with_locations(locations)
    }

    /// An error with its place in the file, unless it has one from further in.
    pub fn locate(&self, error: FrontendError, ranges: Vec<SourceRange>) -> FrontendError {
        if error.has_source() { error } else { error.with_source(self.info(), ranges) }
    }

    /// A warning about some lines of the file.
    pub fn warning(&self, short: impl Into<String>, ranges: Vec<SourceRange>) -> Warning {
        Warning {
            vertex: self.vertex.clone(),
            level: 1,
            short: short.into(),
            info: Some(self.info()),
            ranges,
            ..Warning::default()
        }
    }

    /// A diagnostic as a warning, drawn as it is on a terminal.
    pub fn warning_of(&self, source: &Source, diagnostic: &Diagnostic) -> Warning {
        let ranges = diagnostic.span.map(|span| range(source, span)).into_iter().collect();
        let detail = diagnostic.render(source).lines().map(str::to_owned).collect();
        Warning { detail, ..self.warning(diagnostic.summary(source), ranges) }
    }
}
