//! One line of comma-separated values, as mounts and devices are written.

/// The fields of a line. Quotes around a field may hold commas and doubled quotes.
///
/// # Errors
///
/// The reference's text: the line is empty (`EOF`), or a quote is out of place.
pub fn fields(line: &str) -> Result<Vec<String>, String> {
    let line = line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line));
    if line.is_empty() {
        return Err("EOF".into());
    }
    let mut fields = Vec::with_capacity(1 + line.bytes().filter(|byte| *byte == b',').count());
    let mut at = 0;
    loop {
        let (field, end) = match line[at..].strip_prefix('"') {
            Some(_) => quoted_field(line, at + 1)?,
            None => plain_field(line, at)?,
        };
        fields.push(field);
        if end == line.len() {
            return Ok(fields);
        }
        at = end + 1;
    }
}

/// A field from `at` to the next comma, and where that is.
fn plain_field(line: &str, at: usize) -> Result<(String, usize), String> {
    let end = line[at..].find(',').map_or(line.len(), |length| at + length);
    let field = &line[at..end];
    match field.find('"') {
        Some(quote) => Err(error(at + quote, "bare \" in non-quoted-field")),
        None => Ok((field.to_owned(), end)),
    }
}

/// A field whose opening quote is before `at`, and where the comma behind it is.
fn quoted_field(line: &str, mut at: usize) -> Result<(String, usize), String> {
    const MISPLACED: &str = "extraneous or missing \" in quoted-field";
    let mut field = String::new();
    loop {
        let length = line[at..].find('"').ok_or_else(|| error(at, MISPLACED))?;
        field.push_str(&line[at..at + length]);
        at += length + 1;
        match line.as_bytes().get(at) {
            None | Some(b',') => return Ok((field, at)),
            Some(b'"') => field.push('"'),
            Some(_) => return Err(error(at - 1, MISPLACED)),
        }
        at += 1;
    }
}

fn error(at: usize, what: &str) -> String {
    format!("parse error on line 1, column {}: {what}", at + 1)
}
