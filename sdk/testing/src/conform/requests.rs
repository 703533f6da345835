//! Checks of sub-requests: questions about a file instead of a build of it.

use kiln_wire::status::Detail;
use serde_json::Value;
use tonic::Code;

use super::checks::{Found, Kit, built, fail, none, pass, said, settle};
use super::graph::shortened;
use super::samples::SampleKind;

/// The question that every frontend should answer.
const DESCRIBE: &str = "frontend.subrequests.describe";

pub(crate) async fn describe(kit: &Kit<'_>) -> Found {
    settle(async {
        if kit.sample.kind == SampleKind::Broken {
            return Err(none("the sample is broken on purpose"));
        }
        let run = kit.run(kit.order().with("requestid", DESCRIBE)).await;
        let done = built(&run, DESCRIBE)?;
        let json = done.metadata.get("result.json");
        let json = json.ok_or_else(|| fail("the answer has no metadata `result.json`"))?;
        let list: Value = serde_json::from_slice(json)
            .map_err(|error| fail(format!("`result.json` is no JSON: {error}")))?;
        let list = list.as_array().ok_or_else(|| fail("`result.json` is no list"))?;
        let names: Vec<&str> = list
            .iter()
            .filter_map(|entry| entry["Name"].as_str().or(entry["name"].as_str()))
            .collect();
        if !names.contains(&DESCRIBE) {
            return Err(fail(format!("the answer does not list {DESCRIBE} itself: {names:?}")));
        }
        for key in ["result.txt", "version"] {
            if !done.metadata.contains_key(key) {
                return Err(fail(format!("the answer has no metadata `{key}`")));
            }
        }
        // What is promised is held.
        for name in names.iter().filter(|name| **name != DESCRIBE) {
            let run = kit.run(kit.order().with("requestid", name)).await;
            let answer = built(&run, name)?;
            if !answer.metadata.contains_key("result.json") {
                return Err(fail(format!("the answer to {name} has no metadata `result.json`")));
            }
        }
        Ok(pass(names.join(", ")))
    })
    .await
}

pub(crate) async fn unknown_request(kit: &Kit<'_>) -> Found {
    const NOBODYS: &str = "frontend.kiln-conform.unknown";
    settle(async {
        if kit.sample.kind == SampleKind::Broken {
            return Err(none("the sample is broken on purpose"));
        }
        let run = kit.run(kit.order().with("requestid", NOBODYS)).await;
        let Err(wrong) = &run.outcome else {
            return Err(fail("it builds instead of saying that it does not know the sub-request"));
        };
        let status = said(wrong)?;
        let typed = status
            .details
            .iter()
            .any(|detail| matches!(detail, Detail::Subrequest(name) if name == NOBODYS));
        // BuildKit's own frontend leaves the code at Unknown; clients go by the detail.
        match (status.code, typed) {
            (Code::Unimplemented | Code::Unknown, true) => {
                Ok(pass("the typed error, with the name of the request"))
            }
            (_, false) => {
                let message = shortened(&status.message);
                Err(fail(format!("the error has no detail errdefs.Subrequest: {message}")))
            }
            (code, true) => Err(fail(format!("the code is {code:?} instead of Unimplemented"))),
        }
    })
    .await
}
