//! File modes of `--chmod`: octal, or the symbolic form of chmod(1).

use super::{parse_int, parse_uint};

/// The mode of `--chmod`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileMode {
    /// Permission bits, with the set-id and sticky bits: at most 0o7777.
    Octal(u32),
    /// A checked symbolic mode such as `u=rwX,go=rX`.
    Symbolic(String),
}

impl FileMode {
    /// Reads a mode.
    ///
    /// # Errors
    ///
    /// The reference's text: what looks like a number is none in octal or above 07777, or what
    /// does not is no symbolic mode.
    pub fn parse(text: &str) -> Result<Self, String> {
        let not_octal = || {
            format!(
                "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
            )
        };
        match Self::read(text) {
            Ok(Self::Octal(bits)) if bits > 0o7777 => Err(not_octal()),
            Err(_) if text.starts_with(|c: char| c.is_ascii_digit()) => Err(not_octal()),
            result => result,
        }
    }

    /// Reads a mode of up to 32 bits.
    ///
    /// # Errors
    ///
    /// The reference's text beneath: that of the number, or of the syntax.
    pub fn read(text: &str) -> Result<Self, String> {
        if let Ok(bits) = parse_uint(text, 8, 32) {
            return Ok(Self::Octal(u32::try_from(bits).unwrap_or(u32::MAX)));
        }
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            parse_int(text, 8, 16)?;
        }
        if text.split(',').all(is_clause) {
            return Ok(Self::Symbolic(text.to_owned()));
        }
        Err("invalid syntax".into())
    }
}

/// Who (any of `ugoa`, or nothing), then one operator or more, each with its permissions.
fn is_clause(clause: &str) -> bool {
    let actions = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    actions.starts_with(['+', '-', '=']) && actions.chars().all(|c| "+-=rwxXstugo".contains(c))
}
