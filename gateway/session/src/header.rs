//! Text in request metadata, which takes only printable ASCII.
//!
//! A key whose values do not fit is sent with all its values escaped as in a URL query, and with a
//! second key `<key>-encoded` that says so.

use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};

use crate::call::CallError;

/// Adds all values of a key.
pub(crate) fn append<S: AsRef<str>>(
    metadata: &mut MetadataMap,
    key: &str,
    values: &[S],
) -> Result<(), CallError> {
    let plain =
        values.iter().all(|value| value.as_ref().bytes().all(|byte| (0x20..0x7f).contains(&byte)));
    if !plain {
        metadata.insert(name(&format!("{key}-encoded"))?, MetadataValue::from_static("1"));
    }
    for value in values {
        let value = if plain { value.as_ref().to_owned() } else { escape(value.as_ref()) };
        let value = MetadataValue::try_from(value)
            .map_err(|_| CallError::Invalid("a value that fits no header"))?;
        metadata.append(name(key)?, value);
    }
    Ok(())
}

fn name(key: &str) -> Result<MetadataKey<Ascii>, CallError> {
    MetadataKey::from_bytes(key.to_ascii_lowercase().as_bytes())
        .map_err(|_| CallError::Invalid("a key that fits no header"))
}

/// Escapes as Go's `url.QueryEscape`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            b' ' => escaped.push('+'),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_values_that_need_it_are_escaped() {
        let mut metadata = MetadataMap::new();
        append(&mut metadata, "include-patterns", &["a b%", "c+"]).unwrap();
        append(&mut metadata, "dir-name", &["ü x"]).unwrap();
        assert_eq!(metadata.get_all("include-patterns").iter().collect::<Vec<_>>(), ["a b%", "c+"]);
        assert!(metadata.get("include-patterns-encoded").is_none());
        assert_eq!(metadata.get("dir-name").unwrap(), "%C3%BC+x");
        assert_eq!(metadata.get("dir-name-encoded").unwrap(), "1");
    }
}
