//! One policy: a list of rules, checked and compiled.

use std::collections::BTreeMap;

use kiln_pb::sourcepolicy as wire;
use kiln_pb::sourcepolicy::PolicyAction;

use crate::matcher::{Matcher, MatcherError};

/// The only version of policies there is; 0 stands for it too.
const VERSION: i64 = 1;

/// Why a policy cannot be used. Nothing is built with it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PolicyError {
    /// From the future.
    #[error("source policy of version {0} is not supported, only version {VERSION} is")]
    Version(i64),
    /// A rule that is for nothing.
    #[error("source policy rule {0}: invalid nil selector in policy")]
    NoSelector(usize),
    /// A conversion into nothing.
    #[error("source policy rule {0}: missing destination for convert rule (`updates`)")]
    NoUpdates(usize),
    /// A rule whose action is unknown.
    #[error("source policy rule {rule}: unknown type of action {action}")]
    Action {
        /// The rule, counted from 0.
        rule: usize,
        /// The action.
        action: i32,
    },
    /// A rule whose selector is broken.
    #[error("source policy rule {rule}: {source}")]
    Selector {
        /// The rule, counted from 0.
        rule: usize,
        /// What is wrong with it.
        source: MatcherError,
    },
}

/// A list of rules. Of all that match, the last ALLOW or DENY counts; the first CONVERT that changes
/// something ends the pass, and the result is judged anew.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) matcher: Matcher,
    pub(crate) action: Action,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Allow,
    Deny,
    Convert(Update),
}

/// What a CONVERT makes of a source.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    /// The new identifier; `None` keeps the selector's.
    pub(crate) identifier: Option<String>,
    /// Attributes to set.
    pub(crate) attrs: BTreeMap<String, String>,
}

impl Policy {
    /// Checks and compiles a policy as it travels.
    ///
    /// # Errors
    ///
    /// [`PolicyError`] with the number of the rule that is wrong, also for patterns: a rule that
    /// cannot be understood must not be skipped.
    pub fn compile(policy: &wire::Policy) -> Result<Self, PolicyError> {
        if !matches!(policy.version, 0 | VERSION) {
            return Err(PolicyError::Version(policy.version));
        }
        let rules = policy.rules.iter().enumerate();
        let rules = rules.map(|(number, rule)| Rule::compile(number, rule));
        Ok(Self { rules: rules.collect::<Result<_, _>>()? })
    }
}

impl Rule {
    fn compile(number: usize, rule: &wire::Rule) -> Result<Self, PolicyError> {
        let selector = rule.selector.as_ref().ok_or(PolicyError::NoSelector(number))?;
        let matcher = Matcher::compile(selector)
            .map_err(|source| PolicyError::Selector { rule: number, source })?;
        let action = match PolicyAction::try_from(rule.action) {
            Ok(PolicyAction::Allow) => Action::Allow,
            Ok(PolicyAction::Deny) => Action::Deny,
            Ok(PolicyAction::Convert) => {
                let updates = rule.updates.as_ref().ok_or(PolicyError::NoUpdates(number))?;
                let identifier = Some(updates.identifier.clone()).filter(|text| !text.is_empty());
                Action::Convert(Update { identifier, attrs: updates.attrs.clone() })
            }
            Err(_) => return Err(PolicyError::Action { rule: number, action: rule.action }),
        };
        Ok(Self { matcher, action })
    }
}
