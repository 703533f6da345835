//! Sizes as people write them: `64m`, `1.5GiB`, `1024`.

use kiln_oci::{excerpt, quoted};

/// Why a text is no size, in the words that users of Docker know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SizeError {
    /// There is no number, or it is below zero.
    #[error("invalid size: '{0}'")]
    Size(String),
    /// The number is malformed.
    #[error("strconv.ParseFloat: parsing {}: {reason}", quoted(.text))]
    Number {
        /// The number.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The unit is none.
    #[error("invalid suffix: '{0}'")]
    Suffix(String),
}

/// Reads a size in bytes. Units are powers of 1024, in either case, with or without `b` or `ib`.
///
/// # Errors
///
/// [`SizeError`].
///
/// ```
/// assert_eq!(kiln_frontend::size_bytes("1.5k").unwrap(), 1536);
/// ```
pub fn size_bytes(text: &str) -> Result<i64, SizeError> {
    let end = text.rfind(|c: char| c.is_ascii_digit() || ". ".contains(c));
    let Some(end) = end else { return Err(SizeError::Size(excerpt(text))) };
    let (number, suffix) = text.split_at(end + 1);
    // One space may stand before the unit.
    let number = number.strip_suffix(' ').unwrap_or(number);
    let value =
        float(number).map_err(|why| SizeError::Number { text: excerpt(number), reason: why })?;
    if value < 0.0 {
        return Err(SizeError::Size(excerpt(text)));
    }
    let suffix = suffix.to_lowercase();
    let wrong = || SizeError::Suffix(excerpt(&suffix));
    let mut letters = suffix.chars();
    let exponent = match letters.next() {
        None => return Ok(whole(value)),
        Some('b') => 0,
        Some('k') => 1,
        Some('m') => 2,
        Some('g') => 3,
        Some('t') => 4,
        Some('p') => 5,
        Some(_) => return Err(wrong()),
    };
    match (exponent, letters.as_str()) {
        (_, "") | (1.., "b" | "ib") => Ok(whole(value * 1024_f64.powi(exponent))),
        _ => Err(wrong()),
    }
}

/// The whole bytes. What does not fit is the smallest number, as BuildKit's machines have it.
#[expect(clippy::cast_possible_truncation, reason = "what does not fit is caught before")]
fn whole(value: f64) -> i64 {
    if value >= 9_223_372_036_854_775_808_f64 { i64::MIN } else { value as i64 }
}

/// A plain decimal number: digits with at most one point and a sign.
fn float(text: &str) -> Result<f64, &'static str> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let plain = digits.chars().all(|c| c.is_ascii_digit() || ".eE+-".contains(c));
    match text.parse::<f64>() {
        Ok(value) if plain && value.is_infinite() => Err("value out of range"),
        Ok(value) if plain => Ok(value),
        _ => Err("invalid syntax"),
    }
}
