//! The answer to a sub-request.

use kiln_frontend::{BuildResult, FrontendError, Ref};
use serde_json::{Value, json};

use super::build::json_or_text;
use super::{error, forwarded, sort_ties};
use crate::fixture::Asked;

/// Everything that one entry of `subrequests` has.
pub(super) fn answer(
    result: Result<BuildResult<Ref>, FrontendError>,
    asked: &Asked,
    full_sources: bool,
) -> Value {
    if forwarded(asked).is_some() {
        return json!({"status": "forward"});
    }
    let result = match result {
        Err(failure) => return json!({"status": "error", "error": error(&failure)}),
        Ok(result) => result,
    };
    let mut answer = json!({"status": "ok"});
    if let Some(json) = result.metadata.get("result.json") {
        let mut json = json_or_text(json);
        if !full_sources && let Some(object) = json.as_object_mut() {
            object.remove("sources");
        }
        settle_ties(&mut json);
        answer["result_json"] = json;
    }
    for (key, name) in [
        ("result.txt", "result_txt"),
        ("result.statuscode", "result_statuscode"),
        ("version", "version"),
    ] {
        if let Some(text) = result.metadata.get(key) {
            answer[name] = String::from_utf8_lossy(text).into();
        }
    }
    answer
}

/// Puts neighbours that BuildKit has in no defined order in the order of their text.
fn settle_ties(result: &mut Value) {
    let Some(object) = result.as_object_mut() else { return };
    for (list, rule, text) in [
        ("warnings", Some("ruleName"), "detail"),
        ("args", None, "name"),
        ("secrets", None, "name"),
        ("ssh", None, "name"),
    ] {
        let Some(Value::Array(items)) = object.get_mut(list) else { continue };
        let same = |a: &Value, b: &Value| {
            a["location"] == b["location"] && rule.is_none_or(|rule| a[rule] == b[rule])
        };
        sort_ties(items, same, |item| item[text].as_str().map(str::to_owned));
    }
}
