//! Shell words: a line of text as the arguments a shell would make of it.

/// Why a line has no words.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum WordsError {
    /// A quote is not closed.
    #[error("quote {0} is not closed")]
    OpenQuote(char),
    /// The line ends with a backslash.
    #[error("nothing follows the last backslash")]
    OpenEscape,
}

/// Splits a line at spaces, with quotes, backslashes and comments. Variables are not expanded.
///
/// ```
/// assert_eq!(kiln_llb::words("sh -c 'echo $X' # say it")?, ["sh", "-c", "echo $X"]);
/// # Ok::<(), kiln_llb::WordsError>(())
/// ```
///
/// # Errors
///
/// [`WordsError`] if a quote is open at the end.
pub fn words(line: &str) -> Result<Vec<String>, WordsError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '#' if word.is_none() => {
                chars.by_ref().find(|c| *c == '\n');
            }
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or(WordsError::OpenQuote('\''))? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or(WordsError::OpenQuote('"'))? {
                        '"' => break,
                        '\\' => word.push(chars.next().ok_or(WordsError::OpenQuote('"'))?),
                        c => word.push(c),
                    }
                }
            }
            '\\' => {
                word.get_or_insert_default().push(chars.next().ok_or(WordsError::OpenEscape)?);
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_keep_words_together() {
        let split = |line| words(line).unwrap();
        assert_eq!(
            split(r#"a "b \"c\"" 'd "e' f\ g '' h#i"#),
            ["a", "b \"c\"", "d \"e", "f g", "", "h#i"]
        );
        assert_eq!(split("  \t\n"), [""; 0]);
    }

    #[test]
    fn what_is_open_at_the_end_is_an_error() {
        assert_eq!(words("a 'b"), Err(WordsError::OpenQuote('\'')));
        assert_eq!(words("a \"b\\"), Err(WordsError::OpenQuote('"')));
        assert_eq!(words("a\\"), Err(WordsError::OpenEscape));
    }
}
