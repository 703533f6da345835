//! JSON as Go's standard library writes it, for texts that are compared byte for byte.
//!
//! Differs from plain JSON in what is escaped inside strings, and in the spelling of times.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// A value as compact JSON.
///
/// The value is made of strings, numbers, lists and maps with string keys, so it can always be
/// written.
pub(crate) fn to_vec<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, GoFormatter);
    match value.serialize(&mut serializer) {
        Ok(()) => out,
        Err(_) => Vec::new(),
    }
}

/// A time in the shortest spelling: no zeros at the end of the fraction, `Z` for no offset.
pub(crate) fn time(text: &str) -> Option<String> {
    // A parsed offset is needed only to know that the text is a time.
    OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let (rest, offset) = match text.find('Z') {
        Some(at) => (text.get(..at)?, "Z"),
        None => text.split_at_checked(text.len().checked_sub(6)?)?,
    };
    let offset = if matches!(offset, "+00:00" | "-00:00") { "Z" } else { offset };
    let rest = match rest.split_once('.') {
        Some((seconds, fraction)) => {
            // Nanoseconds are all that is kept.
            let fraction = fraction.get(..fraction.len().min(9))?.trim_end_matches('0');
            if fraction.is_empty() { seconds.to_owned() } else { format!("{seconds}.{fraction}") }
        }
        None => rest.to_owned(),
    };
    Some(format!("{rest}{offset}"))
}

/// Seconds since 1970 as a time, on a clock that is so many seconds ahead of UTC.
pub(crate) fn time_of(seconds: i64, offset_seconds: i32) -> Option<String> {
    let offset = UtcOffset::from_whole_seconds(offset_seconds).ok()?;
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    time.checked_to_offset(offset)?.format(&Rfc3339).ok()
}

/// Writes strings so that they can stand in HTML and in JavaScript.
struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (before, after) = rest.split_at(at);
            writer.write_all(before.as_bytes())?;
            let mut characters = after.chars();
            if let Some(special) = characters.next() {
                write!(writer, "\\u{:04x}", u32::from(special))?;
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        CompactFormatter.begin_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_can_stand_in_html() {
        let text = to_vec(&["a<b>&\u{2028}\"\\\n\u{1}é"]);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            r#"["a\u003cb\u003e\u0026\u2028\"\\\n\u0001é"]"#
        );
    }

    #[test]
    fn times_have_one_spelling() {
        for (text, want) in [
            ("2024-01-02T03:04:05Z", Some("2024-01-02T03:04:05Z")),
            ("2024-01-02T03:04:05.120000000Z", Some("2024-01-02T03:04:05.12Z")),
            ("2024-01-02T03:04:05.000+00:00", Some("2024-01-02T03:04:05Z")),
            ("2024-01-02T03:04:05+02:00", Some("2024-01-02T03:04:05+02:00")),
            ("yesterday", None),
        ] {
            assert_eq!(time(text).as_deref(), want, "{text}");
        }
        assert_eq!(time_of(-1, 0).as_deref(), Some("1969-12-31T23:59:59Z"));
        assert_eq!(time_of(0, 5400).as_deref(), Some("1970-01-01T01:30:00+01:30"));
    }
}
