//! `doctor`: whether builds will work on this machine.

use super::Context;
use crate::args::{DoctorArgs, Format};
use crate::doctor::{Status, as_json, as_table, checks, look};
use crate::endpoint::Endpoint;
use crate::output::print;

/// Looks and prints; an error if builds will not work.
pub(crate) async fn run(context: &Context, args: DoctorArgs) -> anyhow::Result<()> {
    let Endpoint::Embedded(embedded) = &context.endpoint else {
        anyhow::bail!("this machine has no state directory");
    };
    let facts = look(embedded, &context.environment).await?;
    let checks = checks(&facts);
    print(&match args.format {
        Format::Table => as_table(&checks),
        Format::Json => as_json(&checks),
    })?;
    let works = checks.iter().all(|check| check.status != Status::Problem);
    anyhow::ensure!(works, "builds will fail on this machine");
    Ok(())
}
