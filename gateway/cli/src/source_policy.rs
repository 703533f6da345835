//! `--source-policy-file`: a source policy as JSON, in the form BuildKit's encoder writes.

use std::collections::BTreeMap;

use kiln_wire::proto::sourcepolicy::{
    AttrConstraint, AttrMatch, MatchType, Policy, PolicyAction, Rule, Selector, Update,
};
use serde::Deserialize;

/// Reads a policy. Enumerations may be names or numbers.
///
/// # Errors
///
/// If the text is not such JSON; the error says where.
pub(crate) fn parse(json: &str) -> Result<Policy, serde_json::Error> {
    serde_json::from_str::<JsonPolicy>(json).map(Policy::from)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonPolicy {
    #[serde(default)]
    version: i64,
    #[serde(default)]
    rules: Vec<JsonRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonRule {
    #[serde(default)]
    action: Choice<Action>,
    selector: Option<JsonSelector>,
    updates: Option<JsonUpdate>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonSelector {
    #[serde(default)]
    identifier: String,
    #[serde(default, alias = "match_type")]
    #[serde(rename = "matchType")]
    match_type: Choice<Match>,
    #[serde(default)]
    constraints: Vec<JsonConstraint>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonConstraint {
    #[serde(default)]
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    condition: Choice<Condition>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonUpdate {
    #[serde(default)]
    identifier: String,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
}

/// A value of an enumeration, by name or number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Choice<T> {
    Name(T),
    Number(i32),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Action {
    Allow,
    Deny,
    Convert,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Match {
    Wildcard,
    Exact,
    Regex,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Condition {
    Equal,
    NotEqual,
    Matches,
}

impl<T> Default for Choice<T> {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl<T: Copy> Choice<T> {
    fn number(&self, of: impl Fn(T) -> i32) -> i32 {
        match self {
            Self::Name(name) => of(*name),
            Self::Number(number) => *number,
        }
    }
}

impl From<JsonPolicy> for Policy {
    fn from(policy: JsonPolicy) -> Self {
        Self { version: policy.version, rules: policy.rules.into_iter().map(Rule::from).collect() }
    }
}

impl From<JsonRule> for Rule {
    fn from(rule: JsonRule) -> Self {
        let action = rule.action.number(|action| match action {
            Action::Allow => PolicyAction::Allow.into(),
            Action::Deny => PolicyAction::Deny.into(),
            Action::Convert => PolicyAction::Convert.into(),
        });
        Self {
            action,
            selector: rule.selector.map(Selector::from),
            updates: rule.updates.map(|update| Update {
                identifier: update.identifier,
                attrs: update.attrs.into_iter().collect(),
            }),
        }
    }
}

impl From<JsonSelector> for Selector {
    fn from(selector: JsonSelector) -> Self {
        Self {
            identifier: selector.identifier,
            match_type: selector.match_type.number(|kind| match kind {
                Match::Wildcard => MatchType::Wildcard.into(),
                Match::Exact => MatchType::Exact.into(),
                Match::Regex => MatchType::Regex.into(),
            }),
            constraints: selector.constraints.into_iter().map(AttrConstraint::from).collect(),
        }
    }
}

impl From<JsonConstraint> for AttrConstraint {
    fn from(constraint: JsonConstraint) -> Self {
        Self {
            key: constraint.key,
            value: constraint.value,
            condition: constraint.condition.number(|condition| match condition {
                Condition::Equal => AttrMatch::Equal.into(),
                Condition::NotEqual => AttrMatch::Notequal.into(),
                Condition::Matches => AttrMatch::Matches.into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_mean_the_same() {
        let named = parse(
            r#"{"version":1,"rules":[{"action":"CONVERT","selector":{"identifier":"docker-image://a",
                "matchType":"EXACT","constraints":[{"key":"k","value":"v","condition":"NOTEQUAL"}]},
                "updates":{"identifier":"docker-image://b","attrs":{"x":"y"}}}]}"#,
        );
        let numbered = parse(
            r#"{"version":1,"rules":[{"action":2,"selector":{"identifier":"docker-image://a",
                "match_type":1,"constraints":[{"key":"k","value":"v","condition":1}]},
                "updates":{"identifier":"docker-image://b","attrs":{"x":"y"}}}]}"#,
        );
        let (named, numbered) = (named.unwrap(), numbered.unwrap());
        assert_eq!(named, numbered);
        assert_eq!(named.rules[0].action, i32::from(PolicyAction::Convert));
    }

    #[test]
    fn a_word_that_means_nothing_is_an_error() {
        assert!(parse(r#"{"rules":[{"action":"FORBID"}]}"#).is_err());
        assert!(parse(r#"{"rule":[]}"#).is_err());
    }
}
