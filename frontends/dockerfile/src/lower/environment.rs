//! What commands of a stage see of variables: those of the image, and what the file sets.
//!
//! A stage begins with what its base had: first the variables that only `ARG` set, then those of the
//! config, as if each were set once more; then come those that the stage sets itself, by their last
//! write. Nothing of it is copied for a stage: [`Environment`] is taken over as it is, and only
//! commands get a list.

use std::collections::HashSet;
use std::sync::Arc;

use super::env::Env;
use super::layered::Layered;
use super::variables::Names;
use crate::words;

/// Variables of a stage besides those of its config.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// What stages below set and their configs do not have, by last write.
    below: Layered<Arc<str>>,
    /// What this stage set, by last write.
    own: Layered<Arc<str>>,
}

impl Environment {
    /// Sets a variable of this stage.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.own.push(name, value.into());
    }

    /// What a stage on top of this one begins with. `config` is what this stage's config has: a stage
    /// on top has it from there.
    pub(crate) fn heir(&mut self, config: &Env) -> Self {
        for (name, value) in std::mem::take(&mut self.own).in_order() {
            if !config.contains(name) {
                self.below.push(name, Arc::clone(value));
            }
        }
        Self { below: self.below.share(), own: Layered::default() }
    }
}

/// All variables of a stage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visible<'n> {
    pub(crate) config: &'n Env,
    pub(crate) environment: &'n Environment,
}

impl<'n> Visible<'n> {
    /// Names and values in the order in which commands get them.
    pub(crate) fn list(self) -> Vec<(&'n str, &'n str)> {
        let texts = |map: &'n Layered<Arc<str>>| {
            map.in_order().into_iter().map(|(name, value)| (name, &**value))
        };
        let mut all: Vec<(&str, &str)> = texts(&self.environment.below).collect();
        all.extend(self.config.pairs());
        all.extend(texts(&self.environment.own));
        // Each name stands where it was written last.
        let mut seen = HashSet::with_capacity(all.len());
        let mut last: Vec<(&str, &str)> =
            all.into_iter().rev().filter(|(name, _)| seen.insert(*name)).collect();
        last.reverse();
        last
    }
}

impl words::Environment for Visible<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let Environment { below, own } = self.environment;
        let own = own.get(name).map(|value| &**value);
        own.or_else(|| self.config.get(name)).or_else(|| below.get(name).map(|value| &**value))
    }
}

impl Names for Visible<'_> {
    fn names(&self) -> Vec<&str> {
        self.list().into_iter().map(|(name, _)| name).collect()
    }
}
