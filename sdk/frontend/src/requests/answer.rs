//! Answers to sub-requests: JSON for programs, text for people.

use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::protobuf_json::ProtobufJson as _;
use crate::{BuildResult, Location, Ref};

/// A place in one of the files of an answer, as JSON.
#[expect(clippy::ref_option, reason = "serde passes the field as it is")]
pub(super) fn location<S: Serializer>(
    location: &Option<Location>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    location.as_ref().map(|location| location.to_message().to_json()).serialize(serializer)
}

/// An answer with its JSON, its text and its version.
pub(super) fn result(
    json: &impl Serialize,
    text: Option<String>,
    version: &str,
) -> BuildResult<Ref> {
    let mut result = BuildResult::default();
    let mut add = |key: &str, value: Bytes| drop(result.metadata.insert(key.to_owned(), value));
    add("result.json", pretty(json).into());
    if let Some(text) = text {
        add("result.txt", text.into());
    }
    add("version", version.to_owned().into());
    result
}

/// JSON over several lines, safe to stand in HTML, as BuildKit writes it.
fn pretty(json: &impl Serialize) -> String {
    // Answers are made of texts and numbers, so they can always be written.
    let plain = serde_json::to_string_pretty(json).unwrap_or_default();
    let mut out = String::with_capacity(plain.len());
    for c in plain.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out
}

/// A list as BuildKit writes it: `null` if nothing was added.
pub(super) fn null_if_empty<T: Serialize, S: Serializer>(
    list: &[T],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if list.is_empty() { Value::Null.serialize(serializer) } else { list.serialize(serializer) }
}

/// The texts of files, in base64.
pub(super) fn files<S: Serializer>(list: &[Bytes], serializer: S) -> Result<S::Ok, S::Error> {
    use base64::Engine as _;
    let encoded = list.iter().map(|file| base64::engine::general_purpose::STANDARD.encode(file));
    null_if_empty(&encoded.collect::<Vec<_>>(), serializer)
}
