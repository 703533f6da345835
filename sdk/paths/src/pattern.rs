//! Ignore patterns: which paths are in and which are out, with the rules of `.dockerignore`.
//!
//! Every pattern starts at the root. A path matches when it or any directory above it does; the last
//! pattern that matches wins, and `!` turns a match back. `**` crosses directories. While walking,
//! [`Patterns::matches_below`] reuses what was found out about the directory above.

use regex::Regex;

use crate::glob::Glob;
use crate::path::clean;

/// Why a list of patterns is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// A lone `!`.
    #[error("illegal exclusion pattern: \"!\"")]
    EmptyNegation,
    /// Brackets or escapes that do not add up.
    #[error("syntax error in pattern {0:?}")]
    Syntax(String),
}

/// A list of patterns, ready to match.
#[derive(Debug, Clone, Default)]
pub struct Patterns {
    list: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    text: String,
    negated: bool,
    matcher: Matcher,
}

/// The cheapest way to tell.
#[derive(Debug, Clone)]
enum Matcher {
    Exact(String),
    Prefix(String),
    /// From a leading `**`.
    Suffix(String),
    Regex(Regex),
}

/// What matched a directory, pattern by pattern; see [`Patterns::matches_below`].
#[derive(Debug, Clone, Default)]
pub struct Matched(Vec<bool>);

impl Patterns {
    /// Parses patterns; empty ones are skipped.
    ///
    /// # Errors
    ///
    /// See [`PatternError`].
    pub fn parse<S: AsRef<str>>(
        patterns: impl IntoIterator<Item = S>,
    ) -> Result<Self, PatternError> {
        let mut list = Vec::new();
        for pattern in patterns {
            let pattern = pattern.as_ref().trim();
            if pattern.is_empty() {
                continue;
            }
            list.push(Pattern::parse(&clean(pattern))?);
        }
        Ok(Self { list })
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether any pattern starts with `!`.
    pub fn has_negation(&self) -> bool {
        self.list.iter().any(|pattern| pattern.negated)
    }

    /// Whether the path, or a directory above it, matches.
    pub fn matches(&self, path: &str) -> bool {
        self.matches_below(path, None).0
    }

    /// The same for a path whose directory was asked about before: `above` is what that answered,
    /// `None` if nothing is known.
    pub fn matches_below(&self, path: &str, above: Option<&Matched>) -> (bool, Matched) {
        let above = above.map(|matched| &matched.0).filter(|list| list.len() == self.list.len());
        let mut matched = false;
        let mut each = vec![false; self.list.len()];
        for (index, pattern) in self.list.iter().enumerate() {
            let inherited = above.is_some_and(|list| list[index]);
            // A pattern that could not change the answer is not worth asking.
            if !inherited && pattern.negated != matched {
                continue;
            }
            each[index] = inherited
                || pattern.matcher.matches(path)
                || (above.is_none() && parents(path).any(|parent| pattern.matcher.matches(parent)));
            if each[index] {
                matched = !pattern.negated;
            }
        }
        (matched, Matched(each))
    }

    /// Whether something below a directory could match a pattern that is not negated.
    pub fn may_match_below(&self, directory: &str) -> bool {
        self.may_reach(directory, false)
    }

    /// Whether something below a directory could be taken out again by a negated pattern.
    pub fn may_negate_below(&self, directory: &str) -> bool {
        self.may_reach(directory, true)
    }

    fn may_reach(&self, directory: &str, negated: bool) -> bool {
        let candidates =
            || self.list.iter().filter(|pattern| pattern.negated == negated).map(Pattern::stem);
        // One pattern with wildcards in the middle, and anything may be anywhere.
        candidates().any(|stem| stem.contains(['*', '[', ']', '?', '^', '\\']))
            || candidates().any(|stem| {
                let rest = stem.strip_prefix(directory);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
    }
}

impl Pattern {
    fn parse(pattern: &str) -> Result<Self, PatternError> {
        let (negated, text) = match pattern.strip_prefix('!') {
            Some("") => return Err(PatternError::EmptyNegation),
            Some(rest) => (true, rest),
            None => (false, pattern),
        };
        let syntax = || PatternError::Syntax(text.to_owned());
        Glob::parse(text).map_err(|_| syntax())?;
        let matcher = Matcher::compile(text).map_err(|_| syntax())?;
        Ok(Self { text: text.to_owned(), negated, matcher })
    }

    /// The pattern without a last `/*` or `/**`.
    fn stem(&self) -> &str {
        let text = self.text.strip_suffix("/**").unwrap_or(&self.text);
        text.strip_suffix("/*").unwrap_or(text)
    }
}

impl Matcher {
    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(text) => path == text,
            Self::Prefix(text) => path.starts_with(text),
            Self::Suffix(text) => {
                path.ends_with(text) || text.strip_prefix('/').is_some_and(|rest| path == rest)
            }
            Self::Regex(regex) => regex.is_match(path),
        }
    }

    /// Follows BuildKit's translation step by step, since its corner cases are the standard: `a**`
    /// is a prefix, `**a` is a suffix, and an escaped letter keeps its meaning as regular expression.
    fn compile(text: &str) -> Result<Self, regex::Error> {
        let mut shape = Shape::Exact;
        let mut regex = String::from("^");
        let mut chars = text.chars().peekable();
        let mut first = true;
        while let Some(c) = chars.next() {
            match c {
                '*' if chars.next_if_eq(&'*').is_some() => {
                    chars.next_if_eq(&'/');
                    if chars.peek().is_some() {
                        regex.push_str("(.*/)?");
                        shape = Shape::Regex;
                    } else if shape == Shape::Exact {
                        shape = Shape::Prefix;
                    } else {
                        regex.push_str(".*");
                        shape = Shape::Regex;
                    }
                    if first {
                        shape = Shape::Suffix;
                    }
                }
                '*' => {
                    regex.push_str("[^/]*");
                    shape = Shape::Regex;
                }
                '?' => {
                    regex.push_str("[^/]");
                    shape = Shape::Regex;
                }
                '[' => {
                    class(&mut regex, &mut chars);
                    shape = Shape::Regex;
                }
                ']' => {
                    regex.push_str("\\]");
                    shape = Shape::Regex;
                }
                '\\' => {
                    if let Some(c) = chars.next() {
                        escaped(&mut regex, c);
                        shape = Shape::Regex;
                    }
                }
                // Not escaped by BuildKit, and an anchor there as well.
                '^' => regex.push('^'),
                c => regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
            }
            first = false;
        }
        Ok(match shape {
            Shape::Exact => Self::Exact(text.to_owned()),
            Shape::Prefix => Self::Prefix(text[..text.len() - 2].to_owned()),
            Shape::Suffix => Self::Suffix(text[2..].to_owned()),
            Shape::Regex => Self::Regex(Regex::new(&(regex + "$"))?),
        })
    }
}

#[derive(PartialEq)]
enum Shape {
    Exact,
    Prefix,
    Suffix,
    Regex,
}

/// Copies a bracket expression, which [`Glob::parse`] has found to be well formed, so that the
/// `regex` crate reads nothing into it (it knows nested classes, intersections and differences).
fn class(regex: &mut String, chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    regex.push('[');
    if chars.next_if_eq(&'^').is_some() {
        regex.push('^');
    }
    while let Some(c) = chars.next() {
        match c {
            ']' => break,
            '-' => regex.push('-'),
            '\\' => {
                if let Some(c) = chars.next() {
                    escaped(regex, c);
                }
            }
            c => regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push(']');
}

/// An escaped character: a letter or digit keeps whatever meaning it has, all others are themselves.
fn escaped(regex: &mut String, c: char) {
    if c.is_ascii_alphanumeric() {
        regex.push('\\');
        regex.push(c);
    } else {
        regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
    }
}

/// The directories above a path, outermost first.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at]).filter(|parent| !parent.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_recorded_patterns_match_the_recorded_paths() {
        let table = include_str!("../../../tests/vectors/micro/ignore_match.json");
        let cases: Vec<serde_json::Value> = serde_json::from_str(table).unwrap();
        assert!(cases.len() > 20);
        for case in cases {
            let list: Vec<&str> =
                case["patterns"].as_array().unwrap().iter().filter_map(|p| p.as_str()).collect();
            let patterns = Patterns::parse(&list);
            if !case["error"].is_null() {
                assert!(patterns.is_err(), "{list:?}");
                continue;
            }
            let patterns = patterns.unwrap();
            assert_eq!(patterns.has_negation(), case["has_exclusions"].as_bool().unwrap());
            for result in case["results"].as_array().unwrap() {
                let path = result["path"].as_str().unwrap();
                assert_eq!(
                    patterns.matches(path),
                    result["match"].as_bool().unwrap(),
                    "{list:?} on {path}"
                );
            }
        }
    }

    #[test]
    fn corner_cases_of_double_stars() {
        let cases = [
            ("**", "a/b", true),
            ("**/", "a", true),
            ("**a", "xa", true),
            ("a**", "a/b/c", true),
            ("a**", "ba", false),
            ("dir/**", "dir", false),
            ("**/**", "a", true),
            ("**/dir2/**", "dir/dir2/file", true),
            ("**/dir2/**", "dir2", false),
            ("a**/*.txt", "a/b/c.txt", true),
            ("[a&&b]", "&", true),
            ("[[]x", "[x", true),
            ("a\\<b*", "a<bc", true),
            ("abc/**", "abcdef", false),
            ("**/*.go", ".go", true),
            ("a(b)|{c}+$.d*", "a(b)|{c}+$.dx", true),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(
                Patterns::parse([pattern]).unwrap().matches(path),
                expected,
                "{pattern} on {path}"
            );
        }
        assert_eq!(Patterns::parse(["!"]).unwrap_err(), PatternError::EmptyNegation);
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(pattern in "[a-c*?/!\\[\\]^\\\\.-]{0,12}", path in "[a-c/.]{0,10}") {
            if let Ok(patterns) = Patterns::parse([pattern.as_str()]) {
                patterns.matches(&path);
            }
        }

        #[test]
        fn walking_agrees_with_asking_for_whole_paths(
            list in proptest::collection::vec("!?(\\*\\*/)?[ab*]{1,2}(/[ab*]{1,2}){0,2}(/\\*\\*)?", 1..5),
            names in proptest::collection::vec("[ab]{1,2}", 1..5),
        ) {
            let Ok(patterns) = Patterns::parse(&list) else { return Ok(()) };
            let mut above: Option<Matched> = None;
            for depth in 1..=names.len() {
                let path = names[..depth].join("/");
                let (matched, info) = patterns.matches_below(&path, above.as_ref());
                // The peer's shortcut forgets a parent's match that a negation had made irrelevant,
                // so the two may only be compared where nothing is negated.
                if !patterns.has_negation() {
                    prop_assert_eq!(matched, patterns.matches(&path), "{:?} on {}", &list, &path);
                }
                above = Some(info);
            }
        }
    }
}
