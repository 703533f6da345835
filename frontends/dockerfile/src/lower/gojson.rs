//! JSON as Go's standard library writes it, for texts that are compared byte for byte.
//!
//! Differs from plain JSON in what is escaped inside strings, and in the spelling of times.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::ser::{CompactFormatter, Formatter};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// A value as compact JSON.
///
/// # Errors
///
/// If it has a time that JSON has no spelling for.
pub(crate) fn to_vec<T: Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::with_capacity(1024);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, GoFormatter);
    value.serialize(&mut serializer)?;
    Ok(out)
}

/// A time as JSON has it. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    /// In the shortest spelling.
    At(Arc<str>),
    /// The year has not four digits.
    OutOfRange,
}

impl Time {
    /// Seconds since 1970, on a clock that is so many seconds ahead of UTC.
    pub(crate) fn of(seconds: i64, offset_seconds: i32) -> Self {
        let written = || {
            let offset = UtcOffset::from_whole_seconds(offset_seconds).ok()?;
            let time = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
            time.checked_to_offset(offset)?.format(&Rfc3339).ok()
        };
        written().map_or(Self::OutOfRange, |text| Self::At(text.into()))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::At(text) => serializer.serialize_str(text),
            Self::OutOfRange => Err(serde::ser::Error::custom(
                "json: error calling MarshalJSON for type *time.Time: year outside of range [0,9999]",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = time(&text).map(|time| Self::At(time.into()));
        time.ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not an RFC 3339 time")))
    }
}

/// A time in the shortest spelling: no zeros at the end of the fraction, `Z` for no offset.
fn time(text: &str) -> Option<String> {
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
        let text = to_vec(&["a<b>&\u{2028}\"\\\n\u{1}é"]).unwrap();
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
        assert_eq!(Time::of(-1, 0), Time::At("1969-12-31T23:59:59Z".into()));
        assert_eq!(Time::of(0, 5400), Time::At("1970-01-01T01:30:00+01:30".into()));
    }

    #[test]
    fn a_year_of_five_digits_has_no_spelling() {
        for seconds in [253_402_300_800, -62_167_219_201, i64::MAX, i64::MIN] {
            let error = to_vec(&Time::of(seconds, 0)).unwrap_err().to_string();
            assert!(error.ends_with("year outside of range [0,9999]"), "{error}");
        }
        assert!(to_vec(&Time::of(253_402_300_799, 0)).is_ok());
    }
}
