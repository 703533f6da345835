//! What a rule is for: a text or a pattern for identifiers, and conditions on attributes.

use std::collections::BTreeMap;

use kiln_pb::sourcepolicy::{AttrConstraint, AttrMatch, MatchType, Selector};
use regex::Regex;

use crate::Source;

/// Why a selector cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MatcherError {
    /// A regular expression that is none.
    #[error("invalid regular expression {pattern:?}")]
    Regex {
        /// The expression.
        pattern: String,
        /// What is wrong with it.
        source: regex::Error,
    },
    /// A wildcard with two stars side by side.
    #[error("invalid wildcard {0:?}: `**` means nothing here, write `*`")]
    DoubleStar(String),
    /// An enumeration value from the future.
    #[error("unknown {what} {value}")]
    Unknown {
        /// Which enumeration.
        what: &'static str,
        /// Its value.
        value: i32,
    },
}

/// A compiled selector.
#[derive(Clone, Debug)]
pub(crate) struct Matcher {
    identifier: String,
    pattern: Pattern,
    constraints: Vec<Constraint>,
}

#[derive(Clone, Debug)]
enum Pattern {
    Exact,
    /// With one group per star.
    Wildcard(Regex),
    Regex(Regex),
}

#[derive(Clone, Debug)]
struct Constraint {
    key: String,
    condition: Condition,
}

#[derive(Clone, Debug)]
enum Condition {
    Equal(String),
    NotEqual(String),
    Matches(Regex),
}

impl Matcher {
    pub(crate) fn compile(selector: &Selector) -> Result<Self, MatcherError> {
        let pattern = match MatchType::try_from(selector.match_type) {
            Ok(MatchType::Exact) => Pattern::Exact,
            Ok(MatchType::Regex) => Pattern::Regex(regex(&selector.identifier)?),
            Ok(MatchType::Wildcard) => Pattern::Wildcard(wildcard(&selector.identifier)?),
            Err(_) => {
                return Err(MatcherError::Unknown {
                    what: "match type",
                    value: selector.match_type,
                });
            }
        };
        let constraints = selector.constraints.iter().map(constraint).collect::<Result<_, _>>()?;
        Ok(Self { identifier: selector.identifier.clone(), pattern, constraints })
    }

    /// The identifier or pattern as it was given.
    pub(crate) fn identifier(&self) -> &str {
        &self.identifier
    }

    pub(crate) fn matches(&self, source: &Source) -> bool {
        self.constraints.iter().all(|constraint| constraint.holds(&source.attrs))
            && (self.identifier == source.identifier || self.pattern_matches(&source.identifier))
    }

    fn pattern_matches(&self, identifier: &str) -> bool {
        match &self.pattern {
            Pattern::Exact => false,
            Pattern::Wildcard(regex) | Pattern::Regex(regex) => regex.is_match(identifier),
        }
    }

    /// The replacement with `${1}` filled in from what the pattern caught in `identifier`.
    ///
    /// A wildcard that does not fit changes nothing: the rule was found by equality then.
    pub(crate) fn expand(&self, identifier: &str, replacement: &str) -> String {
        match &self.pattern {
            Pattern::Exact => replacement.to_owned(),
            Pattern::Regex(regex) => regex.replace_all(identifier, replacement).into_owned(),
            Pattern::Wildcard(regex) => match regex.captures(identifier) {
                None => identifier.to_owned(),
                Some(captures) => {
                    let mut expanded = String::new();
                    captures.expand(replacement, &mut expanded);
                    expanded
                }
            },
        }
    }
}

impl Constraint {
    /// An attribute that is not there counts as empty.
    fn holds(&self, attrs: &BTreeMap<String, String>) -> bool {
        let value = attrs.get(&self.key).map_or("", String::as_str);
        match &self.condition {
            Condition::Equal(wanted) => value == wanted,
            Condition::NotEqual(unwanted) => value != unwanted,
            Condition::Matches(regex) => regex.is_match(value),
        }
    }
}

fn constraint(constraint: &AttrConstraint) -> Result<Constraint, MatcherError> {
    let value = constraint.value.clone();
    let condition = match AttrMatch::try_from(constraint.condition) {
        Ok(AttrMatch::Equal) => Condition::Equal(value),
        Ok(AttrMatch::Notequal) => Condition::NotEqual(value),
        Ok(AttrMatch::Matches) => Condition::Matches(regex(&value)?),
        Err(_) => {
            return Err(MatcherError::Unknown {
                what: "condition of an attribute",
                value: constraint.condition,
            });
        }
    };
    Ok(Constraint { key: constraint.key.clone(), condition })
}

fn regex(pattern: &str) -> Result<Regex, MatcherError> {
    Regex::new(pattern)
        .map_err(|source| MatcherError::Regex { pattern: pattern.to_owned(), source })
}

fn wildcard(pattern: &str) -> Result<Regex, MatcherError> {
    if pattern.contains("**") {
        return Err(MatcherError::DoubleStar(pattern.to_owned()));
    }
    let parts: Vec<_> = pattern.split('*').map(regex::escape).collect();
    regex(&format!("^{}$", parts.join("(.*)")))
}
