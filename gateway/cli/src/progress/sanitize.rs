//! Makes text of strangers safe to show: names of steps and output of processes.
//!
//! Terminals obey what is printed on them, and a build must not move the cursor, set titles or answer
//! queries. Colours may stay where the reader wants them.

/// Whether colour sequences survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    /// They stay.
    Keep,
    /// They go.
    Drop,
}

/// One line without control characters; those that separate words become spaces.
pub(crate) fn name(text: &str) -> String {
    strip(text, Colour::Drop).replace('\t', " ")
}

/// A line of a process's output as it stands on the screen at last, with its colours.
pub(crate) fn coloured(text: &str) -> String {
    strip(last_carriage(text), Colour::Keep)
}

/// A line of a process's output; tabs stay, other control characters go.
pub(crate) fn strip(text: &str, colour: Colour) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => {
                let sequence = escape_sequence(&mut rest);
                if colour == Colour::Keep && is_colour(&sequence) {
                    clean.push('\u{1b}');
                    clean.push_str(&sequence);
                }
            }
            '\n' => clean.push(' '),
            '\t' => clean.push('\t'),
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    clean
}

/// What is on the screen after a line that returned the carriage: the last part that is not empty.
pub(crate) fn last_carriage(text: &str) -> &str {
    text.rsplit('\r').find(|part| !part.is_empty()).unwrap_or("")
}

/// Reads the rest of a sequence after ESC, up to and with its final character.
fn escape_sequence(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut sequence = String::new();
    let Some(kind) = rest.next() else { return sequence };
    sequence.push(kind);
    match kind {
        '[' => {
            for c in rest.by_ref() {
                sequence.push(c);
                if ('\u{40}'..='\u{7e}').contains(&c) {
                    break;
                }
            }
        }
        // Strings to the terminal end with BEL or ESC backslash.
        ']' | 'P' | 'X' | '^' | '_' => {
            while let Some(c) = rest.next() {
                if c == '\u{7}' {
                    break;
                }
                if c == '\u{1b}' {
                    rest.next_if_eq(&'\\');
                    break;
                }
            }
        }
        '(' | ')' | '#' | '%' | ' ' => {
            rest.next();
        }
        _ => {}
    }
    sequence
}

fn is_colour(sequence: &str) -> bool {
    sequence.strip_prefix('[').and_then(|s| s.strip_suffix('m')).is_some_and(|parameters| {
        parameters.chars().all(|c| c.is_ascii_digit() || c == ';' || c == ':')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_stay_only_where_they_may() {
        let text = "\u{1b}[31mred\u{1b}[0m \u{1b}[2J\u{1b}]0;title\u{7}end";
        assert_eq!(strip(text, Colour::Keep), "\u{1b}[31mred\u{1b}[0m end");
        assert_eq!(strip(text, Colour::Drop), "red end");
    }

    #[test]
    fn a_name_is_one_line() {
        assert_eq!(name("RUN a\nb\u{8}\tc"), "RUN a b c");
    }

    #[test]
    fn unfinished_sequences_end_with_the_text() {
        assert_eq!(strip("a\u{1b}[12", Colour::Drop), "a");
        assert_eq!(strip("a\u{1b}", Colour::Drop), "a");
        assert_eq!(strip("a\u{1b}]0;never ends", Colour::Drop), "a");
    }

    #[test]
    fn a_returned_carriage_overwrites() {
        assert_eq!(last_carriage("10%\r20%\r"), "20%");
        assert_eq!(last_carriage("plain"), "plain");
        assert_eq!(last_carriage("\r"), "");
    }
}
