//! `--metadata-file`: what the exporters answered, as JSON.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// The answers as sorted, indented JSON; a value that is a JSON object in base64 becomes that object.
pub(crate) fn to_json(answers: &BTreeMap<String, String>) -> String {
    let value: BTreeMap<&str, Value> =
        answers.iter().map(|(key, value)| (key.as_str(), inline(value))).collect();
    // Keys are strings, so that this always encodes.
    serde_json::to_string_pretty(&value).unwrap_or_default()
}

fn inline(value: &str) -> Value {
    let decoded = STANDARD.decode(value).ok().filter(|bytes| bytes.first() == Some(&b'{'));
    let object = decoded.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    object.filter(Value::is_object).unwrap_or_else(|| Value::String(value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_in_base64_are_shown_as_objects() {
        let encode = |json: &str| STANDARD.encode(json);
        let answers = BTreeMap::from([
            ("b.descriptor".to_owned(), encode(r#"{"size":1}"#)),
            ("a".to_owned(), "sha256:00".to_owned()),
            ("list".to_owned(), encode("[1]")),
        ]);
        let list = encode("[1]");
        let expected = format!(
            "{{\n  \"a\": \"sha256:00\",\n  \"b.descriptor\": {{\n    \"size\": 1\n  }},\n  \
             \"list\": \"{list}\"\n}}"
        );
        assert_eq!(to_json(&answers), expected);
    }
}
