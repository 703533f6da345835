//! Here-documents: the words that announce them and the bodies that follow.
//!
//! In goes a word such as `<<EOF` or a whole joined line, out come [`Heredoc`]s whose content the
//! parser of the file fills in. Variables in a body are expanded by whoever uses it.

use std::borrow::Cow;

use crate::words::{ExpandError, Expander, NoVariables};

/// A here-document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc<'text> {
    /// The line that ends it, and its file name.
    pub name: Cow<'text, str>,
    /// The file descriptor it is for, 0 unless given.
    pub descriptor: u64,
    /// True if variables in the content are expanded: no part of the name was quoted.
    pub expand: bool,
    /// True if leading tabs are taken off every line: `<<-`.
    pub chomp: bool,
    /// The lines between, as they are in the file.
    pub content: Cow<'text, str>,
}

impl Heredoc<'_> {
    /// The same here-document without the text it was read from.
    pub fn into_owned(self) -> Heredoc<'static> {
        Heredoc {
            name: Cow::Owned(self.name.into_owned()),
            descriptor: self.descriptor,
            expand: self.expand,
            chomp: self.chomp,
            content: Cow::Owned(self.content.into_owned()),
        }
    }
}

/// Reads a word that may announce a here-document: digits, `<<` or `<<-`, and the name, in quotes or
/// not. The content is empty.
///
/// # Errors
///
/// [`ExpandError`] if a quote in the name is open.
pub fn parse_word(word: &str) -> Result<Option<Heredoc<'static>>, ExpandError> {
    let Some((descriptor, chomp, name)) = take_apart(word) else { return Ok(None) };
    // A quoted name is told by the number of quotes that vanish.
    let plain = Expander { skip_unset: true, ..Expander::new('\\') };
    let Ok([unquoted]) = <[String; 1]>::try_from(plain.words(name, &NoVariables)?) else {
        return Ok(None);
    };
    let with_quotes = Expander { raw_quotes: true, ..plain }.words(name, &NoVariables)?;
    let Ok([quoted]) = <[String; 1]>::try_from(with_quotes) else { return Ok(None) };
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    let expand = quotes(&unquoted) == quotes(&quoted);
    Ok(Some(Heredoc { name: unquoted.into(), descriptor, expand, chomp, content: "".into() }))
}

/// The here-documents a joined line announces.
///
/// # Errors
///
/// [`ExpandError`] if a quote in a name is open.
pub fn of_line(line: &str) -> Result<Vec<Heredoc<'static>>, ExpandError> {
    let expander =
        Expander { raw_quotes: true, raw_escapes: true, skip_unset: true, ..Expander::new('\\') };
    // A line that does not split into words announces nothing: it may be fine for a shell.
    let Ok(words) = expander.words(line, &NoVariables) else { return Ok(Vec::new()) };
    words.iter().filter_map(|word| parse_word(word).transpose()).collect()
}

/// The content without the tabs at the beginning of its lines.
pub fn chomp(content: &str) -> Cow<'_, str> {
    if !content.starts_with('\t') && !content.contains("\n\t") {
        return content.into();
    }
    content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
}

/// Descriptor, whether tabs are dropped, and the name, which is not empty and has no `<`.
fn take_apart(word: &str) -> Option<(u64, bool, &str)> {
    let (descriptor, rest) = word.split_once("<<")?;
    if !descriptor.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (chomp, name) = rest.strip_prefix('-').map_or((false, rest), |name| (true, name));
    let name = name.trim_start_matches(['\t', '\n', '\u{c}', '\r', ' ']);
    if name.is_empty() || name.contains('<') {
        return None;
    }
    // Without digits it is 0, and too many digits are the largest number.
    let number = if descriptor.is_empty() { 0 } else { descriptor.parse().unwrap_or(u64::MAX) };
    Some((number, chomp, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_announces_here_documents_where_a_shell_would_see_them() {
        let names = |line| -> Vec<String> {
            of_line(line).unwrap().into_iter().map(|heredoc| heredoc.name.into_owned()).collect()
        };
        assert_eq!(names("RUN cat <<A 3<<-'B C' '<<D' <<\"E\""), ["A", "B C", "E"]);
        assert_eq!(names("RUN a << b"), ["b"]);
        assert_eq!(names("RUN $((1<<2))"), [""; 0]);
        assert_eq!(names("RUN cat <<\"A"), [""; 0]);
    }

    #[test]
    fn leading_tabs_are_taken_off_every_line() {
        assert_eq!(chomp("\t\ta\n b\tc\n\t\nd"), "a\n b\tc\n\nd");
        assert!(matches!(chomp("a\tb\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_descriptor_beyond_all_numbers_is_the_largest() {
        let word = parse_word("99999999999999999999999<<A").unwrap().unwrap();
        assert_eq!(word.descriptor, u64::MAX);
    }
}
