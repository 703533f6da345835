//! Durations such as `1h30m`, in nanoseconds.

use std::fmt::Write;

/// The largest magnitude: that of the lowest 64-bit number.
const LIMIT: u64 = 1 << 63;

const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a sum of decimal numbers with units, perhaps with a sign: `-1.5h`, `1m30s`, `0`.
///
/// # Errors
///
/// The reference's text: no number, no unit or an unknown one, or more than 64 bits of nanoseconds.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let number = Decimal::read(rest).ok_or_else(invalid)?;
        rest = &rest[number.length..];
        let length = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
        let (unit, behind) = rest.split_at(length);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", quote(text)));
        }
        let Some((_, size)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("time: unknown unit {} in duration {}", quote(unit), quote(text)));
        };
        total = number
            .times(*size)
            .and_then(|value| total.checked_add(value))
            .filter(|total| *total <= LIMIT)
            .ok_or_else(invalid)?;
        rest = behind;
    }
    match (i64::try_from(total), negative) {
        (Ok(total), false) => Ok(total),
        (Ok(total), true) => Ok(-total),
        (Err(_), true) => Ok(i64::MIN),
        (Err(_), false) => Err(invalid()),
    }
}

/// A decimal number without a sign.
struct Decimal {
    whole: u64,
    fraction: u64,
    /// The power of ten that `fraction` is to be divided by.
    scale: f64,
    /// Bytes read.
    length: usize,
}

impl Decimal {
    /// Reads the digits, point and digits at the start; none if there is no digit or too many.
    fn read(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let digits =
            |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut number = Self { whole: 0, fraction: 0, scale: 1.0, length: digits(0) };
        for byte in &bytes[..number.length] {
            let digit = u64::from(byte - b'0');
            number.whole = number.whole.checked_mul(10)?.checked_add(digit)?;
            if number.whole > LIMIT {
                return None;
            }
        }
        if bytes.get(number.length) != Some(&b'.') {
            return (number.length > 0).then_some(number);
        }
        let start = number.length + 1;
        let count = digits(start);
        if number.length + count == 0 {
            return None;
        }
        number.length = start + count;
        for byte in &bytes[start..number.length] {
            // Digits beyond what 63 bits hold change nothing.
            let next = number.fraction.checked_mul(10).map(|value| value + u64::from(byte - b'0'));
            let Some(next) = next.filter(|next| *next <= LIMIT) else { break };
            number.fraction = next;
            number.scale *= 10.0;
        }
        Some(number)
    }

    /// The number times a unit; none above the limit.
    fn times(&self, unit: u64) -> Option<u64> {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the reference multiplies fractions as 64-bit floats"
        )]
        let fraction = (self.fraction as f64 * (unit as f64 / self.scale)) as u64;
        let whole = self.whole.checked_mul(unit).filter(|value| *value <= LIMIT)?;
        whole.checked_add(fraction).filter(|value| *value <= LIMIT)
    }
}

/// The text of a duration: `1h30m0s`, `1.5ms`, `0s`.
pub fn format_duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    let small = |unit: u64, name: &str| format!("{sign}{}{name}", decimal(total, unit));
    match total {
        0 => return "0s".into(),
        1..1_000 => return small(1, "ns"),
        1_000..1_000_000 => return small(1_000, "\u{b5}s"),
        1_000_000..1_000_000_000 => return small(1_000_000, "ms"),
        _ => {}
    }
    let minutes = total / 60_000_000_000;
    let seconds = decimal(total % 60_000_000_000, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// `value / unit` with as many decimals as it has; `unit` is a power of ten.
fn decimal(value: u64, unit: u64) -> String {
    let (whole, fraction) = (value / unit, value % unit);
    if fraction == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    format!("{whole}.{}", format!("{fraction:0width$}").trim_end_matches('0'))
}

/// The text in quotes, every byte of what is not plain ASCII in hexadecimal.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            ' '..='\x7f' => out.push(character),
            _ => {
                for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                    write!(out, "\\x{byte:02x}").expect("a string takes every text");
                }
            }
        }
    }
    out.push('"');
    out
}
