//! Shell patterns for one path, with the rules of Go's `filepath.Match`.
//!
//! `*` and `?` stop at a slash, `[^a-c]` negates, a backslash escapes, there are no braces. The
//! whole name must match. Patterns that span directories (`**`) are in [`crate::pattern`].

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;

/// A pattern that is not one: an unclosed bracket, an empty class, a trailing backslash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct BadPattern;

/// A parsed pattern.
#[derive(Debug, Clone)]
pub struct Glob(Vec<Token>);

#[derive(Debug, Clone)]
enum Token {
    /// Any run of characters but the slash.
    Star,
    /// One character but the slash.
    Any,
    Literal(char),
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Glob {
    /// Parses a pattern.
    ///
    /// # Errors
    ///
    /// [`BadPattern`], where Go says `ErrBadPattern`.
    pub fn parse(pattern: &str) -> Result<Self, BadPattern> {
        let mut tokens = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Star,
                '?' => Token::Any,
                '\\' => Token::Literal(chars.next().ok_or(BadPattern)?),
                '[' => class(&mut chars)?,
                c => Token::Literal(c),
            });
        }
        Ok(Self(tokens))
    }

    /// Whether the whole of `name` matches.
    pub fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let (mut token, mut at) = (0, 0);
        // Where to go on when the characters after the last star turn out not to fit.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            match self.0.get(token) {
                Some(Token::Star) => {
                    retry = Some((token + 1, at));
                    token += 1;
                    continue;
                }
                Some(one) if name.get(at).is_some_and(|c| one.accepts(*c)) => {
                    token += 1;
                    at += 1;
                    continue;
                }
                None if at == name.len() => return true,
                _ => {}
            }
            match retry {
                Some((after_star, from)) if name.get(from).is_some_and(|c| *c != '/') => {
                    retry = Some((after_star, from + 1));
                    token = after_star;
                    at = from + 1;
                }
                _ => return false,
            }
        }
    }
}

impl Glob {
    /// Whether the name of something below `directory` could match.
    ///
    /// Costs the length of the pattern for each character of `directory`.
    pub fn may_match_below(&self, directory: &str) -> bool {
        // Where in the pattern one can be after the characters so far.
        let mut places = self.after_stars([0].into());
        for c in directory.chars().chain(['/']) {
            let mut next = BTreeSet::new();
            for place in places {
                match self.0.get(place) {
                    Some(Token::Star) if c != '/' => drop(next.insert(place)),
                    Some(one) if one.accepts(c) => drop(next.insert(place + 1)),
                    _ => {}
                }
            }
            places = self.after_stars(next);
        }
        places.into_iter().any(|place| place < self.0.len())
    }

    /// Places, and those behind the stars they stand before.
    fn after_stars(&self, places: BTreeSet<usize>) -> BTreeSet<usize> {
        let mut all = BTreeSet::new();
        for mut place in places {
            while all.insert(place) && matches!(self.0.get(place), Some(Token::Star)) {
                place += 1;
            }
        }
        all
    }
}

impl Token {
    fn accepts(&self, c: char) -> bool {
        match self {
            Self::Star => false,
            Self::Any => c != '/',
            Self::Literal(literal) => *literal == c,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

/// Whether a path component has a wildcard that is not escaped.
pub fn has_wildcard(name: &str) -> bool {
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

fn class(chars: &mut Peekable<Chars<'_>>) -> Result<Token, BadPattern> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
            return Ok(Token::Class { negated, ranges });
        }
        let low = class_char(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { class_char(chars)? } else { low };
        ranges.push((low, high));
    }
}

fn class_char(chars: &mut Peekable<Chars<'_>>) -> Result<char, BadPattern> {
    match chars.next().ok_or(BadPattern)? {
        '-' | ']' => Err(BadPattern),
        '\\' => chars.next().ok_or(BadPattern),
        c => Ok(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_go_says() {
        let cases = [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "ab/c", false),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a[^a]b", "a/b", true),
            ("[\\]a]", "]", true),
            ("*x", "xxx", true),
            ("", "", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(
                Glob::parse(pattern).unwrap().matches(name),
                expected,
                "{pattern} on {name}"
            );
        }
    }

    #[test]
    fn directories_that_hold_no_match_are_known_by_their_name() {
        let cases = [
            ("/src/*.c", "", true),
            ("/src/*.c", "/src", true),
            ("/src/*.c", "/lib", false),
            ("/src/*.c", "/src/deep", false),
            ("/*/a/b*", "/x", true),
            ("/*/a/b*", "/x/a", true),
            ("/*/a/b*", "/x/b", false),
            ("/**", "/x", false),
            ("/a[^b]c", "/a", true),
            ("/a", "/a", false),
        ];
        for (pattern, directory, expected) in cases {
            let glob = Glob::parse(pattern).unwrap();
            assert_eq!(glob.may_match_below(directory), expected, "{pattern} below {directory}");
        }
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for pattern in ["[]a]", "[-]", "[x-]", "[-x]", "\\", "[", "[^", "[a", "[a-", "[^bc", "a["] {
            assert!(Glob::parse(pattern).is_err(), "{pattern}");
        }
    }
}
