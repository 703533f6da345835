//! Which entries a copy takes along.

use kiln_filesync::Patterns;

/// Include and exclude patterns of a copy.
pub(crate) struct Filter {
    include: Option<Patterns>,
    exclude: Option<Patterns>,
}

impl Filter {
    /// A filter; the error is the pattern that is malformed.
    pub(crate) fn of(include: &[String], exclude: &[String]) -> Result<Self, String> {
        let matcher = |patterns: &[String]| match patterns {
            [] => Ok(None),
            patterns => Patterns::parse(patterns).map(Some).map_err(|error| error.to_string()),
        };
        Ok(Self { include: matcher(include)?, exclude: matcher(exclude)? })
    }

    /// Whether everything passes.
    pub(crate) fn passes_all(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
    }

    /// Whether an entry passes, by its path relative to what is filtered.
    pub(crate) fn passes(&self, path: &str) -> bool {
        let fits = |patterns: &Patterns| patterns.matches(path);
        self.include.as_ref().is_none_or(fits) && !self.exclude.as_ref().is_some_and(fits)
    }
}
