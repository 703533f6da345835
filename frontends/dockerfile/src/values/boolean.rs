//! Booleans.

use crate::quoting::quote;

/// Reads `1`, `t`, `true`, `0`, `f` or `false`, in lower or upper case or capitalised.
///
/// # Errors
///
/// The reference's text for anything else.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {}: invalid syntax", quote(text))),
    }
}
