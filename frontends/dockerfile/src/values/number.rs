//! Whole numbers.

use crate::quoting::quote;

/// Reads a number with an optional sign, of at most `bits` bits.
///
/// # Errors
///
/// The reference's text: the word is no number of that base, or too large.
pub fn parse_int(text: &str, base: u32, bits: u32) -> Result<i64, String> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let error = |what| format!("strconv.ParseInt: parsing {}: {what}", quote(text));
    let limit = 1_u128 << (bits - 1);
    let value = read(digits, base).ok_or_else(|| error("invalid syntax"))?;
    if value > if negative { limit } else { limit - 1 } {
        return Err(error("value out of range"));
    }
    // In range: the limit is at most 2^63, which is taken only by the lowest number.
    let value = i128::try_from(value).unwrap_or(i128::MAX);
    Ok(i64::try_from(if negative { -value } else { value }).unwrap_or(i64::MIN))
}

/// Reads a number without a sign, of at most `bits` bits.
///
/// # Errors
///
/// The reference's text: the word is no number of that base, or too large.
pub fn parse_uint(text: &str, base: u32, bits: u32) -> Result<u64, String> {
    let error = |what| format!("strconv.ParseUint: parsing {}: {what}", quote(text));
    let value = read(text, base).ok_or_else(|| error("invalid syntax"))?;
    if value >= 1_u128 << bits {
        return Err(error("value out of range"));
    }
    u64::try_from(value).map_err(|_| error("value out of range"))
}

/// The digits' value, capped above 64 bits; none if there is no digit or something else.
fn read(digits: &str, base: u32) -> Option<u128> {
    if digits.is_empty() {
        return None;
    }
    digits.chars().try_fold(0_u128, |value, digit| {
        let value = value * u128::from(base) + u128::from(digit.to_digit(base)?);
        Some(value.min(1 << 65))
    })
}
