//! A parsed filter, and what it is asked about.

use std::borrow::Cow;

use regex::Regex;

use crate::FilterError;
use crate::parse;

/// Something that has fields by name.
pub trait Fields {
    /// The value at a path such as `["type"]` or `["labels", "my.label"]`; `None` if there is none.
    ///
    /// Flags have the value `true` or `false`; a flag that is `false` does not count as present.
    fn field(&self, path: &[String]) -> Option<Cow<'_, str>>;
}

/// A parsed list of filters. The default matches everything.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    alternatives: Vec<Vec<Selector>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Selector {
    pub(crate) path: Vec<String>,
    pub(crate) test: Test,
}

#[derive(Clone, Debug)]
pub(crate) enum Test {
    Present,
    Equal(String),
    NotEqual(String),
    Matches(Regex),
}

impl Filter {
    /// Parses a list of filters; an empty list, or an empty text, matches everything.
    ///
    /// # Errors
    ///
    /// [`FilterError`] for the first text that is no filter. Fields nobody knows are none: what has
    /// no such field does not match.
    pub fn parse<T: AsRef<str>>(filters: &[T]) -> Result<Self, FilterError> {
        let alternatives = filters.iter().map(|filter| parse::selectors(filter.as_ref()));
        Ok(Self { alternatives: alternatives.collect::<Result<_, _>>()? })
    }

    /// Whether there is nothing to test.
    pub fn is_empty(&self) -> bool {
        self.alternatives.is_empty() || self.alternatives.iter().any(Vec::is_empty)
    }

    /// Whether something matches.
    pub fn matches(&self, subject: &impl Fields) -> bool {
        self.alternatives.is_empty()
            || self.alternatives.iter().any(|all| all.iter().all(|one| one.holds(subject)))
    }
}

impl Selector {
    fn holds(&self, subject: &impl Fields) -> bool {
        let value = subject.field(&self.path);
        match &self.test {
            Test::Present => value.is_some_and(|value| value != "false"),
            Test::Equal(wanted) => value.is_some_and(|value| value == wanted.as_str()),
            Test::NotEqual(unwanted) => value.unwrap_or_default() != unwanted.as_str(),
            Test::Matches(expression) => expression.is_match(&value.unwrap_or_default()),
        }
    }
}
