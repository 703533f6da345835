//! Numbers and booleans as Go's standard library reads and writes them.
//!
//! Users of Docker know these spellings and these error texts, so options keep them.

use kiln_oci::{excerpt, quoted};

/// Why a text is not a number, in Go's words (`strconv`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("strconv.{function}: parsing {}: {reason}", quoted(.text))]
pub struct NumberError {
    function: &'static str,
    text: String,
    reason: &'static str,
}

impl NumberError {
    fn new(function: &'static str, text: &str, overflow: bool) -> Self {
        let reason = if overflow { "value out of range" } else { "invalid syntax" };
        Self { function, text: excerpt(text), reason }
    }
}

/// Reads a decimal number with an optional sign.
///
/// # Errors
///
/// [`NumberError`] in the words of `strconv.ParseInt`.
pub(crate) fn integer(text: &str) -> Result<i64, NumberError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits_only = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits_only => Ok(number),
        _ => Err(NumberError::new("ParseInt", text, digits_only)),
    }
}

/// Reads a decimal number without a sign.
///
/// # Errors
///
/// [`NumberError`] in the words of `strconv.ParseUint`.
pub(crate) fn unsigned(text: &str) -> Result<u64, NumberError> {
    let digits_only = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits_only => Ok(number),
        _ => Err(NumberError::new("ParseUint", text, digits_only)),
    }
}

/// Reads a boolean: `1`, `t`, `T`, `true`, `TRUE`, `True` and their opposites.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
