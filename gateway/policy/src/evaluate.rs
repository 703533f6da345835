//! Policies applied to one source.

use crate::Source;
use crate::policy::{Action, Policy, Rule, Update};

/// How often one source may be converted before the policies are taken for a circle.
pub const MAX_CONVERSIONS: usize = 20;

/// Policies in the order in which they are asked: a frontend's own before the build's.
#[derive(Clone, Debug, Default)]
pub struct Policies(Vec<Policy>);

/// What became of a source that is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluated {
    /// The source to use.
    pub source: Source,
    /// It is not the one that was asked about.
    pub converted: bool,
}

/// Why a source may not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluateError {
    /// A rule denies it.
    #[error("source {0:?} denied by policy: source denied by policy")]
    Denied(String),
    /// Conversions lead in a circle.
    #[error(
        "too many mutations on a single source: {0:?} is still converted after {MAX_CONVERSIONS} times"
    )]
    Circle(String),
}

impl Policies {
    /// Policies in this order.
    pub fn new(policies: Vec<Policy>) -> Self {
        Self(policies)
    }

    /// Whether there is no rule at all, so that nothing need be asked.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|policy| policy.rules.is_empty())
    }

    /// These policies after others, which are asked first.
    #[must_use]
    pub fn after(&self, first: &Self) -> Self {
        Self(first.0.iter().chain(&self.0).cloned().collect())
    }

    /// Judges a source, and what it is converted to, until nothing changes any more.
    ///
    /// # Errors
    ///
    /// [`EvaluateError`] with the source as it was when it was refused.
    pub fn evaluate(&self, source: Source) -> Result<Evaluated, EvaluateError> {
        let mut evaluated = Evaluated { source, converted: false };
        for _ in 0..=MAX_CONVERSIONS {
            match self.pass(&evaluated.source)? {
                None => return Ok(evaluated),
                Some(source) => evaluated = Evaluated { source, converted: true },
            }
        }
        Err(EvaluateError::Circle(evaluated.source.identifier))
    }

    /// One pass over all policies; the converted source, if one of them converts it.
    fn pass(&self, source: &Source) -> Result<Option<Source>, EvaluateError> {
        for policy in &self.0 {
            let converted = policy.pass(source)?;
            if converted.is_some() {
                return Ok(converted);
            }
        }
        Ok(None)
    }
}

impl Policy {
    fn pass(&self, source: &Source) -> Result<Option<Source>, EvaluateError> {
        let mut denied = false;
        for rule in self.rules.iter().filter(|rule| rule.matcher.matches(source)) {
            match &rule.action {
                Action::Allow => denied = false,
                Action::Deny => denied = true,
                Action::Convert(update) => {
                    if let Some(converted) = rule.convert(update, source) {
                        return Ok(Some(converted));
                    }
                }
            }
        }
        if denied {
            return Err(EvaluateError::Denied(source.identifier.clone()));
        }
        Ok(None)
    }
}

impl Rule {
    /// The converted source; `None` if it is that already.
    fn convert(&self, update: &Update, source: &Source) -> Option<Source> {
        let target = update.identifier.as_deref().unwrap_or(self.matcher.identifier());
        let identifier = self.matcher.expand(&source.identifier, target);
        let mut converted = source.clone();
        if !identifier.is_empty() {
            converted.identifier = identifier;
        }
        converted.attrs.extend(update.attrs.clone());
        (converted != *source).then_some(converted)
    }
}
