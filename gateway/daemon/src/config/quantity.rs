//! Durations and sizes as configuration files write them: Go's spellings, and plain numbers.
//!
//! Text in, values out; which disk a percentage is of is the caller's to say.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A whole number or a text: what a quantity looks like before it is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar(pub String);

/// A part of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskSpace {
    /// So many bytes.
    Bytes(u64),
    /// So much of the whole disk, 0 to 100.
    Percent(u64),
}

/// What a percentage comes to on a disk whose size is not known, in bytes.
const UNKNOWN_DISK: u64 = 2_000_000_000;

const TIME_UNITS: &[(&str, f64)] = &[
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("μs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
    ("d", 86400.0),
];

/// Powers of 1024, as Docker's tools count: `512MB` is 536870912 bytes.
const SIZE_UNITS: &[(char, i32)] = &[('k', 1), ('m', 2), ('g', 3), ('t', 4), ('p', 5)];

impl DiskSpace {
    /// Nothing at all, which bounds nothing.
    pub const NONE: Self = Self::Bytes(0);

    /// Reads bytes (`512000000`), a size with a unit (`512MB`, `1.5GiB`) or a percentage (`10%`).
    /// `None` if it is none of these.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        match text.strip_suffix('%') {
            Some(percent) => {
                let percent = percent.parse().ok().filter(|percent| *percent <= 100);
                percent.map(Self::Percent)
            }
            None => bytes(text).map(Self::Bytes),
        }
    }

    /// How many bytes that is on a disk of `total` bytes; 0 if the size is not known.
    ///
    /// A percentage is rounded up to the next gigabyte, as BuildKit does, so that both say the same.
    pub fn on_disk(self, total: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(0) => 0,
            Self::Percent(_) if total == 0 => UNKNOWN_DISK,
            Self::Percent(percent) => {
                let part = u128::from(total) * u128::from(percent) / 100;
                u64::try_from(((part >> 30) + 1) * 1_000_000_000).unwrap_or(u64::MAX)
            }
        }
    }
}

/// Reads a duration: Go's (`48h`, `1h30m`), with days too (`7d`), or a number of seconds.
/// `None` if it is neither, or less than nothing.
pub fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let (number, after) = cut(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = cut(after, |c| !c.is_ascii_digit() && c != '.');
        let (_, factor) = TIME_UNITS.iter().find(|(name, _)| *name == unit)?;
        seconds += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|_| !text.is_empty())
}

fn bytes(text: &str) -> Option<u64> {
    if let Ok(bytes) = text.parse() {
        return Some(bytes);
    }
    let (number, unit) = cut(text, |c| c.is_ascii_digit() || c == '.');
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let mut letters = unit.chars();
    let power = match letters.next() {
        None | Some('b') if unit.len() < 2 => 0,
        Some(letter) => {
            let (_, power) = SIZE_UNITS.iter().find(|(name, _)| *name == letter)?;
            matches!(letters.as_str(), "" | "b" | "ib").then_some(*power)?
        }
        None => return None,
    };
    let bytes = number.parse::<f64>().ok()? * 1024_f64.powi(power);
    #[expect(clippy::cast_precision_loss, reason = "a bound, not a value")]
    let fits = bytes < i64::MAX as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "fits, and has no sign"
    )]
    fits.then_some(bytes as u64)
}

/// Cuts off the longest beginning whose characters all match.
fn cut(text: &str, matches: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !matches(c)).unwrap_or(text.len()))
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

impl JsonSchema for Scalar {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"] })
    }
}

struct ScalarVisitor;

impl Visitor<'_> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number or a string")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar(value.to_string()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar(value.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos_or_seconds() {
        for (text, seconds) in [
            ("172800", 172_800.0),
            ("48h", 172_800.0),
            ("1h30m", 5400.0),
            ("1.5s", 1.5),
            ("300ms", 0.3),
            ("+2m", 120.0),
            ("7d", 604_800.0),
            ("0", 0.0),
            ("0s", 0.0),
        ] {
            assert_eq!(duration(text), Some(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "h", "-1", "-3s", "1h30", "5x", "1e9999h", "1..5s", "9e99h", "１s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_bytes_units_or_percentages() {
        for (text, space) in [
            ("512000000", DiskSpace::Bytes(512_000_000)),
            ("512MB", DiskSpace::Bytes(512 << 20)),
            ("512 mb", DiskSpace::Bytes(512 << 20)),
            ("1.5GiB", DiskSpace::Bytes(3 << 29)),
            ("40k", DiskSpace::Bytes(40 << 10)),
            ("7b", DiskSpace::Bytes(7)),
            ("2T", DiskSpace::Bytes(2 << 40)),
            ("10%", DiskSpace::Percent(10)),
        ] {
            assert_eq!(DiskSpace::parse(text), Some(space), "{text}");
        }
        for text in ["", "%", "MB", "101%", "-5", "-5%", "10 apples", "5bb", "5kbb", "5  k", "9e9P"]
        {
            assert_eq!(DiskSpace::parse(text), None, "{text}");
        }
        assert_eq!(DiskSpace::parse("99999999999P"), None);
    }

    /// The numbers are those that BuildKit's `buildctl debug workers -v` prints for such disks.
    #[test]
    fn percentages_are_rounded_up_to_gigabytes() {
        assert_eq!(DiskSpace::Percent(10).on_disk(1_000_000_000_000), 94_000_000_000);
        assert_eq!(DiskSpace::Percent(10).on_disk(1_000), 1_000_000_000);
        assert_eq!(DiskSpace::Percent(100).on_disk(u64::MAX), 17_179_869_184_000_000_000);
        assert_eq!(DiskSpace::Percent(10).on_disk(0), UNKNOWN_DISK);
        assert_eq!(DiskSpace::Percent(0).on_disk(1 << 40), 0);
        assert_eq!(DiskSpace::Bytes(5).on_disk(0), 5);
    }
}
