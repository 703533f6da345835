//! `du`: what the build cache holds.

use std::time::SystemTime;

use anyhow::Context as _;
use kiln_wire::proto::control::DiskUsageRequest;

use super::Context;
use crate::args::{DuArgs, Format};
use crate::output::print;
use crate::usage::{as_json, as_list, as_table, summary};

/// Asks and prints.
pub(crate) async fn run(context: &Context, args: DuArgs) -> anyhow::Result<()> {
    let client = context.connect_to_ask().await?;
    let request = DiskUsageRequest { filter: args.filter, ..DiskUsageRequest::default() };
    let records = client.disk_usage(request).await.context("failed to read disk usage")?;
    let text = match (args.format, args.verbose) {
        (Format::Json, _) => as_json(&records),
        (Format::Table, true) => as_list(&records) + &summary(&records),
        (Format::Table, false) => {
            as_table(&records, SystemTime::now(), context.environment.program) + &summary(&records)
        }
    };
    Ok(print(&text)?)
}
