//! What was found, for people and for programs.

use serde_json::{Value, json};

use super::checks::{Check, Status};
use crate::output::table;

/// A table, and below it what to do.
pub(crate) fn as_table(checks: &[Check]) -> String {
    let mut rows = vec![["STATUS", "CHECK", "FOUND"].map(str::to_owned).to_vec()];
    for check in checks {
        let row = [check.status.word(), &check.name, &check.message];
        rows.push(row.map(str::to_owned).to_vec());
        if let Some(fix) = &check.fix {
            rows.push(vec![String::new(), String::new(), format!("mend it: {fix}")]);
        }
    }
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    let verdict = match (count(Status::Problem), count(Status::Warning)) {
        (0, 0) => "Builds will work.".to_owned(),
        (0, some) => format!("Builds will work, with {some} {}.", plural(some, "warning")),
        (some, _) => format!("Builds will fail: {some} {}.", plural(some, "problem")),
    };
    format!("{}\n{verdict}\n", table(&rows))
}

/// One document: `ok`, and `checks` with `name`, `status`, `message` and `fix`.
pub(crate) fn as_json(checks: &[Check]) -> String {
    let list: Vec<Value> = checks
        .iter()
        .map(|check| {
            json!({
                "name": check.name,
                "status": check.status.word(),
                "message": check.message,
                "fix": check.fix,
            })
        })
        .collect();
    let ok = checks.iter().all(|check| check.status != Status::Problem);
    format!("{}\n", json!({ "ok": ok, "checks": list }))
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}
