//! Which rules apply: the `check` directive, the build argument, and comments above instructions.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::rules::Rule;
use crate::mistake::Mistake;
use crate::quoting::quote;

/// Which rules apply, and whether a violation ends the build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LintConfig {
    /// `skip=all`: no stable rule applies.
    pub skip_all: bool,
    /// `skip=A,B`: rules that do not apply.
    pub skip: BTreeSet<String>,
    /// `experimental=all`: every experimental rule applies.
    pub experimental_all: bool,
    /// `experimental=A,B`: experimental rules that apply.
    pub experimental: BTreeSet<String>,
    /// `error=true`: a violation ends the build.
    pub error: bool,
}

impl LintConfig {
    /// Reads `skip=A,B|all;experimental=C|all;error=true`, in any order, each part optional.
    ///
    /// # Errors
    ///
    /// A part has no equals sign, an unknown name, or an `error` that is no boolean.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let text = text.trim();
        let mut config = Self::default();
        if text.is_empty() {
            return Ok(config);
        }
        // The third part takes what is left, semicolons and all.
        for part in text.splitn(3, ';') {
            config.read(part)?;
        }
        Ok(config)
    }

    fn read(&mut self, part: &str) -> Result<(), Mistake> {
        let invalid = |what| Mistake::new(format!("invalid check option {}", quote(what)));
        let (key, value) = part.split_once('=').ok_or_else(|| invalid(part))?;
        let (key, value) = (key.trim(), value.trim());
        let names = || value.split(',').map(|name| name.trim().to_owned()).collect();
        match (key, value) {
            ("skip", "all") => self.skip_all = true,
            ("skip", _) => self.skip = names(),
            ("experimental", "all") => self.experimental_all = true,
            ("experimental", _) => self.experimental = names(),
            ("error", _) => {
                self.error = kiln_sdk::frontend::boolean(value).ok_or_else(|| {
                    Mistake::new(format!(
                        "failed to parse check option {}: strconv.ParseBool: parsing {}: invalid syntax",
                        quote(part),
                        quote(value)
                    ))
                })?;
            }
            _ => return Err(invalid(key)),
        }
        Ok(())
    }

    /// Whether a violation of the rule is told.
    pub fn applies(&self, rule: &Rule) -> bool {
        if rule.experimental {
            self.experimental_all || self.experimental.contains(rule.name)
        } else {
            !self.skip_all && !self.skip.contains(rule.name)
        }
    }

    /// This configuration and what the first `check=` among the comments of an instruction adds.
    ///
    /// A comment that cannot be read adds nothing; `error` holds for the whole file or not at all.
    pub fn with_comments(&self, comments: &[impl AsRef<str>]) -> Cow<'_, Self> {
        let Some(text) = comments.iter().find_map(|comment| check_option(comment.as_ref())) else {
            return Cow::Borrowed(self);
        };
        let Ok(more) = Self::parse(text) else { return Cow::Borrowed(self) };
        let mut config = self.clone();
        config.skip_all |= more.skip_all;
        config.experimental_all |= more.experimental_all;
        config.skip.extend(more.skip);
        config.experimental.extend(more.experimental);
        Cow::Owned(config)
    }
}

/// The first word of a `check = …` comment.
fn check_option(comment: &str) -> Option<&str> {
    let comment = comment.trim_start();
    let name = comment.split(|c: char| !c.is_ascii_alphanumeric()).next()?;
    if !name.eq_ignore_ascii_case("check") {
        return None;
    }
    let blank = |c| matches!(c, ' ' | '\t' | '\n' | '\x0c' | '\r');
    let value = comment[name.len()..].trim_start_matches(blank).strip_prefix('=')?;
    let value = value.trim_matches(blank);
    (!value.is_empty()).then(|| value.split(' ').next().unwrap_or(value))
}
