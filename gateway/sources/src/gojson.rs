//! JSON as Go's encoder writes it, for keys that have to be the same as BuildKit's.
//!
//! The one difference to plain JSON: `<`, `>`, `&` and the two line separators of Unicode are
//! escaped inside strings.

use serde::Serialize;

/// Encodes a value; field order is declaration order, as in Go.
pub(crate) fn to_string(value: &impl Serialize) -> String {
    // Only maps with keys that are no strings fail to encode; keys of sources have none.
    let json = serde_json::to_string(value).unwrap_or_default();
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            // These stand in strings only, never in the grammar around them.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_html_cares_about_is_escaped() {
        assert_eq!(
            super::to_string(&("a<b>&", "ü\u{2028}")),
            r#"["a\u003cb\u003e\u0026","ü\u2028"]"#
        );
    }
}
