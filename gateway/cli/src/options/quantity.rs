//! Durations and sizes as people type them.

use std::time::Duration;

use super::OptionError;

const TIME_UNITS: &[(&str, f64)] = &[
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
    ("d", 86400.0),
];

const SIZE_UNITS: &[(&str, f64)] = &[
    ("", 1e6),
    ("b", 1.0),
    ("k", 1e3),
    ("kb", 1e3),
    ("m", 1e6),
    ("mb", 1e6),
    ("g", 1e9),
    ("gb", 1e9),
    ("t", 1e12),
    ("tb", 1e12),
];

/// A duration: `48h`, `1h30m`, `7d`, or a number of seconds.
///
/// # Errors
///
/// If it is none of these.
pub(crate) fn duration(flag: &'static str, text: &str) -> Result<Duration, OptionError> {
    let error = || OptionError::new(flag, text, "should be a duration, such as 48h or 1h30m");
    let mut seconds = 0.0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(error());
    }
    while !rest.is_empty() {
        let (number, unit, after) = number_and_unit(rest);
        let value: f64 = number.parse().map_err(|_| error())?;
        let known = TIME_UNITS.iter().find(|(name, _)| *name == unit);
        let factor = match (known, unit, after) {
            (Some((_, factor)), _, _) => *factor,
            (None, "", "") if number.len() == text.trim().len() => 1.0,
            _ => return Err(error()),
        };
        seconds += value * factor;
        rest = after;
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| error())
}

/// A size of memory in bytes, from a number of bytes or one with a unit, which is a power of 1,024 as it is
/// for Docker.
///
/// # Errors
///
/// If it is neither.
pub(crate) fn memory(flag: &'static str, text: &str) -> Result<u64, OptionError> {
    let error = || OptionError::new(flag, text, "should be a size, such as 64m or 2g");
    let (number, unit, after) = number_and_unit(text.trim());
    let shift = match (unit.to_lowercase().as_str(), after) {
        ("" | "b", "") => 0,
        ("k" | "kb" | "kib", "") => 10,
        ("m" | "mb" | "mib", "") => 20,
        ("g" | "gb" | "gib", "") => 30,
        _ => return Err(error()),
    };
    let number: u64 = number.parse().map_err(|_| error())?;
    number.checked_mul(1 << shift).ok_or_else(error)
}

/// A size in bytes, from a number of megabytes or one with a unit.
///
/// # Errors
///
/// If it is neither.
pub(crate) fn megabytes(flag: &'static str, text: &str) -> Result<i64, OptionError> {
    let error = || OptionError::new(flag, text, "should be a size, such as 512MB or 10GB");
    let (number, unit, after) = number_and_unit(text.trim());
    let value: f64 = number.parse().map_err(|_| error())?;
    let unit = unit.to_lowercase();
    let known = SIZE_UNITS.iter().find(|(name, _)| *name == unit);
    let bytes = value * known.filter(|_| after.is_empty()).ok_or_else(error)?.1;
    #[expect(clippy::cast_precision_loss, reason = "a bound, not a value")]
    let fits = (0.0..i64::MAX as f64).contains(&bytes);
    #[expect(clippy::cast_possible_truncation, reason = "fits, as just checked")]
    if fits { Ok(bytes as i64) } else { Err(error()) }
}

/// Cuts off a number and the letters after it.
fn number_and_unit(text: &str) -> (&str, &str, &str) {
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let (number, rest) = text.split_at(text.find(|c| !is_number(c)).unwrap_or(text.len()));
    let (unit, rest) = rest.split_at(rest.find(is_number).unwrap_or(rest.len()));
    (number, unit, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, seconds) in
            [("48h", 172_800), ("1h30m", 5400), ("1.5m", 90), ("0", 0), ("90", 90)]
        {
            assert_eq!(duration("-x", text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "h", "5x", "1h30", "-5s", "1e400h"] {
            assert!(duration("-x", text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_megabytes_unless_they_say() {
        for (text, bytes) in
            [("100", 100_000_000), ("0.5", 500_000), ("10GB", 10_000_000_000), ("7b", 7)]
        {
            assert_eq!(megabytes("-x", text), Ok(bytes), "{text}");
        }
        for text in ["", "MB", "10 apples", "1GB2", "99999999TB"] {
            assert!(megabytes("-x", text).is_err(), "{text}");
        }
    }
}
