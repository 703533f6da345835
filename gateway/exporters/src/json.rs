//! JSON with exactly the bytes Go's encoder writes, because digests are taken over them.
//!
//! Values come in, bytes go out: compact for configs, indented by two spaces for manifests, and
//! with the characters escaped that Go escapes for the sake of HTML.

use serde::Serialize;

/// One line without spaces.
///
/// # Panics
///
/// Never for the documents of this crate: their maps have text keys.
pub(crate) fn compact(value: &impl Serialize) -> String {
    escape(&serde_json::to_string(value).expect("documents have text keys"))
}

/// Indented by two spaces.
///
/// # Panics
///
/// As [`compact`].
pub(crate) fn pretty(value: &impl Serialize) -> String {
    escape(&serde_json::to_string_pretty(value).expect("documents have text keys"))
}

/// Takes the white space out of a JSON text and escapes what Go escapes. The order of keys stays.
pub(crate) fn squeeze(json: &str) -> String {
    let mut squeezed = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        if !in_string && c.is_ascii_whitespace() {
            continue;
        }
        if c == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = in_string && c == '\\' && !escaped;
        squeezed.push(c);
    }
    escape(&squeezed)
}

/// These characters occur in JSON only inside strings, so they can be replaced anywhere.
fn escape(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_but_not_from_strings() {
        let json = "{ \"b\" : [ 1,\n 2 ], \"a\" : \"x \\\" y\\\\\" , \"c\":\" & \" }";
        assert_eq!(squeeze(json), r#"{"b":[1,2],"a":"x \" y\\","c":" \u0026 "}"#);
    }

    #[test]
    fn indentation_and_escapes_are_gos() {
        #[derive(Serialize)]
        struct Document {
            list: Vec<u8>,
            text: &'static str,
        }
        assert_eq!(
            pretty(&Document { list: Vec::new(), text: "<a>" }),
            "{\n  \"list\": [],\n  \"text\": \"\\u003ca\\u003e\"\n}"
        );
    }
}
