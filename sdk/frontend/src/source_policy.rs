//! Policies for sources, as a frontend adds them to what it asks.

use kiln_wire::proto::sourcepolicy as wire;

/// Rules for the sources of a graph: which it may use, and what it uses instead of others. Of the rules
/// that allow or deny a source the last one counts.
///
/// ```
/// use kiln_frontend::SourcePolicy;
///
/// let policy = SourcePolicy::default()
///     .deny("docker-image://*")
///     .allow("docker-image://registry.example.com/*")
///     .convert("docker-image://docker.io/library/alpine:*", "docker-image://registry.example.com/alpine:3.22");
/// assert_eq!(policy.len(), 3);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourcePolicy(pub(crate) wire::Policy);

impl SourcePolicy {
    /// The sources that match a pattern, in which `*` is any text, may be used.
    #[must_use]
    pub fn allow(self, pattern: impl Into<String>) -> Self {
        self.rule(wire::PolicyAction::Allow, pattern.into(), None)
    }

    /// The sources that match a pattern may not be used.
    #[must_use]
    pub fn deny(self, pattern: impl Into<String>) -> Self {
        self.rule(wire::PolicyAction::Deny, pattern.into(), None)
    }

    /// Instead of the sources that match a pattern another one is used. `${1}`, `${2}` and so on in it
    /// are what the asterisks of the pattern stand for.
    #[must_use]
    pub fn convert(self, pattern: impl Into<String>, to: impl Into<String>) -> Self {
        let updates = wire::Update { identifier: to.into(), ..wire::Update::default() };
        self.rule(wire::PolicyAction::Convert, pattern.into(), Some(updates))
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.0.rules.len()
    }

    /// Whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.0.rules.is_empty()
    }

    fn rule(
        mut self,
        action: wire::PolicyAction,
        identifier: String,
        updates: Option<wire::Update>,
    ) -> Self {
        // The only version there is.
        self.0.version = 1;
        let selector = wire::Selector {
            identifier,
            match_type: wire::MatchType::Wildcard.into(),
            ..wire::Selector::default()
        };
        let (action, selector) = (action.into(), Some(selector));
        self.0.rules.push(wire::Rule { action, selector, updates });
        self
    }
}

#[cfg(feature = "pb")]
impl From<wire::Policy> for SourcePolicy {
    fn from(policy: wire::Policy) -> Self {
        Self(policy)
    }
}

#[cfg(feature = "pb")]
impl From<SourcePolicy> for wire::Policy {
    fn from(policy: SourcePolicy) -> Self {
        policy.0
    }
}
