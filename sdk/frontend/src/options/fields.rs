//! Comma lists with quotes, as options carry them: `a,"b,c","d""e"`.
//!
//! One line comes in, its fields go out. The grammar and the words of errors are those of the
//! peer's CSV reader.

/// Why a line is no list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldsError {
    /// There is nothing.
    #[error("EOF")]
    Empty,
    /// A quote stands in a field that does not start with one.
    #[error("parse error on line 1, column {0}: bare \" in non-quoted-field")]
    BareQuote(usize),
    /// A quoted field does not end, or goes on after its end.
    #[error("parse error on line 1, column {0}: extraneous or missing \" in quoted-field")]
    Quote(usize),
}

/// Splits a line into its fields.
///
/// # Errors
///
/// [`FieldsError`], with columns counted from one, in bytes.
///
/// ```
/// use kiln_frontend::fields;
///
/// assert_eq!(fields(r#"type=cache,"target=/a,b""#).unwrap(), ["type=cache", "target=/a,b"]);
/// ```
pub fn fields(line: &str) -> Result<Vec<String>, FieldsError> {
    let line = match line.strip_suffix('\n') {
        Some(line) => line.strip_suffix('\r').unwrap_or(line),
        None => line,
    };
    if line.is_empty() {
        return Err(FieldsError::Empty);
    }
    let mut found = Vec::new();
    let mut rest = line;
    let column = |rest: &str| line.len() - rest.len() + 1;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (field, after) =
                quoted_field(quoted).map_err(|at| FieldsError::Quote(column(at)))?;
            found.push(field);
            match after {
                Some(after) => rest = after,
                None => return Ok(found),
            }
            continue;
        }
        let (field, after) = match rest.split_once(',') {
            Some((field, after)) => (field, Some(after)),
            None => (rest, None),
        };
        if let Some(quote) = field.find('"') {
            return Err(FieldsError::BareQuote(column(rest) + quote));
        }
        found.push(field.to_owned());
        match after {
            Some(after) => rest = after,
            None => return Ok(found),
        }
    }
}

/// The field up to its closing quote, and what follows the comma behind it. Fails with the text
/// from the quote that is wrong.
fn quoted_field(text: &str) -> Result<(String, Option<&str>), &str> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let quote = rest.find('"').ok_or(rest)?;
        field.push_str(&rest[..quote]);
        let after = &rest[quote + 1..];
        match after.chars().next() {
            None => return Ok((field, None)),
            Some(',') => return Ok((field, Some(&after[1..]))),
            Some('"') => {
                field.push('"');
                rest = &after[1..];
            }
            Some(_) => return Err(&rest[quote..]),
        }
    }
}
