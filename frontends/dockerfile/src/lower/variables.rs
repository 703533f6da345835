//! What words may be expanded with, in the order in which names are shown to people.

use std::sync::Arc;

use super::layered::Layered;
use crate::words::{Environment, NoVariables};

/// Variables with names in order.
pub(crate) trait Names: Environment {
    /// Every name, in order.
    fn names(&self) -> Vec<&str>;
}

impl Names for NoVariables {
    fn names(&self) -> Vec<&str> {
        Vec::new()
    }
}

/// Variables, ordered by last write.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables(Layered<Arc<str>>);

impl Variables {
    /// Sets a variable and moves it to the end.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<Arc<str>>) {
        self.0.push(name, value.into());
    }

    /// Forgets a variable.
    pub(crate) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }
}

impl Environment for Variables {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| &**value)
    }
}

impl Names for Variables {
    fn names(&self) -> Vec<&str> {
        self.0.in_order().into_iter().map(|(name, _)| name).collect()
    }
}

/// An environment in which some variables hold secrets, which nobody should read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Masked<'a, E: ?Sized> {
    pub(crate) environment: &'a E,
    /// The names of the secret variables.
    pub(crate) secret: &'a [String],
}

impl<E: Environment + ?Sized> Environment for Masked<'_, E> {
    fn get(&self, name: &str) -> Option<&str> {
        if self.secret.iter().any(|secret| secret == name) {
            return Some("****");
        }
        self.environment.get(name)
    }
}
