//! Flags of instructions: `--name=value` words in front of the arguments.
//!
//! An instruction gives the flags it knows as a table; the words come in, and out goes what was
//! given for each. Whether a value makes sense is for the instruction to say.

use crate::suggest;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing, `true` or `false`.
    Bool,
    /// A text, once.
    Text,
    /// A text, any number of times.
    Texts,
}

/// The flags of one instruction, read.
#[derive(Debug)]
pub struct Flags {
    given: Vec<(&'static str, String)>,
}

impl Flags {
    /// Reads the flags of an instruction that knows those of the table. `--` ends them.
    ///
    /// # Errors
    ///
    /// The reference's text: an unknown flag, one given twice, or a value missing or wrong.
    pub fn read(
        words: &[impl AsRef<str>],
        table: &[(&'static str, Takes)],
    ) -> Result<Self, String> {
        let mut flags = Self { given: Vec::new() };
        for word in words {
            let word = word.as_ref();
            if word == "--" {
                break;
            }
            let Some(body) = word.strip_prefix("--") else {
                return Err(format!("arg should start with -- : {word}"));
            };
            let (name, value) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (body, None),
            };
            let Some((name, takes)) = table.iter().find(|(known, _)| *known == name) else {
                let names = table.iter().map(|(name, _)| *name);
                return Err(suggest::hint(format!("unknown flag: --{name}"), name, names, true));
            };
            if *takes != Takes::Texts && flags.has(name) {
                return Err(format!("duplicate flag specified: --{name}"));
            }
            flags.given.push((name, checked(name, *takes, value)?));
        }
        Ok(flags)
    }

    /// Whether the flag was given.
    pub fn has(&self, name: &str) -> bool {
        self.given.iter().any(|(given, _)| *given == name)
    }

    /// The value of a flag that takes a text; empty if it was not given.
    pub fn text(&mut self, name: &str) -> String {
        let found = self.given.iter_mut().find(|(given, _)| *given == name);
        found.map(|(_, value)| std::mem::take(value)).unwrap_or_default()
    }

    /// The values of a flag that takes any number of them, in order.
    pub fn texts(&mut self, name: &str) -> Vec<String> {
        let all = self.given.iter_mut().filter(|(given, _)| *given == name);
        all.map(|(_, value)| std::mem::take(value)).collect()
    }

    /// The value of a flag that takes a boolean; none if it was not given.
    pub fn bool(&self, name: &str) -> Option<bool> {
        self.given.iter().find(|(given, _)| *given == name).map(|(_, value)| value == "true")
    }

    /// The flags that were given, each once, in the order of their first use.
    pub fn names(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        for (name, _) in &self.given {
            if !names.contains(name) {
                names.push(*name);
            }
        }
        names
    }
}

/// The value as the flag keeps it: a boolean is `true` or `false`.
fn checked(name: &str, takes: Takes, value: Option<&str>) -> Result<String, String> {
    let missing = || format!("missing a value on flag: --{name}");
    if takes != Takes::Bool {
        return value.map(str::to_owned).ok_or_else(missing);
    }
    match value {
        None => Ok("true".into()),
        Some("") => Err(missing()),
        Some(value) => match value.to_lowercase().as_str() {
            lower @ ("true" | "false") => Ok(lower.to_owned()),
            _ => Err(format!("expecting boolean value for flag --{name}, not: {value}")),
        },
    }
}
