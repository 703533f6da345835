//! One scan over a text: quotes, escapes, `$name` and `${name...}`.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::pattern::{self, Pattern};
use super::{Environment, Expanded, Expander, Fault};

/// How many substitutions may be inside each other. The reference has no limit but its memory.
pub(super) const DEEPEST: usize = 100;

/// How many bytes variables may stand for in one text. No system takes a larger one in an environment;
/// the reference has no limit but its memory.
pub(super) const LARGEST: usize = 1 << 20;

/// A fault ends the scan; it is boxed as every step returns a result.
type Outcome<T> = Result<T, Box<Fault>>;

/// Expands a text as one word. A fault comes with the variables that were not set before it.
pub(super) fn word<'word>(
    expander: &Expander,
    source: &'word str,
    env: &impl Environment,
) -> Result<Expanded<'word>, (Box<Fault>, Vec<&'word str>)> {
    let source = without_mark(source);
    if let Some(text) = untouched(expander, source) {
        return Ok(Expanded { text: text.into(), ..Expanded::default() });
    }
    let mut scan = Scan::new(expander, source, env);
    let mut text = String::with_capacity(source.len() + 16);
    match scan.until(None, &mut text) {
        Ok(_) => {
            Ok(Expanded { text: text.into(), matched: scan.matched, unmatched: scan.unmatched })
        }
        Err(fault) => Err((fault, scan.unmatched)),
    }
}

/// Expands a text and splits it.
pub(super) fn words(
    expander: &Expander,
    source: &str,
    env: &impl Environment,
) -> Outcome<Vec<String>> {
    let mut scan = Scan::new(expander, without_mark(source), env);
    let mut split = Split::default();
    scan.until(None, &mut split)?;
    split.flush();
    Ok(split.words)
}

/// A byte order mark in front is not part of a word.
fn without_mark(source: &str) -> &str {
    source.strip_prefix('\u{feff}').unwrap_or(source)
}

/// The text itself, or what is in its quotes, if there is nothing else to do.
fn untouched<'word>(expander: &Expander, source: &'word str) -> Option<&'word str> {
    let is_plain = |text: &str| {
        !text.bytes().any(|byte| {
            byte == b'$'
                || byte == expander.escape as u8
                || (!expander.skip_quotes && (byte == b'\'' || byte == b'"'))
        })
    };
    if is_plain(source) {
        return Some(source);
    }
    if expander.skip_quotes || expander.raw_quotes {
        return None;
    }
    let inner = source.strip_prefix('"').and_then(|source| source.strip_suffix('"'))?;
    Some(inner).filter(|inner| is_plain(inner))
}

/// What a scan writes to.
trait Sink {
    /// Characters outside quotes: spaces among them separate words.
    fn plain(&mut self, text: &str);
    /// Characters that are part of a word whatever they are.
    fn raw(&mut self, text: &str);
    /// A substitution with a word of its own was met, behind so many bytes in quotes.
    fn nested(&mut self, _quoted: usize) {}
}

impl Sink for String {
    fn plain(&mut self, text: &str) {
        self.push_str(text);
    }

    fn raw(&mut self, text: &str) {
        self.push_str(text);
    }
}

/// Splits what is written into words.
#[derive(Default)]
struct Split {
    word: String,
    words: Vec<String>,
}

impl Split {
    fn flush(&mut self) {
        if !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
        }
    }
}

impl Sink for Split {
    fn plain(&mut self, text: &str) {
        let mut pieces = text.split(char::is_whitespace);
        self.word.push_str(pieces.next().unwrap_or_default());
        for piece in pieces {
            self.flush();
            self.word.push_str(piece);
        }
    }

    fn raw(&mut self, text: &str) {
        self.word.push_str(text);
    }

    /// The reference reads the inner word into the same buffer, and so forgets the begun word. What
    /// is in open quotes is not in that buffer yet.
    fn nested(&mut self, quoted: usize) {
        self.word.drain(..self.word.len() - quoted);
    }
}

/// What is written inside double quotes: nothing in them separates words.
struct Quoted<'sink, S> {
    sink: &'sink mut S,
    /// Bytes written since the quote.
    written: usize,
}

impl<S: Sink> Sink for Quoted<'_, S> {
    fn plain(&mut self, text: &str) {
        self.raw(text);
    }

    fn raw(&mut self, text: &str) {
        self.written += text.len();
        self.sink.raw(text);
    }

    fn nested(&mut self, _quoted: usize) {
        self.sink.nested(self.written);
    }
}

struct Scan<'word, 'env, E> {
    expander: &'env Expander,
    source: &'word str,
    at: usize,
    env: &'env E,
    /// Escapes are kept: as set, and always inside patterns.
    raw_escapes: bool,
    depth: usize,
    /// What variables stood for so far, in bytes.
    made: usize,
    matched: Vec<&'word str>,
    unmatched: Vec<&'word str>,
}

impl<'word, 'env, E: Environment> Scan<'word, 'env, E> {
    fn new(expander: &'env Expander, source: &'word str, env: &'env E) -> Self {
        let raw_escapes = expander.raw_escapes;
        let (matched, unmatched) = (Vec::new(), Vec::new());
        Self { expander, source, at: 0, env, raw_escapes, depth: 0, made: 0, matched, unmatched }
    }

    fn rest(&self) -> &'word str {
        &self.source[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Takes what is before the first byte that `is_special`, and returns that byte.
    fn run(&mut self, is_special: impl Fn(u8) -> bool) -> (&'word str, Option<u8>) {
        let rest = self.rest();
        let length = rest.bytes().position(is_special).unwrap_or(rest.len());
        self.at += length;
        (&rest[..length], rest.as_bytes().get(length).copied())
    }

    /// Scans to the end, or past the first `stop` that nothing hides.
    fn until(&mut self, stop: Option<u8>, sink: &mut impl Sink) -> Outcome<()> {
        let Expander { escape, skip_quotes, .. } = *self.expander;
        let escape = escape as u8;
        loop {
            let (plain, special) = self.run(|byte| {
                matches!(byte, b'$' | b'<' | b'\'' | b'"') || byte == escape || Some(byte) == stop
            });
            sink.plain(plain);
            match special {
                None => break,
                Some(byte) if Some(byte) == stop => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'$') => self.dollar(sink)?,
                Some(b'<') => self.less_than(sink),
                Some(b'\'') if !skip_quotes => self.single_quotes(sink)?,
                Some(b'"') if !skip_quotes => self.double_quotes(sink)?,
                Some(byte) if byte == escape => self.escaped(sink),
                Some(_) => sink.plain(self.take(1)),
            }
        }
        match stop {
            None => Ok(()),
            Some(b'/') => fault(Fault::Open("/")),
            Some(_) => fault(Fault::Open("}")),
        }
    }

    /// Takes so many bytes, which are whole characters.
    fn take(&mut self, length: usize) -> &'word str {
        let taken = &self.rest()[..length];
        self.at += length;
        taken
    }

    /// An escape and what it escapes; at the very end it stands for nothing.
    fn escaped(&mut self, sink: &mut impl Sink) {
        let escape = self.take(1);
        if self.raw_escapes {
            sink.raw(escape);
        }
        let length = self.peek().map_or(0, char::len_utf8);
        sink.raw(self.take(length));
    }

    /// `<<` keeps the spaces after it, so that a here-document stays one word.
    fn less_than(&mut self, sink: &mut impl Sink) {
        sink.raw(self.take(1));
        if self.peek() == Some('<') {
            sink.raw(self.take(1));
            let (spaces, _) = self.run(|byte| !matches!(byte, b'\t' | b'\r' | b' '));
            sink.raw(spaces);
        }
    }

    /// Nothing has a meaning in single quotes.
    fn single_quotes(&mut self, sink: &mut impl Sink) -> Outcome<()> {
        let start = self.at;
        self.at += 1;
        let (inner, quote) = self.run(|byte| byte == b'\'');
        if quote.is_none() {
            return fault(Fault::Open("single-quote"));
        }
        self.at += 1;
        sink.raw(if self.expander.raw_quotes { &self.source[start..self.at] } else { inner });
        Ok(())
    }

    /// Variables are expanded in double quotes, and quote, dollar and escape can be escaped.
    fn double_quotes(&mut self, sink: &mut impl Sink) -> Outcome<()> {
        let escape = self.expander.escape as u8;
        let mut quoted = Quoted { sink, written: 0 };
        let quote = self.take(1);
        if self.expander.raw_quotes {
            quoted.raw(quote);
        }
        loop {
            let (text, special) = self.run(|byte| matches!(byte, b'"' | b'$') || byte == escape);
            quoted.raw(text);
            match special {
                None => return fault(Fault::Open("double-quote")),
                Some(b'"') => {
                    let quote = self.take(1);
                    if self.expander.raw_quotes {
                        quoted.raw(quote);
                    }
                    return Ok(());
                }
                Some(b'$') => self.dollar(&mut quoted)?,
                Some(_) => self.escaped_in_quotes(&mut quoted),
            }
        }
    }

    fn escaped_in_quotes(&mut self, sink: &mut impl Sink) {
        let escape = self.take(1);
        if self.raw_escapes {
            sink.raw(escape);
        }
        match self.peek() {
            None => {}
            Some(c) if c == '"' || c == '$' || c == self.expander.escape => sink.raw(self.take(1)),
            Some(_) => sink.raw(escape),
        }
    }

    /// `$name` or `${name...}`.
    fn dollar(&mut self, sink: &mut impl Sink) -> Outcome<()> {
        let start = self.at;
        self.at += 1;
        if self.peek() == Some('{') {
            self.at += 1;
            return self.braces(sink);
        }
        let name = self.name();
        if name.is_empty() {
            sink.plain("$");
            return Ok(());
        }
        match self.lookup(name) {
            Some(value) => self.make(value, sink)?,
            None if self.expander.skip_unset => sink.plain(&self.source[start..self.at]),
            None => {}
        }
        Ok(())
    }

    /// Writes what a variable stands for.
    fn make(&mut self, value: &str, sink: &mut impl Sink) -> Outcome<()> {
        self.made = self.made.saturating_add(value.len());
        if self.made > LARGEST {
            return fault(Fault::TooLong);
        }
        sink.plain(value);
        Ok(())
    }

    /// What follows `${`.
    fn braces(&mut self, sink: &mut impl Sink) -> Outcome<()> {
        match self.peek() {
            None => return fault(Fault::OpenBrace),
            Some('{' | '}' | ':') => return fault(Fault::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        let modifier = self.next().unwrap_or(char::REPLACEMENT_CHARACTER);
        match modifier {
            '}' => match self.lookup(name) {
                Some(value) => self.make(value, sink)?,
                None if self.expander.skip_unset => sink.plain(&format!("${{{name}}}")),
                None => {}
            },
            '/' => {
                let value = self.replacement(name, sink)?;
                self.make(&value, sink)?;
            }
            ':' => {
                let modifier = self.next().unwrap_or(char::REPLACEMENT_CHARACTER);
                let value = self.modified(name, modifier, true, sink)?;
                self.make(&value, sink)?;
            }
            '+' | '-' | '?' | '#' | '%' => {
                let value = self.modified(name, modifier, false, sink)?;
                self.make(&value, sink)?;
            }
            other => return fault(Fault::Modifier(other.to_string())),
        }
        Ok(())
    }

    /// `${name-word}` and its relatives; `colon` if an empty value counts as none.
    fn modified(
        &mut self,
        name: &'word str,
        modifier: char,
        colon: bool,
        sink: &mut impl Sink,
    ) -> Outcome<Cow<'env, str>> {
        let is_pattern = matches!(modifier, '#' | '%');
        let spelled = || if colon { format!(":{modifier}") } else { modifier.to_string() };
        if colon && is_pattern {
            return fault(Fault::Modifier(spelled()));
        }
        let word = self.inner(b'}', is_pattern, Fault::OpenBrace, sink)?;
        let value = self.lookup(name);
        if value.is_none() && self.expander.skip_unset {
            return Ok(format!("${{{name}{}{word}}}", spelled()).into());
        }
        let given = value.filter(|value| !(colon && value.is_empty()));
        match modifier {
            '-' => Ok(given.map_or(Cow::Owned(word), Cow::Borrowed)),
            '+' => Ok(given.map_or(Cow::Borrowed(""), |_| Cow::Owned(word))),
            '?' => match given {
                Some(value) => Ok(value.into()),
                None => fault(required(name, word, value.is_some())),
            },
            '#' | '%' => {
                let trim =
                    if modifier == '#' { pattern::trim_prefix } else { pattern::trim_suffix };
                let value = value.unwrap_or_default();
                match word.strip_prefix(modifier) {
                    Some(word) => trim(word, value, true),
                    None => trim(&word, value, false),
                }
            }
            _ => fault(Fault::Modifier(spelled())),
        }
    }

    /// `${name/pattern/text}`, or `//` for every match.
    fn replacement(&mut self, name: &'word str, sink: &mut impl Sink) -> Outcome<Cow<'env, str>> {
        let all = self.peek() == Some('/');
        self.at += usize::from(all);
        let pattern = self.inner(b'/', true, Fault::OpenPattern, sink)?;
        let text = self.inner(b'}', true, Fault::OpenBrace, sink)?;
        let value = self.lookup(name);
        if value.is_none() && self.expander.skip_unset {
            return Ok(format!("${{{name}/{pattern}/{text}}}").into());
        }
        let pattern = Pattern::parse(&pattern)?;
        let value = value.unwrap_or_default();
        match all {
            true => pattern.replace_all(value, &text, LARGEST).ok_or(Box::new(Fault::TooLong)),
            false => Ok(pattern.replace(value, &text)),
        }
    }

    /// The word in a substitution; `open` is what is wrong if the end of the text is met in it.
    fn inner(
        &mut self,
        stop: u8,
        raw_escapes: bool,
        open: Fault,
        sink: &mut impl Sink,
    ) -> Outcome<String> {
        if self.depth == DEEPEST {
            return fault(Fault::TooDeep);
        }
        sink.nested(0);
        let outer = std::mem::replace(&mut self.raw_escapes, raw_escapes);
        self.depth += 1;
        let mut word = String::new();
        let scanned = self.until(Some(stop), &mut word);
        self.depth -= 1;
        self.raw_escapes = outer;
        match scanned {
            Ok(()) => Ok(word),
            Err(fault) if matches!(*fault, Fault::TooDeep | Fault::TooLong) => Err(fault),
            Err(_) if self.rest().is_empty() => fault(open),
            Err(fault) => Err(fault),
        }
    }

    /// A name: digits, or one special character, or letters, digits and underscores.
    fn name(&mut self) -> &'word str {
        let rest = self.rest();
        let all = |is: fn(char) -> bool| rest.find(|c| !is(c)).unwrap_or(rest.len());
        let length = match rest.chars().next() {
            Some(c) if is_digit(c) => all(is_digit),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            _ => all(|c| c == '_' || is_letter(c) || is_digit(c)),
        };
        self.take(length)
    }

    /// The value of a variable, and a note that it was asked for.
    fn lookup(&mut self, name: &'word str) -> Option<&'env str> {
        let value = self.env.get(name);
        let names = if value.is_some() { &mut self.matched } else { &mut self.unmatched };
        if !names.contains(&name) {
            names.push(name);
        }
        value
    }
}

fn fault<T>(fault: Fault) -> Outcome<T> {
    Err(Box::new(fault))
}

fn required(name: &str, message: String, is_set: bool) -> Fault {
    let message = match (message.is_empty(), is_set) {
        (false, _) => message,
        (true, true) => "is not allowed to be empty".to_owned(),
        (true, false) => "is not allowed to be unset".to_owned(),
    };
    Fault::Required { name: name.to_owned(), message }
}

/// A letter as Go counts them: not what only behaves as one.
pub(super) fn is_letter(c: char) -> bool {
    static LETTER: LazyLock<Option<Regex>> = LazyLock::new(|| class(r"\A[\p{L}&&\p{Age=15.0}]\z"));
    c.is_ascii_alphabetic() || (!c.is_ascii() && c.is_alphabetic() && in_class(&LETTER, c))
}

/// A decimal digit of some script.
pub(super) fn is_digit(c: char) -> bool {
    static DIGIT: LazyLock<Option<Regex>> = LazyLock::new(|| class(r"\A[\p{Nd}&&\p{Age=15.0}]\z"));
    c.is_ascii_digit() || (!c.is_ascii() && c.is_numeric() && in_class(&DIGIT, c))
}

fn class(pattern: &str) -> Option<Regex> {
    Regex::new(pattern).ok()
}

fn in_class(class: &LazyLock<Option<Regex>>, c: char) -> bool {
    class.as_ref().is_some_and(|class| class.is_match(c.encode_utf8(&mut [0; 4])))
}
