//! JSON as Go writes it: `<`, `>` and `&` escaped, no space anywhere, fields in the order given.
//!
//! Attributes of ops hold such JSON, so the spelling is part of their digests.

use std::fmt::Write as _;

/// Appends a quoted string.
pub(crate) fn string(out: &mut String, text: &str) {
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

/// A list of strings.
pub(crate) fn list(values: &[String]) -> String {
    let mut out = String::from("[");
    for (n, value) in values.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        string(&mut out, value);
    }
    out.push(']');
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_html_would_misread_is_escaped() {
        let values = ["a<b>&c".to_owned(), "\"\\\u{2028}\u{1}\u{7f}ü".to_owned()];
        let want = r#"["a\u003cb\u003e\u0026c","\"\\\u2028\u0001"#.to_owned() + "\u{7f}ü\"]";
        assert_eq!(super::list(&values), want);
    }
}
