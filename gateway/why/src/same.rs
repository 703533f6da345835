//! Whether two steps of two builds stand for the same result.

use std::collections::BTreeMap;

use crate::record::BuildRecord;

/// What is known of two results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Same {
    Yes,
    No,
    Unknown,
}

/// Compares steps of two builds, each pair once.
pub(crate) struct Comparison<'a> {
    pub(crate) before: &'a BuildRecord,
    pub(crate) after: &'a BuildRecord,
    known: BTreeMap<(usize, usize), Same>,
}

impl<'a> Comparison<'a> {
    pub(crate) fn new(before: &'a BuildRecord, after: &'a BuildRecord) -> Self {
        Self { before, after, known: BTreeMap::new() }
    }

    /// Whether a step of the earlier build and one of the later do the same on the same.
    pub(crate) fn same(&mut self, before: usize, after: usize) -> Same {
        // Steps come after those that they read, so a stack of pairs ends.
        let mut open = vec![(before, after)];
        while let Some(pair) = open.last().copied() {
            match self.try_same(pair) {
                Ok(same) => {
                    self.known.insert(pair, same);
                    open.pop();
                }
                Err(missing) => open.push(missing),
            }
        }
        self.known.get(&(before, after)).copied().unwrap_or(Same::Unknown)
    }

    /// The answer, or the pair that has to be known for it.
    fn try_same(&self, (before, after): (usize, usize)) -> Result<Same, (usize, usize)> {
        if let Some(known) = self.known.get(&(before, after)) {
            return Ok(*known);
        }
        let (Some(old), Some(new)) = (self.before.steps.get(before), self.after.steps.get(after))
        else {
            return Ok(Same::Unknown);
        };
        if old.session || new.session {
            return Ok(Same::Unknown);
        }
        if old.keys.is_empty() || new.keys.is_empty() {
            // It was never asked how it is keyed, because what reads it was found.
            return Ok(if old.digest == new.digest { Same::Yes } else { Same::Unknown });
        }
        if !new.keys.iter().any(|key| old.keys.contains(key)) {
            return Ok(Same::No);
        }
        if old.inputs.len() != new.inputs.len() {
            return Ok(Same::No);
        }
        let mut same = Same::Yes;
        for (was, is) in old.inputs.iter().zip(&new.inputs) {
            let input = match (&was.content, &is.content) {
                (Some(was), Some(is)) if was == is => Same::Yes,
                (Some(_), Some(_)) => Same::No,
                _ => {
                    let pair = (was.step, is.step);
                    // Inputs have lower numbers; a record where they have not is not followed.
                    if was.step >= before || is.step >= after {
                        Same::Unknown
                    } else {
                        match self.known.get(&pair) {
                            Some(Same::Yes) if was.output != is.output || was.paths != is.paths => {
                                Same::No
                            }
                            Some(known) => *known,
                            None => return Err(pair),
                        }
                    }
                }
            };
            match input {
                Same::No => return Ok(Same::No),
                Same::Unknown => same = Same::Unknown,
                Same::Yes => {}
            }
        }
        Ok(same)
    }
}
