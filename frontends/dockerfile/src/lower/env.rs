//! The environment in an image config: `NAME=value`, in order, as odd as images have it.
//!
//! A config may have a name twice, and entries without a value; what nobody sets stays as it came.
//! What a file sets is shared by all stages that start there.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::layered::Layered;

/// The environment of a config. Cheap to clone after [`Env::share`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Env {
    /// Whole entries by name, in their order. Of a name that is there twice, the first.
    entries: Layered<Arc<str>>,
    repeated: Arc<Repeated>,
}

/// Entries whose name was there before.
#[derive(Debug, Default)]
struct Repeated {
    /// Each with the number of entries before it.
    entries: Vec<(usize, String)>,
    /// The index of the last of each name.
    last: HashMap<String, usize>,
}

impl Env {
    /// The value of a variable, as a shell would see it: of a name that is there twice, the last.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let Repeated { entries, last } = &*self.repeated;
        let repeated = last.get(name).and_then(|index| entries.get(*index));
        let repeated = repeated.map(|(_, entry)| entry.as_str());
        let entry = repeated.or_else(|| self.entries.get(name).map(|entry| &**entry));
        entry.map(|entry| split(entry).1)
    }

    /// Whether there is such a variable.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.entries.contains(name)
    }

    /// Whether there are no entries.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sets a variable: in its place if it is there, else at the end.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.entries.insert(name, format!("{name}={value}").into());
    }

    /// A copy that has everything in common with this one so far.
    pub(crate) fn share(&mut self) -> Self {
        Self { entries: self.entries.share(), repeated: Arc::clone(&self.repeated) }
    }

    /// Names and values, in order.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.in_order().into_iter().map(split)
    }

    /// Entries in order.
    fn in_order(&self) -> Vec<&str> {
        let entries = self.entries.in_order();
        let mut all: Vec<&str> = Vec::with_capacity(entries.len() + self.repeated.entries.len());
        let mut repeated = self.repeated.entries.iter().peekable();
        // Nothing is ever taken out, so that every place is still there.
        for (_, entry) in entries {
            while let Some((_, entry)) = repeated.next_if(|(before, _)| *before == all.len()) {
                all.push(entry);
            }
            all.push(entry);
        }
        all.extend(repeated.map(|(_, entry)| entry.as_str()));
        all
    }
}

impl PartialEq for Env {
    fn eq(&self, other: &Self) -> bool {
        self.in_order() == other.in_order()
    }
}

impl FromIterator<String> for Env {
    fn from_iter<T: IntoIterator<Item = String>>(entries: T) -> Self {
        let mut env = Self::default();
        let mut repeated = Repeated::default();
        for (before, entry) in entries.into_iter().enumerate() {
            let name = split(&entry).0;
            if env.contains(name) {
                repeated.last.insert(name.to_owned(), repeated.entries.len());
                repeated.entries.push((before, entry));
            } else {
                env.entries.push(name, entry.as_str().into());
            }
        }
        Self { repeated: Arc::new(repeated), ..env }
    }
}

impl Serialize for Env {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.in_order())
    }
}

impl<'de> Deserialize<'de> for Env {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<Option<String>>::deserialize(deserializer)?
            .into_iter()
            .map(Option::unwrap_or_default)
            .collect())
    }
}

/// Name and value of an entry; the value is empty without an equals sign.
fn split(entry: &str) -> (&str, &str) {
    entry.split_once('=').unwrap_or((entry, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_sets_stays_as_it_came() {
        let text = r#"["A=1","B","A=2","=x","A"]"#;
        let mut env: Env = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&env).unwrap(), text);
        assert_eq!((env.get("A"), env.get("B"), env.get("C")), (Some(""), Some(""), None));
        env.set("A", "9");
        env.set("B", "8");
        env.set("C", "7");
        let want = r#"["A=9","B=8","A=2","=x","A","C=7"]"#;
        assert_eq!(serde_json::to_string(&env).unwrap(), want);
        // A config has no say in what the last entry of a name is.
        assert_eq!(env.get("A"), Some(""));
    }
}
