//! The steps of a build, as its plain progress shows them.

use std::collections::BTreeMap;

use crate::command::Outcome;

/// A step that was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name, `[demo 2/3] make`.
    pub name: String,
    /// Whether its result was there before.
    pub cached: bool,
}

impl Outcome {
    /// The steps, in the order of their numbers.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps: BTreeMap<usize, Step> = BTreeMap::new();
        for line in self.stderr.lines() {
            let numbered = line.strip_prefix('#').and_then(|line| line.split_once(' '));
            let Some((number, text)) = numbered else { continue };
            let Ok(number) = number.parse() else { continue };
            let step = steps.entry(number);
            let step = step.or_insert_with(|| Step { name: text.to_owned(), cached: false });
            match text {
                "CACHED" => step.cached = true,
                // A result may turn out to be gone when it is wanted.
                _ if text.starts_with("DONE") => step.cached = false,
                _ => {}
            }
        }
        steps.into_values().collect()
    }

    /// The steps that did work, of those that are numbered within an image: `[demo 2/3] make`.
    pub fn worked(&self) -> Vec<String> {
        let own = |name: &str| {
            let inner = name.strip_prefix('[').and_then(|name| name.split_once(']'));
            inner.is_some_and(|(inner, _)| inner.contains('/'))
        };
        let steps = self.steps().into_iter();
        steps.filter(|step| !step.cached && own(&step.name)).map(|step| step.name).collect()
    }
}
