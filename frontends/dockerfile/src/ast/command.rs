//! A joined line: its keyword, its flags and, by keyword, its arguments.

use std::borrow::Cow;

use super::arguments;
use super::{Arguments, Instruction};
use crate::keyword::Keyword;
use crate::lines::Lines;
use crate::mistake::Mistake;

/// How many ONBUILDs may stand in each other before the rest is not looked at; none may be executed.
const DEEPEST_TRIGGER: usize = 64;

/// What a line says.
pub(super) struct Command<'line> {
    pub(super) keyword: Option<Keyword>,
    pub(super) name: Cow<'line, str>,
    pub(super) flags: Vec<Cow<'line, str>>,
    pub(super) arguments: Arguments<'line>,
}

impl Command<'_> {
    pub(super) fn into_owned(self) -> Command<'static> {
        Command {
            keyword: self.keyword,
            name: Cow::Owned(self.name.into_owned()),
            flags: super::owned(self.flags),
            arguments: self.arguments.into_owned(),
        }
    }
}

/// Reads a joined line.
pub(super) fn read(line: &str, escape: char, lines: Lines) -> Result<Command<'_>, Mistake> {
    read_nested(line, escape, lines, 0)
}

fn read_nested(
    line: &str,
    escape: char,
    lines: Lines,
    depth: usize,
) -> Result<Command<'_>, Mistake> {
    let line = line.trim();
    let name = line.split(is_space).next().unwrap_or_default();
    let keyword = Keyword::find(name);
    let (flags, rest) = flags(line[name.len()..].trim_start_matches(is_space), escape);
    let arguments = match (keyword, rest) {
        (Some(Keyword::Onbuild), rest) if depth < DEEPEST_TRIGGER => {
            trigger(rest, escape, lines, depth)?
        }
        (Some(keyword), Cow::Borrowed(rest)) => arguments::read(keyword, rest.trim(), escape)?,
        (Some(keyword), Cow::Owned(rest)) => {
            arguments::read(keyword, rest.trim(), escape)?.into_owned()
        }
        (None, _) => Arguments::None,
    };
    Ok(Command { keyword, name: name.into(), flags, arguments })
}

/// The instruction in an ONBUILD.
fn trigger<'line>(
    text: Cow<'line, str>,
    escape: char,
    lines: Lines,
    depth: usize,
) -> Result<Arguments<'line>, Mistake> {
    let command = match &text {
        Cow::Borrowed(text) => read_nested(text, escape, lines, depth + 1)?,
        Cow::Owned(text) => read_nested(text, escape, lines, depth + 1)?.into_owned(),
    };
    let original = match text {
        Cow::Borrowed(text) => text.trim().into(),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    };
    if original.is_empty() {
        return Ok(Arguments::None);
    }
    Ok(Arguments::Trigger(Box::new(Instruction {
        keyword: command.keyword,
        name: command.name,
        original,
        lines,
        flags: command.flags,
        arguments: command.arguments,
        heredocs: Vec::new(),
        comments: Vec::new(),
    })))
}

/// The spaces between keyword and arguments, and between words.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// True for the bytes the reference takes for a space where it walks over bytes and not characters;
/// two of them are parts of characters outside ASCII.
pub(super) fn is_space_byte(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ' | 0x85 | 0xa0)
}

/// Part of a text by bytes; what is cut in the middle of a character is replaced.
pub(super) fn piece(text: &str, from: usize, to: usize) -> Cow<'_, str> {
    match text.get(from..to) {
        Some(piece) => piece.into(),
        None => String::from_utf8_lossy(&text.as_bytes()[from..to]),
    }
}

/// Takes the words in front that begin with `--`, and returns what follows them.
///
/// Quotes and escapes are taken out of the words; `--` alone ends them.
fn flags(line: &str, escape: char) -> (Vec<Cow<'_, str>>, Cow<'_, str>) {
    let bytes = line.as_bytes();
    let mut flags = Vec::new();
    let mut at = 0;
    loop {
        while bytes.get(at).copied().is_some_and(is_space_byte) {
            at += 1;
        }
        if !bytes[at..].starts_with(b"--") {
            return (flags, piece(line, at, line.len()));
        }
        let (word, end) = flag(line, at, escape);
        at = end;
        if word == "--" {
            return (flags, piece(line, at, line.len()));
        }
        flags.push(word);
    }
}

/// One word, and where it ends.
fn flag(line: &str, start: usize, escape: char) -> (Cow<'_, str>, usize) {
    let bytes = &line.as_bytes()[start..];
    let escape = escape as u8;
    let is_plain = |byte: &u8| {
        byte.is_ascii() && !is_space_byte(*byte) && ![b'\'', b'"', escape].contains(byte)
    };
    let plain = bytes.iter().take_while(|byte| is_plain(byte)).count();
    if bytes.get(plain).copied().is_none_or(is_space_byte) {
        return (line[start..start + plain].into(), start + plain);
    }
    let mut word = String::with_capacity(64);
    let mut quote = None;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match (byte, quote) {
            (byte, None) if is_space_byte(byte) => {
                at -= 1;
                break;
            }
            (b'\'' | b'"', None) => quote = Some(byte),
            (byte, Some(open)) if byte == open => quote = None,
            (byte, _) if byte == escape => {
                // An escape at the very end stands for nothing.
                if let Some(&next) = bytes.get(at) {
                    word.push(char::from(next));
                    at += 1;
                }
            }
            // The reference takes each byte for a character.
            (byte, _) => word.push(char::from(byte)),
        }
    }
    (word.into(), start + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> (Vec<String>, String) {
        let (words, rest) = flags(line, '\\');
        (words.into_iter().map(Cow::into_owned).collect(), rest.into_owned())
    }

    #[test]
    fn flags_lose_their_quotes_and_escapes() {
        let (words, rest) = split(r#"--a=b  --c="d 'e" --f=g\ h --i='j\'k' x --y"#);
        assert_eq!(words, ["--a=b", "--c=d 'e", "--f=g h", "--i=j'k"]);
        assert_eq!(rest, "x --y");
    }

    #[test]
    fn two_dashes_end_the_flags() {
        assert_eq!(split("--a -- --b c"), (vec!["--a".into()], " --b c".into()));
        assert_eq!(split("--a --"), (vec!["--a".into()], String::new()));
        assert_eq!(split("-a --b"), (vec![], "-a --b".into()));
    }

    #[test]
    fn flags_outside_ascii_are_read_byte_by_byte() {
        assert_eq!(split("--a=é x").0, ["--a=Ã©"]);
        // The second byte of this letter is a space to the reference.
        assert_eq!(split("--a=àb x"), (vec!["--a=Ã".into()], "b x".into()));
    }
}
