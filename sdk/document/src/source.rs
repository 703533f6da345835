//! The text of one file, and places in it.
//!
//! A [`Span`] is bytes, a [`Position`] is what an editor shows; [`Source`] converts between them.
//! Nothing here looks at what the text means.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Diagnostic;

/// One file as the user knows it: its name and its text.
///
/// Cloning copies the name only.
#[derive(Debug, Clone)]
pub struct Source {
    /// The name of the file as the user knows it.
    pub name: String,
    /// The whole text.
    pub text: Arc<str>,
    /// Byte offset at which each line begins; never empty.
    lines: Arc<[usize]>,
}

/// A range of bytes in a [`Source`]; `end` is exclusive.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

/// A place as editors count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The character (Unicode scalar value) in the line, from 1.
    pub character: usize,
}

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Language {
    /// YAML 1.2.
    Yaml,
    /// TOML 1.
    Toml,
    /// JSON as in RFC 8259.
    Json,
}

impl Source {
    /// Takes a file that is already text. A byte order mark at the start is dropped.
    pub fn new(name: impl Into<String>, text: impl AsRef<str>) -> Self {
        let text = text.as_ref();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let starts =
            text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        Self { name: name.into(), text: text.into(), lines }
    }

    /// Takes a file as bytes.
    ///
    /// # Errors
    ///
    /// A diagnostic when the bytes are not UTF-8; it names the line.
    pub fn from_bytes(name: impl Into<String>, bytes: &[u8]) -> Result<Self, Diagnostic> {
        let name = name.into();
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(name, text)),
            Err(error) => {
                let line =
                    bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
                Err(Diagnostic::error(format!(
                    "`{name}` is not UTF-8 text: line {line} has bytes that are no characters"
                ))
                .hint("save the file with the encoding UTF-8"))
            }
        }
    }

    /// The name of the file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many lines the text has; an empty text has one.
    #[must_use]
    pub fn line_count(&self) -> usize {
        self.lines.len()
    }

    /// The text of `span`, cut to what exists and to whole characters.
    #[must_use]
    pub fn slice(&self, span: Span) -> &str {
        let span = self.clamp(span);
        &self.text[span.start..span.end]
    }

    /// A line, counted from one, without the break at its end; nothing behind the end of the text if
    /// there is none of this number.
    #[must_use]
    pub fn line(&self, line: usize) -> Span {
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or(self.text.len());
        let text = self.text[start..].split('\n').next().unwrap_or_default();
        Span::new(start, start + text.len())
    }

    /// A span without the spaces at its ends.
    #[must_use]
    pub fn trimmed(&self, span: Span) -> Span {
        let text = self.slice(span);
        let start = span.start + (text.len() - text.trim_start().len());
        Span::new(start, start + text.trim().len())
    }

    /// Where the byte `offset` stands. An offset past the end means the end.
    #[must_use]
    pub fn position(&self, offset: usize) -> Position {
        let offset = self.floor(offset);
        let line = self.lines.partition_point(|start| *start <= offset) - 1;
        let characters = self.text[self.lines[line]..offset].chars().count();
        Position { line: line + 1, character: characters + 1 }
    }

    /// The byte at which `position` stands. A position past the end of its line means the end of
    /// that line; a line that does not exist means the end of the text.
    #[must_use]
    pub fn offset(&self, position: Position) -> usize {
        let line = position.line.saturating_sub(1);
        if line >= self.lines.len() {
            return self.text.len();
        }
        let Span { start, end } = self.line(line + 1);
        let text = &self.text[start..end];
        let skip = position.character.saturating_sub(1);
        start + text.char_indices().nth(skip).map_or(text.len(), |(at, _)| at)
    }

    /// The first and last position of `span`. The last is the one after the last character.
    #[must_use]
    pub fn range(&self, span: Span) -> (Position, Position) {
        (self.position(span.start), self.position(span.end.max(span.start)))
    }

    /// The bytes of the lines that `span` touches, without the last line's end.
    pub(crate) fn whole_lines(&self, span: Span) -> Span {
        let span = self.clamp(span);
        let first = self.lines.partition_point(|start| *start <= span.start) - 1;
        let end = self.text[span.end..].find('\n').map_or(self.text.len(), |at| span.end + at);
        Span { start: self.lines[first], end }
    }

    pub(crate) fn clamp(&self, span: Span) -> Span {
        let start = self.floor(span.start);
        Span { start, end: self.floor(span.end).max(start) }
    }

    fn floor(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

impl Span {
    /// The bytes from `start` up to `end`.
    #[must_use]
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end: end.max(start) }
    }

    /// The smallest span that holds both.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// Whether it holds no byte.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }
}

impl Language {
    /// The language of a file by the end of its name: `.yaml`, `.yml`, `.toml`, `.json`.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Some(Self::Yaml),
            "toml" => Some(Self::Toml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_and_come_back() {
        let source = Source::new("f", "añb\r\nsecond\n");
        for offset in [0, 1, 3, 4, 6, 12, 13] {
            let position = source.position(offset);
            assert_eq!(source.offset(position), offset, "{position:?}");
        }
        assert_eq!(source.position(3), Position { line: 1, character: 3 });
        assert_eq!(
            source.position(2),
            Position { line: 1, character: 2 },
            "inside ñ means its start"
        );
        assert_eq!(source.position(999), Position { line: 3, character: 1 });
        assert_eq!(source.offset(Position { line: 9, character: 9 }), 13);
        assert_eq!(source.offset(Position { line: 2, character: 99 }), 12);
    }

    #[test]
    fn the_extension_names_the_language() {
        assert_eq!(Language::of("a/b.YML"), Some(Language::Yaml));
        assert_eq!(Language::of("x.toml"), Some(Language::Toml));
        assert_eq!(Language::of("x.json"), Some(Language::Json));
        assert_eq!(Language::of("Dockerfile"), None);
    }

    #[test]
    fn bytes_that_are_no_text_name_their_line() {
        let error = Source::from_bytes("f.yaml", b"a: 1\nb: \xff\n").unwrap_err();
        assert_eq!(
            error.message,
            "`f.yaml` is not UTF-8 text: line 2 has bytes that are no characters"
        );
        assert_eq!(Source::from_bytes("f", "\u{feff}a".as_bytes()).unwrap().text(), "a");
    }
}
