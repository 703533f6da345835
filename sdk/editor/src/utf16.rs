//! Places as the protocol counts them: lines from zero, and UTF-16 code units in the line.

use kiln_document::{Position, Source};

/// A place in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Utf16Position {
    /// The line, from zero.
    pub line: usize,
    /// UTF-16 code units before it in the line.
    pub character: usize,
}

/// Where a byte of a text stands. One past the end is the end; one inside a character its start.
pub fn position(source: &Source, offset: usize) -> Utf16Position {
    let Position { line, .. } = source.position(offset);
    let start = source.offset(Position { line, character: 1 });
    let before = source.slice(kiln_document::Span::new(start, offset.min(source.text().len())));
    let character = before.chars().map(char::len_utf16).sum();
    Utf16Position { line: line - 1, character }
}

/// The byte at a place. One past the end of its line means that end, before the line break; a line
/// that does not exist the end of the text. Half a character is its start.
pub fn offset(source: &Source, position: Utf16Position) -> usize {
    let line = position.line.saturating_add(1);
    if line > source.line_count() {
        return source.text().len();
    }
    let span = source.line(line);
    let (start, text) = (span.start, source.slice(span));
    let text = text.strip_suffix('\r').unwrap_or(text);
    let mut units = 0;
    for (at, c) in text.char_indices() {
        units += c.len_utf16();
        if units > position.character {
            return start + at;
        }
    }
    start + text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn characters_outside_the_first_plane_count_twice() {
        let source = Source::new("f", "a😀b\r\nü: c\n");
        let at = |line, character| offset(&source, Utf16Position { line, character });
        assert_eq!(at(0, 1), 1);
        assert_eq!(at(0, 2), 1, "half a character is its start");
        assert_eq!(at(0, 3), 5);
        assert_eq!(at(0, 99), 6, "before the line break");
        assert_eq!(at(1, 1), 10);
        assert_eq!(at(99, 0), source.text().len());
        assert_eq!(position(&source, 5), Utf16Position { line: 0, character: 3 });
        assert_eq!(position(&source, 999), Utf16Position { line: 2, character: 0 });
    }

    proptest! {
        #[test]
        fn every_place_comes_back(text in "[a😀ü\n]{0,20}", line: usize, character: usize) {
            let source = Source::new("f", &text);
            for (at, _) in text.char_indices() {
                prop_assert_eq!(offset(&source, position(&source, at)), at);
            }
            let place = offset(&source, Utf16Position { line, character });
            prop_assert!(text.is_char_boundary(place));
        }
    }
}
