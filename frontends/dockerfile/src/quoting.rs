//! Text in quotes, spelled as the reference spells it: in its messages, its history entries and its
//! JSON attributes.
//!
//! Pure functions over text. The spelling ends up in digests, so it follows Go's `strconv.Quote` and
//! `encoding/json` to the letter.

use std::fmt::Write as _;
use std::sync::LazyLock;

use regex::Regex;

/// A text in double quotes with Go's escapes, as `%q` prints it.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_quoted(&mut out, text);
    out
}

/// Appends what [`quote`] returns.
pub fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| !(' '..='~').contains(&c) || c == '"' || c == '\\') {
        out.push_str(&rest[..at]);
        let mut chars = rest[at..].chars();
        chars.next().into_iter().for_each(|c| push_escaped(out, c));
        rest = chars.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

/// A list of texts as `%q` prints one: `["a" "b"]`.
pub fn quote_list<S: AsRef<str>>(texts: &[S]) -> String {
    let mut out = String::from("[");
    for (n, text) in texts.iter().enumerate() {
        if n > 0 {
            out.push(' ');
        }
        push_quoted(&mut out, text.as_ref());
    }
    out.push(']');
    out
}

/// A text as a JSON string; what HTML or JavaScript would misread is escaped.
pub fn json_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_json(&mut out, text);
    out
}

/// A list of texts as JSON, without spaces.
pub fn json_list<S: AsRef<str>>(texts: &[S]) -> String {
    let mut out = String::from("[");
    for (n, text) in texts.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        push_json(&mut out, text.as_ref());
    }
    out.push(']');
    out
}

fn push_escaped(out: &mut String, c: char) {
    let letter = match c {
        '"' | '\\' => c,
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\u{c}' => 'f',
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        '\u{b}' => 'v',
        c if is_printable(c) => return out.push(c),
        c => {
            // Writing to a string cannot fail.
            let _ = match u32::from(c) {
                code @ (0..=0x1f | 0x7f) => write!(out, "\\x{code:02x}"),
                code @ ..=0xffff => write!(out, "\\u{code:04x}"),
                code => write!(out, "\\U{code:08x}"),
            };
            return;
        }
    };
    out.extend(['\\', letter]);
}

/// Letters, marks, numbers, punctuation and symbols outside ASCII that Unicode 15 knows, as Go does.
fn is_printable(c: char) -> bool {
    static PRINTABLE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"\A[\p{L}\p{M}\p{N}\p{P}\p{S}&&\p{Age=15.0}]\z").ok());
    match c {
        '\0'..='\u{a0}' | '\u{ad}' => false,
        // What European, Chinese, Japanese and Korean text mostly is, without the tables.
        '\u{a1}'..='\u{24f}' | '\u{4e00}'..='\u{9fa5}' | '\u{ac00}'..='\u{d7a3}' => true,
        c => PRINTABLE.as_ref().is_some_and(|class| class.is_match(c.encode_utf8(&mut [0; 4]))),
    }
}

fn push_json(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_printed_is_escaped() {
        assert_eq!(quote("a\"\\\t\u{0}\u{7f}"), r#""a\"\\\t\x00\x7f""#);
        assert_eq!(quote("é日\u{a0}\u{e0000}\u{ffff}"), r#""é日\u00a0\U000e0000\uffff""#);
        // Not yet a character in the Unicode of the reference.
        assert_eq!(quote("\u{1c89}"), r#""\u1c89""#);
        assert_eq!(quote_list(&["a", "b c"]), r#"["a" "b c"]"#);
    }

    #[test]
    fn json_escapes_what_html_would_misread() {
        assert_eq!(
            json_list(&["<a>", "\u{2028}", "\u{7f}"]),
            "[\"\\u003ca\\u003e\",\"\\u2028\",\"\u{7f}\"]"
        );
    }
}
