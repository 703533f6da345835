//! Numbers, booleans and quotes as Go's standard library reads and writes them.
//!
//! Users of Docker know these spellings and these error texts, so options keep them.

use std::fmt::Write as _;

/// Why a text is not a number, in Go's words (`strconv`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("strconv.{function}: parsing {}: {reason}", quoted(.text))]
pub struct NumberError {
    function: &'static str,
    text: String,
    reason: &'static str,
}

impl NumberError {
    fn new(function: &'static str, text: &str, overflow: bool) -> Self {
        let reason = if overflow { "value out of range" } else { "invalid syntax" };
        Self { function, text: text.chars().take(160).collect(), reason }
    }
}

/// Reads a decimal number with an optional sign.
///
/// # Errors
///
/// [`NumberError`] in the words of `strconv.ParseInt`.
pub(crate) fn integer(text: &str) -> Result<i64, NumberError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits_only = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits_only => Ok(number),
        _ => Err(NumberError::new("ParseInt", text, digits_only)),
    }
}

/// Reads a decimal number without a sign.
///
/// # Errors
///
/// [`NumberError`] in the words of `strconv.ParseUint`.
pub(crate) fn unsigned(text: &str) -> Result<u64, NumberError> {
    let digits_only = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits_only => Ok(number),
        _ => Err(NumberError::new("ParseUint", text, digits_only)),
    }
}

/// Reads a boolean: `1`, `t`, `T`, `true`, `TRUE`, `True` and their opposites.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A text in quotes, with everything escaped that cannot be seen (`%q`).
///
/// ```
/// assert_eq!(kiln_frontend::quoted("a\t\"b\""), r#""a\t\"b\"""#);
/// ```
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if visible(c) => out.push(c),
            c if u32::from(c) < 0x80 => escape(&mut out, format_args!("\\x{:02x}", u32::from(c))),
            c if u32::from(c) < 0x10000 => {
                escape(&mut out, format_args!("\\u{:04x}", u32::from(c)));
            }
            c => escape(&mut out, format_args!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

fn escape(out: &mut String, escaped: std::fmt::Arguments<'_>) {
    // Writing to a text cannot fail.
    out.write_fmt(escaped).unwrap_or_default();
}

/// Whether a character leaves a mark. Spaces other than the plain one do not count.
fn visible(c: char) -> bool {
    let format = matches!(c,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    let private = matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}');
    let unassigned = matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe;
    c == ' ' || !(c.is_whitespace() || c.is_control() || format || private || unassigned)
}
