//! SPDX documents: which layer each file that they list came with.

use serde_json::{Value, json};

/// The predicate type of SPDX documents.
pub const SPDX: &str = "https://spdx.dev/Document";

/// A document with the layer of each file that `layer` knows, in the comment of the file, and with
/// `tool` among its creators. What is no SPDX document of version 2 stays as it is: `None`.
pub fn supplement(
    document: &[u8],
    tool: &str,
    layer: impl Fn(&str) -> Option<String>,
) -> Option<Vec<u8>> {
    let mut document: Value = serde_json::from_slice(document).ok()?;
    let is_spdx = |version: &str| version.starts_with("SPDX-2");
    document.get("spdxVersion").and_then(Value::as_str).filter(|version| is_spdx(version))?;
    let root = document.as_object_mut()?;
    if let Some(files) = root.get_mut("files") {
        comment(files, &layer);
    }
    for package in root.get_mut("packages").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(files) = package.get_mut("files") {
            comment(files, &layer);
        }
    }
    let info = root.entry("creationInfo").or_insert_with(|| json!({}));
    if info.is_null() {
        *info = json!({});
    }
    let creators = info.as_object_mut()?.entry("creators").or_insert_with(|| json!([]));
    if creators.is_null() {
        *creators = json!([]);
    }
    creators.as_array_mut()?.push(json!(format!("Tool: {tool}")));
    serde_json::to_vec(&document).ok()
}

/// Adds the layer to files that have no comment: what stands there may mean something to someone.
fn comment(files: &mut Value, layer: &impl Fn(&str) -> Option<String>) {
    for file in files.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        let text = |name: &str| file.get(name).and_then(Value::as_str).unwrap_or_default();
        if !text("comment").is_empty() {
            continue;
        }
        if let Some(layer) = layer(text("fileName")) {
            file.insert("comment".into(), json!(format!("layerID: {layer}")));
        }
    }
}
