//! Sizes such as `64m`, in bytes.

use crate::quoting::quote;

/// Powers of 1024 by their letter.
const UNITS: &str = "kmgtp";

/// Reads a number of bytes, or of a unit of 1024s: `1k`, `1.5MB`, `64 mib`.
///
/// # Errors
///
/// The reference's text: no digit, a number that does not parse or is negative, an unknown suffix.
pub fn parse_size(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let last = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ');
    let last = last.ok_or_else(invalid)?;
    let number = if text.as_bytes()[last] == b' ' { &text[..last] } else { &text[..=last] };
    let suffix = &text[last + 1..];
    let size = parse_float(number)?;
    if size < 0.0 {
        return Err(invalid());
    }
    Ok(whole(size * factor(suffix)?))
}

fn parse_float(text: &str) -> Result<f64, String> {
    let error = |what| format!("strconv.ParseFloat: parsing {}: {what}", quote(text));
    let value: f64 = text.parse().map_err(|_| error("invalid syntax"))?;
    if value.is_infinite() && text.contains(|c: char| c.is_ascii_digit()) {
        return Err(error("value out of range"));
    }
    Ok(value)
}

fn factor(suffix: &str) -> Result<f64, String> {
    if suffix.is_empty() {
        return Ok(1.0);
    }
    let lower = suffix.to_lowercase();
    // A suffix that is too long to be one is told as it was written.
    let unknown =
        || format!("invalid suffix: '{}'", if suffix.len() > 3 { suffix } else { lower.as_str() });
    let mut letters = lower.chars();
    let unit = letters.next().unwrap_or_default();
    match (unit, letters.as_str()) {
        ('b', "") => Ok(1.0),
        (_, "" | "b" | "ib") => {
            let power = UNITS.find(unit).ok_or_else(unknown)?;
            Ok((0..=power).fold(1.0, |factor, _| factor * 1024.0))
        }
        _ => Err(unknown()),
    }
}

/// The whole part; what 64 bits do not hold becomes the lowest number, as on the reference's processors.
fn whole(size: f64) -> i64 {
    #[expect(clippy::cast_precision_loss, reason = "2^63 is exact")]
    let limit = i64::MAX as f64;
    if size >= limit || size.is_nan() {
        return i64::MIN;
    }
    #[expect(clippy::cast_possible_truncation, reason = "in range; the fraction is to go")]
    let whole = size as i64;
    whole
}
