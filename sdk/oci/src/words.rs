//! Foreign text in messages: quoted as Go quotes it, and cut where it has no end.
//!
//! Users of Docker know these spellings, and programs compare them.

use std::fmt::Write as _;

/// How many characters of a foreign text a message repeats.
const EXCERPT_CHARS: usize = 4096;

/// The beginning of a text that may come from the network; all of it, unless it is endless.
pub fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT_CHARS).collect()
}

/// A text in quotes, with everything escaped that cannot be seen (`%q`).
///
/// ```
/// assert_eq!(kiln_oci::quoted("a\t\"b\""), r#""a\t\"b\"""#);
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
