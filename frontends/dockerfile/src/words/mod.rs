//! Words: quotes, escapes and variables, as a shell has them.
//!
//! In goes a piece of an instruction and an [`Environment`], out comes the text with its variables
//! expanded, or the words it splits into, and which variables were asked for. This is the busiest
//! crate of the frontend: text without anything to expand is given back as it is, and nothing is
//! compiled or looked up twice. Written by hand: what a quote or a brace means depends on the
//! settings of the [`Expander`] and on how deep the scan is, which a grammar cannot know.

mod pattern;
mod scan;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use indexmap::IndexMap;

use crate::quoting::quote;

/// Where variables have their values from.
pub trait Environment {
    /// The value of a variable; none if it is not set.
    fn get(&self, name: &str) -> Option<&str>;
}

/// The environment in which nothing is set.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoVariables;

impl Environment for NoVariables {
    fn get(&self, _name: &str) -> Option<&str> {
        None
    }
}

impl Environment for HashMap<String, String> {
    fn get(&self, name: &str) -> Option<&str> {
        Self::get(self, name).map(String::as_str)
    }
}

impl Environment for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<&str> {
        Self::get(self, name).map(String::as_str)
    }
}

impl Environment for IndexMap<String, String> {
    fn get(&self, name: &str) -> Option<&str> {
        Self::get(self, name).map(String::as_str)
    }
}

impl<E: Environment + ?Sized> Environment for &E {
    fn get(&self, name: &str) -> Option<&str> {
        (**self).get(name)
    }
}

/// How words are read.
///
/// ```
/// use kiln_dockerfile::words::Expander;
///
/// let env = std::collections::BTreeMap::from([("A".to_owned(), "1 2".to_owned())]);
/// let expander = Expander::new('\\');
/// assert_eq!(expander.word("'$A'=\"${A}\"$B", &env)?.text, "$A=1 2");
/// assert_eq!(expander.words("x $A y${B:-z}", &env)?, ["x", "1", "2", "z"]);
/// # Ok::<(), kiln_dockerfile::words::ExpandError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four settings that do not exclude each other")]
pub struct Expander {
    /// The escape character of the file.
    pub escape: char,
    /// Quotes stay in the result; they still hide spaces and variables.
    pub raw_quotes: bool,
    /// Escapes stay in the result.
    pub raw_escapes: bool,
    /// Quotes are characters like others.
    pub skip_quotes: bool,
    /// A variable that is not set stays as it is written.
    pub skip_unset: bool,
}

/// A text with its variables expanded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded<'word> {
    /// The text.
    pub text: Cow<'word, str>,
    /// The variables that were set, once each, in the order they were asked for.
    pub matched: Vec<&'word str>,
    /// The variables that were not set, once each.
    pub unmatched: Vec<&'word str>,
}

/// A text could not be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to process {}: {fault}", quote(word))]
pub struct ExpandError {
    /// The text.
    pub word: String,
    /// Why.
    pub fault: Fault,
    /// The variables that were asked for before that and were not set, once each.
    pub unmatched: Vec<String>,
}

/// Why a text could not be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A quote is open at the end.
    #[error("unexpected end of statement while looking for matching {0}")]
    Open(&'static str),
    /// A brace is open at the end.
    #[error("syntax error: missing '}}'")]
    OpenBrace,
    /// A replacement has no second slash.
    #[error("syntax error: missing '/' in ${{}}")]
    OpenPattern,
    /// A brace begins with what cannot be a name.
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    /// What follows the name means nothing.
    #[error("unsupported modifier ({0}) in substitution")]
    Modifier(String),
    /// A variable must be set, or have a value, and has not.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// What the file says about it, or what is wrong.
        message: String,
    },
    /// A pattern escapes what needs no escape.
    #[error("invalid pattern ({pattern}) in substitution: invalid escape '\\{escaped}'")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is escaped.
        escaped: char,
    },
    /// Braces in braces in braces.
    #[error("more than {} substitutions are inside each other", scan::DEEPEST)]
    TooDeep,
    /// Variables in variables that grow without end.
    #[error("its variables stand for more than {} bytes", scan::LARGEST)]
    TooLong,
}

impl Expander {
    /// Quotes and escapes are taken out, and variables that are not set are empty.
    pub fn new(escape: char) -> Self {
        Self {
            escape,
            raw_quotes: false,
            raw_escapes: false,
            skip_quotes: false,
            skip_unset: false,
        }
    }

    /// Expands a text as one word.
    ///
    /// # Errors
    ///
    /// [`ExpandError`] if something is open at the end, or a substitution is none or fails.
    pub fn word<'word>(
        &self,
        word: &'word str,
        env: &impl Environment,
    ) -> Result<Expanded<'word>, ExpandError> {
        scan::word(self, word, env).map_err(|(fault, unmatched)| ExpandError {
            word: word.to_owned(),
            fault: *fault,
            unmatched: unmatched.into_iter().map(str::to_owned).collect(),
        })
    }

    /// Expands a text and splits it at the spaces outside quotes, those from variables included.
    ///
    /// # Errors
    ///
    /// As [`Expander::word`].
    pub fn words(&self, word: &str, env: &impl Environment) -> Result<Vec<String>, ExpandError> {
        scan::words(self, word, env).map_err(|fault| ExpandError {
            word: word.to_owned(),
            fault: *fault,
            unmatched: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env() -> BTreeMap<String, String> {
        [("A", "alpha"), ("SPACED", "one  two"), ("EMPTY", "")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn text_without_anything_to_expand_is_borrowed() {
        for (word, want) in [("a b", "a b"), ("\"a /b\"", "a /b"), ("", "")] {
            let expanded = Expander::new('\\').word(word, &env()).unwrap();
            assert!(matches!(expanded.text, Cow::Borrowed(text) if text == want), "{word}");
        }
    }

    #[test]
    fn each_name_is_noted_once() {
        let expanded = Expander::new('\\').word("$A$B${A:-$C}$B", &env()).unwrap();
        assert_eq!(expanded.text, "alphaalpha");
        assert_eq!(expanded.matched, ["A"]);
        assert_eq!(expanded.unmatched, ["B", "C"]);
    }

    #[test]
    fn spaces_of_variables_separate_words_unless_quoted() {
        let words = |word| Expander::new('\\').words(word, &env()).unwrap();
        assert_eq!(
            words("x$SPACED \"$SPACED\" $EMPTY '' y\\ z"),
            ["xone", "two", "one  two", "y z"]
        );
        assert_eq!(words("cat <<  EOF"), ["cat", "<<  EOF"]);
        // A word with a default forgets what stands before it, as in the reference.
        assert_eq!(words("a${B:-c}d"), ["cd"]);
        assert_eq!(words("a\"b${B:-c}\"d"), ["bcd"]);
    }

    #[test]
    fn too_many_substitutions_inside_each_other_are_refused() {
        let nested = |depth| format!("{}x{}", "${B:-".repeat(depth), "}".repeat(depth));
        let expander = Expander::new('\\');
        assert_eq!(expander.word(&nested(scan::DEEPEST), &env()).unwrap().text, "x");
        let error = expander.word(&nested(100_000), &env()).unwrap_err();
        assert_eq!(error.fault, Fault::TooDeep);
    }

    #[test]
    fn what_variables_stand_for_has_an_end() {
        let env = BTreeMap::from([("A".to_owned(), "x".repeat(1000))]);
        let expander = Expander::new('\\');
        let fault = |word: &str| expander.word(word, &env).unwrap_err().fault;
        assert_eq!(fault(&"$A".repeat(2000)), Fault::TooLong);
        // Every level puts a thousand times as much into the next.
        assert_eq!(fault("${A///${A///${A///${A//x/y}}}}"), Fault::TooLong);
        assert_eq!(expander.word(&"$A".repeat(1000), &env).unwrap().text.len(), 1_000_000);
    }

    #[test]
    fn errors_quote_the_word_and_say_what_is_wrong() {
        let error = |word| Expander::new('\\').word(word, &env()).unwrap_err().to_string();
        assert_eq!(
            error("${B:?\"must be set\"}"),
            r#"failed to process "${B:?\"must be set\"}": B: must be set"#
        );
        assert_eq!(
            error("${A~}"),
            r#"failed to process "${A~}": unsupported modifier (~) in substitution"#
        );
    }
}
