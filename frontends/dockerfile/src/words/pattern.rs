//! Patterns of substitutions: `*` is any text of one line, `?` any character of it.
//!
//! A pattern is run as a list of states over the characters of a value, in time proportional to both,
//! and gives the match the reference's regular expressions give. Nothing is compiled.

use std::borrow::Cow;

use super::Fault;

type Outcome<T> = Result<T, Box<Fault>>;

/// One step of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    Any,
    Star,
}

/// A pattern that can be run.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Vec<Token>);

/// The value without the shortest, or longest, beginning that matches.
pub(super) fn trim_prefix<'env>(
    pattern: &str,
    value: &'env str,
    longest: bool,
) -> Outcome<Cow<'env, str>> {
    let end = Pattern::parse(pattern)?.match_at_start(value, longest);
    Ok(value[end.unwrap_or(0)..].into())
}

/// The value without the shortest, or longest, end that matches.
pub(super) fn trim_suffix<'env>(
    pattern: &str,
    value: &'env str,
    longest: bool,
) -> Outcome<Cow<'env, str>> {
    // Both are turned round, as the reference does; its messages show the pattern that way.
    let turned: String = value.chars().rev().collect();
    let end = Pattern::parse(&turned_round(pattern))?.match_at_start(&turned, longest);
    Ok(value[..value.len() - end.unwrap_or(0)].into())
}

/// A pattern from its end, with each escape still in front of what it escapes.
fn turned_round(pattern: &str) -> String {
    let mut pieces = Vec::new();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let mut length = first.len_utf8();
        if first == '\\' {
            length += rest[length..].chars().next().map_or(0, char::len_utf8);
        }
        pieces.push(&rest[..length]);
        rest = &rest[length..];
    }
    pieces.into_iter().rev().collect()
}

impl Pattern {
    /// Reads a pattern.
    pub(super) fn parse(pattern: &str) -> Outcome<Self> {
        let mut tokens = Vec::with_capacity(pattern.len());
        let mut chars = pattern.strip_prefix('\u{feff}').unwrap_or(pattern).chars().peekable();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Star,
                '?' => Token::Any,
                // These are escaped for the sake of the substitution around the pattern.
                '\\' if matches!(chars.peek(), Some('}' | '/')) => continue,
                '\\' => match chars.next().unwrap_or(char::REPLACEMENT_CHARACTER) {
                    c @ ('*' | '?' | '\\') => Token::Char(c),
                    escaped => {
                        let pattern = pattern.to_owned();
                        return Err(Box::new(Fault::Pattern { pattern, escaped }));
                    }
                },
                c => Token::Char(c),
            });
        }
        tokens.dedup_by(|a, b| *a == Token::Star && *b == Token::Star);
        Ok(Self(tokens))
    }

    /// Where the shortest, or longest, match at the start ends.
    fn match_at_start(&self, value: &str, longest: bool) -> Option<usize> {
        let mut run = Run::new(self);
        run.enter(0, 0);
        let mut found = run.accepted(0).map(|_| 0);
        let mut chars = value.char_indices();
        while let Some((at, c)) = chars.next().filter(|_| longest || found.is_none()) {
            run.step(c);
            if run.accepted(usize::MAX).is_some() {
                found = Some(at + c.len_utf8());
            }
            if run.is_over() {
                break;
            }
        }
        found
    }

    /// The leftmost match at or after `from`, as long as it can be.
    fn find(&self, value: &str, from: usize) -> Option<(usize, usize)> {
        let mut run = Run::new(self);
        run.enter(0, from);
        let mut found = run.accepted(usize::MAX).map(|start| (start, from));
        for (at, c) in value[from..].char_indices() {
            run.step(c);
            let end = from + at + c.len_utf8();
            if found.is_none() {
                run.enter(0, end);
            }
            let first = found.map_or(usize::MAX, |(start, _)| start);
            found = run.accepted(first).map(|start| (start, end)).or(found);
            if found.is_some_and(|(start, _)| !run.has_from(start)) {
                break;
            }
        }
        found
    }

    /// The value with its first match replaced.
    pub(super) fn replace<'env>(&self, value: &'env str, text: &str) -> Cow<'env, str> {
        match self.find(value, 0) {
            None => value.into(),
            Some((start, end)) => [&value[..start], text, &value[end..]].concat().into(),
        }
    }

    /// The value with every match replaced; in the text, `$0` is what matched. `None` if that has more
    /// than `largest` bytes.
    pub(super) fn replace_all<'env>(
        &self,
        value: &'env str,
        text: &str,
        largest: usize,
    ) -> Option<Cow<'env, str>> {
        let mut out = String::new();
        let mut last = 0;
        let mut from = 0;
        while from <= value.len() {
            let Some((start, end)) = self.find(value, from) else { break };
            out.push_str(&value[last..start]);
            // An empty match right behind another match is none.
            if end > last || start == 0 {
                push_template(&mut out, text, &value[start..end], largest);
            }
            if out.len() > largest {
                return None;
            }
            last = end;
            let step = value[from..].chars().next().map_or(1, char::len_utf8);
            from = end.max(from + step);
        }
        if from == 0 {
            return Some(value.into());
        }
        out.push_str(&value[last..]);
        Some(out.into())
    }
}

/// Appends a replacement in which `$name` and `${name}` are groups of a match. The only group is 0.
/// Stops once there are more than `largest` bytes.
fn push_template(out: &mut String, text: &str, matched: &str, largest: usize) {
    let mut rest = text;
    while let Some(at) = rest.find('$').filter(|_| out.len() <= largest) {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let in_braces = rest.starts_with('{');
        let name = &rest[usize::from(in_braces)..];
        let is_name = |c: char| c == '_' || super::scan::is_letter(c) || super::scan::is_digit(c);
        let length = name.find(|c| !is_name(c)).unwrap_or(name.len());
        let after = &name[length..];
        let after = if in_braces { after.strip_prefix('}') } else { Some(after) };
        match after {
            Some(after) if length > 0 => {
                if &name[..length] == "0" {
                    out.push_str(matched);
                }
                rest = after;
            }
            // Not a group: the dollar is a dollar.
            _ => out.push('$'),
        }
    }
    out.push_str(rest);
}

/// The states a pattern is in after some characters, each with where its match began.
struct Run<'pattern> {
    tokens: &'pattern [Token],
    /// For each state the leftmost beginning; the last state is the end of the pattern.
    begins: Vec<Option<usize>>,
    /// The states after the next character, kept to save memory.
    next: Vec<Option<usize>>,
}

impl<'pattern> Run<'pattern> {
    fn new(pattern: &'pattern Pattern) -> Self {
        let states = vec![None; pattern.0.len() + 1];
        Self { tokens: &pattern.0, begins: states.clone(), next: states }
    }

    /// Enters a state, and those reached without a character.
    fn enter(&mut self, mut state: usize, begin: usize) {
        loop {
            if self.begins[state].is_some_and(|known| known <= begin) {
                return;
            }
            self.begins[state] = Some(begin);
            if self.tokens.get(state) != Some(&Token::Star) {
                return;
            }
            state += 1;
        }
    }

    fn step(&mut self, c: char) {
        std::mem::swap(&mut self.begins, &mut self.next);
        self.begins.fill(None);
        for state in 0..self.tokens.len() {
            let Some(begin) = self.next[state] else { continue };
            match self.tokens[state] {
                Token::Star if c != '\n' => self.enter(state, begin),
                Token::Any if c != '\n' => self.enter(state + 1, begin),
                Token::Char(wanted) if c == wanted => self.enter(state + 1, begin),
                _ => {}
            }
        }
    }

    /// The beginning of a match that ends here, if it is not right of `first`.
    fn accepted(&self, first: usize) -> Option<usize> {
        self.begins[self.tokens.len()].filter(|begin| *begin <= first)
    }

    /// True if a match that begins at `start`, or left of it, may still grow.
    fn has_from(&self, start: usize) -> bool {
        self.begins[..self.tokens.len()].iter().flatten().any(|begin| *begin <= start)
    }

    fn is_over(&self) -> bool {
        self.begins[..self.tokens.len()].iter().all(Option::is_none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trimmed(pattern: &str, value: &str) -> [String; 4] {
        let trim = |trim: fn(&'static str, &'static str, bool) -> _, longest| {
            let (pattern, value) = (pattern.to_owned().leak(), value.to_owned().leak());
            let trimmed: Outcome<Cow<'_, str>> = trim(pattern, value, longest);
            trimmed.unwrap().into_owned()
        };
        [
            trim(trim_prefix, false),
            trim(trim_prefix, true),
            trim(trim_suffix, false),
            trim(trim_suffix, true),
        ]
    }

    #[test]
    fn the_shortest_and_the_longest_match_are_taken_off_either_end() {
        assert_eq!(trimmed("*/", "a/b/c"), ["b/c", "c", "a/b/c", "a/b/c"]);
        assert_eq!(trimmed("/*", "a/b/c"), ["a/b/c", "a/b/c", "a/b", "a"]);
        assert_eq!(trimmed("?", "éa"), ["a", "a", "é", "é"]);
        assert_eq!(trimmed("*", "ab"), ["ab", "", "ab", ""]);
        assert_eq!(trimmed("", "ab"), ["ab", "ab", "ab", "ab"]);
        assert_eq!(trimmed("\\*", "*a*"), ["a*", "a*", "*a", "*a"]);
    }

    #[test]
    fn a_star_stays_in_its_line() {
        assert_eq!(trimmed("*b", "a\nb"), ["a\nb", "a\nb", "a\n", "a\n"]);
    }

    #[test]
    fn every_match_is_replaced_once() {
        let all = |pattern: &str, value: &str, text: &str| {
            Pattern::parse(pattern).unwrap().replace_all(value, text, 100).unwrap().into_owned()
        };
        assert_eq!(all("a*c", "abcc-ac", "X"), "X");
        assert_eq!(all("b?", "abcbd", "<$0>"), "a<bc><bd>");
        assert_eq!(all("b", "abb", "$$${0}$1$"), "a$b$$b$");
        assert_eq!(all("", "ab", "-"), "-a-b-");
        assert_eq!(all("*", "a\nb", "-"), "-\n-");
        assert_eq!(all("x", "ab", "-"), "ab");
    }

    #[test]
    fn only_the_first_match_is_replaced_and_nothing_in_the_text_has_a_meaning() {
        let first = |pattern: &str, value: &str| {
            Pattern::parse(pattern).unwrap().replace(value, "$0").into_owned()
        };
        assert_eq!(first("b*", "abcb"), "a$0");
        assert_eq!(first("", "ab"), "$0ab");
        assert_eq!(first("c", "ab"), "ab");
    }

    #[test]
    fn a_long_value_takes_time_in_proportion_to_it() {
        let value = "ab".repeat(50_000);
        let pattern = Pattern::parse("*a*a*a*c").unwrap();
        assert_eq!(pattern.replace_all(&value, "", value.len()).unwrap(), value);
        assert_eq!(trim_suffix("c*a*a*", &value, true).unwrap(), value);
    }
}
