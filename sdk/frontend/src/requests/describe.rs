//! `frontend.subrequests.describe`: which sub-requests a frontend answers.

use serde::Serialize;

use super::answer::result;
use super::table::table;
use crate::{BuildResult, Ref};

/// A sub-request, as it is described.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Described {
    name: &'static str,
    pub(super) version: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    description: &'static str,
    opts: Option<&'static [Named]>,
    inputs: Option<&'static [Named]>,
    metadata: &'static [Named],
    refs: Option<&'static [Named]>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Named {
    name: &'static str,
    description: &'static str,
}

const RESULTS: &[Named] = &[
    Named { name: "result.json", description: "" },
    Named { name: "result.txt", description: "" },
];

const DESCRIBE: Described = Described {
    name: super::DESCRIBE,
    version: "1.0.0",
    kind: "rpc",
    description: "List available subrequest types",
    opts: None,
    inputs: None,
    metadata: RESULTS,
    refs: None,
};

const OUTLINE: Described = Described {
    name: super::OUTLINE,
    description: "List all parameters current build target supports",
    opts: Some(&[Named { name: "target", description: "Target build stage" }]),
    ..DESCRIBE
};

const TARGETS: Described = Described {
    name: super::TARGETS,
    description: "List all targets current build supports",
    opts: Some(&[]),
    ..DESCRIBE
};

/// The answer of a frontend that has these. Checks and conversions are not listed, as with BuildKit.
pub(super) fn describe(outline: bool, targets: bool) -> BuildResult<Ref> {
    let mut all = Vec::new();
    all.extend(outline.then_some(OUTLINE));
    all.extend(targets.then_some(TARGETS));
    all.push(DESCRIBE);
    let mut rows = vec![vec!["NAME", "VERSION", "DESCRIPTION"]];
    rows.extend(all.iter().map(|request| {
        let name = request.name.strip_prefix("frontend.").unwrap_or(request.name);
        vec![name, request.version, request.description]
    }));
    result(&all, Some(table(&rows, 1)), DESCRIBE.version)
}
