//! JSON as Go's standard library writes it, because digests are taken over the text.
//!
//! No space anywhere, fields in the order they are given, zero values left out, bytes as base64, and
//! `<`, `>`, `&` escaped inside strings. What is written is text and numbers, so everything can be.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

/// A message that has a JSON form.
pub trait Json {
    /// Writes its fields, in Go's order.
    fn fields(&self, object: &mut Object<'_>);

    /// The message as an object.
    fn to_json(&self) -> String {
        let mut out = String::new();
        let mut object = Object::open(&mut out);
        self.fields(&mut object);
        object.close();
        out
    }
}

/// A JSON object under construction.
#[derive(Debug)]
pub struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Begins an object at the end of a text.
    pub fn open(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, empty: true }
    }

    /// Ends it.
    pub fn close(self) {
        self.out.push('}');
    }

    fn key(&mut self, name: &str) {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
        string(self.out, name);
        self.out.push(':');
    }

    /// A field that is written even if it is zero.
    pub fn always(&mut self, name: &str, value: impl Display) {
        self.key(name);
        // Writing to a string cannot fail.
        let _ = write!(self.out, "{value}");
    }

    /// A string that is written even if it is empty.
    pub fn always_text(&mut self, name: &str, value: &str) {
        self.key(name);
        string(self.out, value);
    }

    /// A number or truth value; zero and false are left out.
    pub fn number<N: Display + Default + PartialEq>(&mut self, name: &str, value: N) {
        if value != N::default() {
            self.always(name, value);
        }
    }

    /// A string; an empty one is left out.
    pub fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.always_text(name, value);
        }
    }

    /// Bytes as base64; none are left out.
    pub fn bytes(&mut self, name: &str, value: &[u8]) {
        self.text(name, &base64(value));
    }

    /// A list of bytes, each as base64; an empty one is left out.
    pub fn list_of_bytes(&mut self, name: &str, values: &[bytes::Bytes]) {
        let values: Vec<String> = values.iter().map(|value| base64(value)).collect();
        self.texts(name, &values);
    }

    /// A list of strings; an empty one is left out.
    pub fn texts(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            self.key(name);
            self.out.push_str(&list(values));
        }
    }

    /// A list of numbers; an empty one is left out.
    pub fn numbers<N: Display>(&mut self, name: &str, values: &[N]) {
        if !values.is_empty() {
            let values: Vec<String> = values.iter().map(N::to_string).collect();
            self.always(name, format_args!("[{}]", values.join(",")));
        }
    }

    /// An object, which may be empty.
    pub fn object(&mut self, name: &str, fields: impl FnOnce(&mut Object<'_>)) {
        self.key(name);
        let mut object = Object::open(self.out);
        fields(&mut object);
        object.close();
    }

    /// A message, which may be empty.
    pub fn message(&mut self, name: &str, message: &impl Json) {
        self.object(name, |object| message.fields(object));
    }

    /// A message that may be absent; one that is there is written even if it is empty.
    pub fn optional(&mut self, name: &str, message: Option<&impl Json>) {
        if let Some(message) = message {
            self.message(name, message);
        }
    }

    /// A list of messages; an empty one is left out.
    pub fn messages(&mut self, name: &str, messages: &[impl Json]) {
        if messages.is_empty() {
            return;
        }
        self.key(name);
        for (n, message) in messages.iter().enumerate() {
            self.out.push(if n == 0 { '[' } else { ',' });
            let mut object = Object::open(self.out);
            message.fields(&mut object);
            object.close();
        }
        self.out.push(']');
    }

    /// A map sorted by key; an empty one is left out. `entry` writes one field.
    pub fn map<V>(
        &mut self,
        name: &str,
        map: &BTreeMap<String, V>,
        entry: impl Fn(&mut Object<'_>, &str, &V),
    ) {
        if !map.is_empty() {
            self.object(name, |object| {
                for (key, value) in map {
                    entry(object, key, value);
                }
            });
        }
    }

    /// A map of strings; an empty one is left out.
    pub fn map_of_texts(&mut self, name: &str, map: &BTreeMap<String, String>) {
        self.map(name, map, |object, key, value| object.always_text(key, value));
    }

    /// A map of messages; an empty one is left out.
    pub fn map_of_messages<V: Json>(&mut self, name: &str, map: &BTreeMap<String, V>) {
        self.map(name, map, |object, key, value| object.message(key, value));
    }
}

/// Base64 with padding, as Go writes bytes.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |n: usize| u32::from(group.get(n).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit) & 63) as usize;
            out.push(if digit <= group.len() { char::from(DIGITS[index]) } else { '=' });
        }
    }
    out
}

/// Appends a quoted string.
pub fn string(out: &mut String, text: &str) {
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

/// A list of strings as text.
pub fn list(values: &[String]) -> String {
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
    use super::*;

    #[test]
    fn what_html_would_misread_is_escaped() {
        let values = ["a<b>&c".to_owned(), "\"\\\u{2028}\u{1}\u{7f}ü".to_owned()];
        let want = r#"["a\u003cb\u003e\u0026c","\"\\\u2028\u0001"#.to_owned() + "\u{7f}ü\"]";
        assert_eq!(list(&values), want);
    }

    #[test]
    fn bytes_are_padded_to_whole_groups() {
        let cases = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("\u{ff}>", "w78+")];
        for (text, want) in cases {
            assert_eq!(base64(text.as_bytes()), want, "{text}");
        }
    }
}
