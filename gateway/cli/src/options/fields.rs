//! One line of comma-separated `key=value` fields, quoted as in CSV.

use std::collections::BTreeMap;

use kiln_document::did_you_mean;

use super::OptionError;

/// The fields of an option; keys are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fields {
    flag: &'static str,
    text: String,
    values: BTreeMap<String, String>,
    /// What was given for a key before its last value.
    earlier: Vec<(String, String)>,
    /// What was asked for and not there, for suggestions.
    known: Vec<&'static str>,
}

impl Fields {
    /// Reads `text` as it was given to `flag`.
    ///
    /// # Errors
    ///
    /// If its quotes do not match, or a field has no `=`.
    pub(crate) fn parse(flag: &'static str, text: &str) -> Result<Self, OptionError> {
        let (mut values, mut earlier) = (BTreeMap::new(), Vec::new());
        for field in split(flag, text)? {
            let Some((key, value)) = field.split_once('=') else {
                let reason = format!("{field:?} should be key=value");
                return Err(OptionError::new(flag, text, reason));
            };
            let key = key.trim().to_lowercase();
            if let Some(value) = values.insert(key.clone(), value.to_owned()) {
                earlier.push((key, value));
            }
        }
        Ok(Self { flag, text: text.to_owned(), values, earlier, known: Vec::new() })
    }

    /// Takes a field out.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<String> {
        let value = self.values.remove(key);
        if value.is_none() {
            self.known.push(key);
        }
        value
    }

    /// Takes a field out that may be given several times, in the order of its values.
    pub(crate) fn take_all(&mut self, key: &'static str) -> Vec<String> {
        let of_key = |(name, _): &mut (String, String)| name == key;
        let mut values: Vec<String> = self.earlier.extract_if(.., of_key).map(|it| it.1).collect();
        values.extend(self.take(key));
        values
    }

    /// Takes a field out that must be there and not be empty.
    ///
    /// # Errors
    ///
    /// If it is not.
    pub(crate) fn require(&mut self, key: &'static str) -> Result<String, OptionError> {
        match self.take(key).filter(|value| !value.is_empty()) {
            Some(value) => Ok(value),
            None => Err(self.error(format!("needs {key}=…{}", self.misspelt(key)))),
        }
    }

    /// Where another key may have been meant to be `key`: the question whether it was.
    pub(crate) fn misspelt(&self, key: &'static str) -> String {
        let near = |other: &&String| did_you_mean(other, [key]).is_some();
        match self.values.keys().find(near) {
            Some(other) => format!(", did you mean {key} by {other:?}?"),
            None => String::new(),
        }
    }

    /// Takes out a field that is true or false; nothing after `=` is true.
    ///
    /// # Errors
    ///
    /// If it is neither.
    pub(crate) fn take_bool(&mut self, key: &'static str) -> Result<Option<bool>, OptionError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        match parse_bool(&value) {
            Some(value) => Ok(Some(value)),
            None => Err(self.error(format!("{key} is true or false, not {value:?}"))),
        }
    }

    /// The fields nobody took.
    pub(crate) fn rest(self) -> BTreeMap<String, String> {
        self.values
    }

    /// Ends a list of fields that are all known.
    ///
    /// # Errors
    ///
    /// If one is left.
    pub(crate) fn done(&self) -> Result<(), OptionError> {
        match self.values.keys().next() {
            None => Ok(()),
            Some(key) => {
                let meant = did_you_mean(key, self.known.iter().copied());
                let meant = meant.map_or(String::new(), |meant| format!(", did you mean {meant}?"));
                Err(self.error(format!("unexpected key {key:?}{meant}")))
            }
        }
    }

    /// An error about this option.
    pub(crate) fn error(&self, reason: impl Into<String>) -> OptionError {
        OptionError::new(self.flag, &self.text, reason)
    }
}

/// Go's `strconv.ParseBool`, and nothing at all is true.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn split(flag: &'static str, text: &str) -> Result<Vec<String>, OptionError> {
    if text.is_empty() {
        return Err(OptionError::new(flag, text, "is empty"));
    }
    row(text).map_err(|reason| OptionError::new(flag, text, reason))
}

/// The fields of one row: split at commas, unless they are within quotes; two quotes are one.
fn row(text: &str) -> Result<Vec<String>, &'static str> {
    let mut fields = Vec::new();
    let mut rest = Some(text);
    while let Some(start) = rest {
        let (field, after) = match start.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let (field, after) = match start.split_once(',') {
                    Some((field, after)) => (field, Some(after)),
                    None => (start, None),
                };
                if field.contains('"') {
                    return Err("has a quote inside a field that does not begin with one");
                }
                (field.to_owned(), after)
            }
        };
        fields.push(field);
        rest = after;
    }
    Ok(fields)
}

/// A field after its first quote, and what follows its comma.
fn quoted_field(text: &str) -> Result<(String, Option<&str>), &'static str> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('"').ok_or("has a quote that is never closed")?;
        field += part;
        match after.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None if after.is_empty() => return Ok((field, None)),
            None => {
                let after = after.strip_prefix(',').ok_or("has text after a closing quote")?;
                return Ok((field, Some(after)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_may_be_quoted() {
        let mut fields = Fields::parse("--output", r#"Type=image,"name=a,b",push="#).unwrap();
        assert_eq!(fields.take("type").as_deref(), Some("image"));
        assert_eq!(fields.take("name").as_deref(), Some("a,b"));
        assert_eq!(fields.take_bool("push"), Ok(Some(true)));
        assert_eq!(fields.done(), Ok(()));
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let error = |text| Fields::parse("--output", text).unwrap_err().to_string();
        assert_eq!(error("type=a,b"), r#"--output "type=a,b": "b" should be key=value"#);
        assert_eq!(error(""), r#"--output "": is empty"#);
        let mut fields = Fields::parse("--secret", "id=a,scr=f").unwrap();
        assert_eq!(fields.take("src"), None);
        assert_eq!(fields.require("id").unwrap(), "a");
        assert_eq!(fields.done().unwrap_err().reason, r#"unexpected key "scr", did you mean src?"#);
        let mut fields = Fields::parse("--secret", "idd=a").unwrap();
        let error = fields.require("id").unwrap_err();
        assert_eq!(error.reason, r#"needs id=…, did you mean id by "idd"?"#);
    }

    #[test]
    fn rows_are_split_as_gos_csv_does() {
        for (text, fields) in [
            ("a", &["a"][..]),
            (r#""a,b",c"#, &["a,b", "c"]),
            (r#"a,"b""c""#, &["a", "b\"c"]),
            (",a,", &["", "a", ""]),
            ("a\nb", &["a\nb"]),
            (r#" a ,"b""#, &[" a ", "b"]),
            (r#""","""#, &["", ""]),
            ("'a,b'", &["'a", "b'"]),
        ] {
            assert_eq!(
                row(text).as_deref(),
                Ok(&fields.iter().map(ToString::to_string).collect::<Vec<_>>()[..]),
                "{text}"
            );
        }
        for text in [r#""unclosed"#, r#"a"b"#, r#"a,"b"c"#] {
            assert!(row(text).is_err(), "{text}");
        }
    }
}
