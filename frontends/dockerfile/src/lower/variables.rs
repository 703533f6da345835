//! What words may be expanded with, in the order in which names are shown to people.

use indexmap::IndexMap;
use kiln_sdk::llb::Values;

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
pub(crate) struct Variables(IndexMap<String, String>);

impl Variables {
    /// Sets a variable and moves it to the end.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        // Most names are new or were written last, and then nothing moves.
        if self.0.get_index_of(name).is_some_and(|index| index + 1 < self.0.len()) {
            self.0.shift_remove(name);
        }
        self.0.insert(name.to_owned(), value.into());
    }

    /// Forgets a variable.
    pub(crate) fn remove(&mut self, name: &str) {
        self.0.shift_remove(name);
    }
}

impl Environment for Variables {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl Names for Variables {
    fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

impl From<&Values> for Variables {
    fn from(values: &Values) -> Self {
        Self(values.env.iter().cloned().collect())
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
